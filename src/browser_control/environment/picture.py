"""Pictures of pages: the part that shows something, with what was acted on framed."""

import base64
import io
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageDraw

from browser_control.environment.client import Observation
from browser_control.language import prompts
from browser_control.language.actions import Action

MARK = "#cf222e"
_BORDER = 8  # pixels around what is shown of the page
_LEAST = (200, 120)  # width and height of what is shown
_LINE = 3  # pixels of a frame
_POINT = 6  # pixels, each way, of a frame around a point

Box = Sequence[int]  # left, top, width, height


def opened(picture: str) -> Image.Image:
    """The picture of an observation: PNG in base64."""
    return Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")


def extent(pages: Sequence[Image.Image], least: tuple[int, int] = _LEAST) -> tuple[int, int]:
    """How far to the right and down there is anything but background, on any of the pages."""
    right, bottom = least
    for page in pages:
        background = Image.new("RGB", page.size, page.getpixel((page.width - 1, page.height - 1)))
        if box := ImageChops.difference(page, background).getbbox():
            right, bottom = max(right, box[2] + _BORDER), max(bottom, box[3] + _BORDER)
    return min(right, pages[0].width), min(bottom, pages[0].height)


def mark(page: Image.Image, boxes: Sequence[Box], scale: int = 1) -> None:
    """Draws a frame around each box, of which the page shows `scale` pixels a pixel."""
    draw = ImageDraw.Draw(page)
    for box in boxes:
        left, top, width, height = (scale * side for side in box)
        corners = (left - _LINE, top - _LINE, left + width + _LINE - 1, top + height + _LINE - 1)
        draw.rectangle(corners, outline=MARK, width=_LINE)


def acted_on(action: Action, observation: Observation) -> list[Box]:
    """Where the elements of an action are in the observation's picture; of a shape, and of a point, its own place."""
    elements = {each.bid: each for each in prompts.elements(observation.text)}
    boxes: list[Box] = []
    for bid in action.bids:
        drawing = observation.boxes.get(bid.partition(".")[0])
        if drawing is None:
            continue
        shape = elements.get(bid)
        if action.verb == "click-at":
            right, down = map(int, action.argument.split(","))
            boxes.append(_around(drawing, (right, down), (2 * _POINT, 2 * _POINT)))
        elif shape is not None and shape.place is not None:
            boxes.append(_around(drawing, shape.place, shape.size or (0, 0)))
        else:
            boxes.append(drawing)
    return boxes


def _around(drawing: Box, place: tuple[int, int], size: tuple[int, int]) -> Box:
    """The box of that size whose middle is at a place within a drawing."""
    return (drawing[0] + place[0] - size[0] // 2, drawing[1] + place[1] - size[1] // 2, *size)
