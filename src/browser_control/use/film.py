"""A played episode as a film, GIF or WebM: each page with the action drawn on it, and how it ended."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageColor, ImageDraw, ImageFont

from browser_control.environment import picture
from browser_control.errors import UserError
from browser_control.use.playing import Played

_INK, _PAPER = "#1b1f24", "#f4f5f7"
_SECONDS = 1.4  # a page; the last one stays twice as long
_RATE = 10  # pictures a second of WebM
_COLOURS = 96  # of a page, in a GIF
_FONT = 13
_CAPTION = 2 * (_FONT + 5) + 8
_SMALL = 400  # pixels of width, up to which a page is shown twice as large


def write(played: Played, path: Path) -> None:
    """Writes an animated GIF, or WebM where `path` ends in it.

    Raises:
        UserError: the environment gave no pictures.
    """
    frames = pictures(played)
    path.parent.mkdir(parents=True, exist_ok=True)
    lasting = [_SECONDS] * (len(frames) - 1) + [2 * _SECONDS]
    (_write_webm if path.suffix.lower() == ".webm" else _write_gif)(frames, lasting, path)


def _write_gif(frames: Sequence[Image.Image], lasting: Sequence[float], path: Path) -> None:
    colours = palette(frames)
    small = [frame.quantize(palette=colours, dither=Image.Dither.NONE) for frame in frames]
    milliseconds = [round(1000 * seconds) for seconds in lasting]
    small[0].save(
        path, format="GIF", save_all=True, append_images=small[1:], duration=milliseconds, loop=0, optimize=True
    )


def palette(frames: Sequence[Image.Image]) -> Image.Image:
    """A palette for all frames: a page keeps its colours throughout, and what we draw has its own, however small."""
    width, height = frames[0].size
    all_frames = Image.new("RGB", (width, height * len(frames)))
    for number, frame in enumerate(frames):
        all_frames.paste(frame, (0, height * number))
    found = all_frames.quantize(_COLOURS, dither=Image.Dither.NONE).getpalette() or []
    ours = [value for colour in (picture.MARK, _INK, _PAPER) for value in ImageColor.getrgb(colour)[:3]]
    shared = Image.new("P", (1, 1))
    shared.putpalette(ours + found[: 3 * _COLOURS])
    return shared


def _write_webm(frames: Sequence[Image.Image], lasting: Sequence[float], path: Path) -> None:
    import av

    with av.open(str(path), "w", format="webm") as file:
        stream = file.add_stream("libvpx-vp9", rate=_RATE, options={"crf": "30", "b:v": "0"})
        stream.width, stream.height = (side + side % 2 for side in frames[0].size)  # of colours every second is kept
        stream.pix_fmt = "yuv420p"
        for frame, seconds in zip(frames, lasting, strict=True):
            shown = Image.new("RGB", (stream.width, stream.height), _PAPER)
            shown.paste(frame)
            for _ in range(round(seconds * _RATE)):
                one = av.VideoFrame.from_image(shown)  # type: ignore[no-untyped-call]
                file.mux(stream.encode(one))
        file.mux(stream.encode())


def pictures(played: Played) -> list[Image.Image]:
    """The page before each turn, with what is acted on framed, and the page at the end."""
    assert played.last is not None
    seen = [turn.before for turn in played.turns] + [played.last]
    if not all(each.picture for each in seen):
        raise UserError("this environment gives no pictures: serve pages with python -m browser_control.environment")
    pages = [picture.opened(each.picture) for each in seen]
    boxes = [turn.marked for turn in played.turns] + [()]
    right, bottom = picture.extent(pages)
    words = [f"{number}> {turn.said}" for number, turn in enumerate(played.turns, 1)] + [played.outcome]
    return [
        _frame(page.crop((0, 0, right, bottom)), marked, played.goal, said)
        for page, marked, said in zip(pages, boxes, words, strict=True)
    ]


def _frame(page: Image.Image, boxes: Sequence[Sequence[int]], goal: str, said: str) -> Image.Image:
    """A small page twice as large, with its boxes, and two lines below it."""
    scale = 2 if page.width <= _SMALL else 1
    page = page.resize((page.width * scale, page.height * scale), Image.Resampling.LANCZOS)
    frame = Image.new("RGB", (page.width, page.height + _CAPTION), _PAPER)
    frame.paste(page, (0, 0))
    picture.mark(frame, boxes, scale)
    draw = ImageDraw.Draw(frame)
    font = ImageFont.load_default(_FONT)
    for line, (words, colour) in enumerate(((" ".join(goal.split()), _INK), (said, picture.MARK))):
        draw.text((6, page.height + 4 + line * (_FONT + 5)), _fit(draw, words, font, page.width - 12), colour, font)
    return frame


def _fit(draw: ImageDraw.ImageDraw, words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The words, cut where they would be wider than that."""
    if draw.textlength(words, font) <= width:
        return words
    while words and draw.textlength(words + "…", font) > width:
        words = words[:-1]
    return words + "…"
