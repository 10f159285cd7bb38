"""A played episode as a film: each page with the action drawn on it, and how it ended."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFont

from browser_control.errors import UserError
from browser_control.use.playing import Played

_MARK, _INK, _PAPER = "#cf222e", "#1b1f24", "#f4f5f7"
_SECONDS = 1.4  # a picture; the last one stays twice as long
_BORDER = 8  # pixels around what is shown of the page
_FONT = 13
_CAPTION = 2 * (_FONT + 5) + 8
_LEAST = (200, 120)  # width and height of what is shown
_SMALL = 400  # pixels of width, up to which a page is shown twice as large


def write(played: Played, path: Path) -> None:
    """Writes an animated GIF.

    Raises:
        UserError: the environment gave no pictures.
    """
    frames = pictures(played)
    lasting = [int(1000 * _SECONDS)] * (len(frames) - 1) + [int(2000 * _SECONDS)]
    path.parent.mkdir(parents=True, exist_ok=True)
    small = [frame.quantize(64, dither=Image.Dither.NONE) for frame in frames]
    small[0].save(path, format="GIF", save_all=True, append_images=small[1:], duration=lasting, loop=0, optimize=True)


def pictures(played: Played) -> list[Image.Image]:
    """The page before each turn, with what is acted on framed, and the page at the end."""
    assert played.last is not None
    seen = [turn.before for turn in played.turns] + [played.last]
    if not all(each.picture for each in seen):
        raise UserError("this environment gives no pictures: serve pages with python -m browser_control.environment")
    pages = [_page(each.picture) for each in seen]
    boxes = [[turn.before.boxes[bid] for bid in turn.bids if bid in turn.before.boxes] for turn in played.turns] + [[]]
    right, bottom = _extent(pages)
    words = [f"{number}> {turn.said}" for number, turn in enumerate(played.turns, 1)] + [played.outcome]
    return [
        _frame(page.crop((0, 0, right, bottom)), marked, played.goal, said)
        for page, marked, said in zip(pages, boxes, words, strict=True)
    ]


def _page(picture: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")


def _extent(pages: Sequence[Image.Image]) -> tuple[int, int]:
    """How far to the right and down there is anything but background, on any of the pages."""
    right, bottom = _LEAST
    for page in pages:
        background = Image.new("RGB", page.size, page.getpixel((page.width - 1, page.height - 1)))
        if box := ImageChops.difference(page, background).getbbox():
            right, bottom = max(right, box[2] + _BORDER), max(bottom, box[3] + _BORDER)
    return min(right, pages[0].width), min(bottom, pages[0].height)


def _frame(page: Image.Image, boxes: Sequence[Sequence[int]], goal: str, said: str) -> Image.Image:
    """A small page twice as large, with its boxes, and two lines below it."""
    scale = 2 if page.width <= _SMALL else 1
    page = page.resize((page.width * scale, page.height * scale), Image.Resampling.LANCZOS)
    frame = Image.new("RGB", (page.width, page.height + _CAPTION), _PAPER)
    frame.paste(page, (0, 0))
    draw = ImageDraw.Draw(frame)
    for box in boxes:
        left, top, width, height = (scale * side for side in box)
        draw.rectangle((left - 3, top - 3, left + width + 2, top + height + 2), outline=_MARK, width=3)
    font = ImageFont.load_default(_FONT)
    for line, (words, colour) in enumerate(((" ".join(goal.split()), _INK), (said, _MARK))):
        draw.text((6, page.height + 4 + line * (_FONT + 5)), _fit(draw, words, font, page.width - 12), colour, font)
    return frame


def _fit(draw: ImageDraw.ImageDraw, words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The words, cut where they would be wider than that."""
    if draw.textlength(words, font) <= width:
        return words
    while words and draw.textlength(words + "…", font) > width:
        words = words[:-1]
    return words + "…"
