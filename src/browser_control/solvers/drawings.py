"""Web tasks that are played on a drawing: shapes are found, counted, dragged, or a point is set among them."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from browser_control.language.actions import Action
from browser_control.solvers.goals import between, first_quoted
from browser_control.solvers.view import View, click

_SHAPE = re.compile(r"(\w+) (.*) at (-?\d+),(-?\d+) size (\d+)(?:x(\d+))?")
_SHAPES = frozenset({"circle", "rectangle", "triangle"})
_SMALL = 16  # pixels, up to which something is small: half the height of a line, or a side


@dataclass(frozen=True)
class Shape:
    """Something drawn: its colour and what it says, its middle and its size in pixels; `bid` if it answers."""

    kind: str
    look: str
    x: int
    y: int
    width: int
    height: int
    bid: str = ""

    @property
    def colour(self) -> str:
        return self.look.partition(" ")[0]

    @property
    def word(self) -> str:
        """Of a text, what it says."""
        return self.look.partition(" ")[2]


def shapes(view: View) -> list[Shape]:
    """All that is drawn, in the order of the page."""
    return list(_shapes(view))


def _shapes(view: View) -> Iterator[Shape]:
    for element in view.page.elements:
        if element.place is not None and element.size is not None:
            yield Shape(element.role, element.name, *element.place, *element.size, element.bid)
    for text in view.page.texts:
        if found := _SHAPE.fullmatch(text):
            kind, look, x, y, width, height = found.groups()
            yield Shape(kind, look, int(x), int(y), int(width), int(height or width))


def _click_shape(shape: Shape | None) -> Action | None:
    return None if shape is None else Action("click", shape.bid)


def _submit(view: View) -> Action | None:
    return click(view.called("Submit", "button"))


# ---------------------------------------------------------------- shapes that are found by their looks


def is_described(shape: Shape, description: str) -> bool:
    """Whether a shape is what words such as `large red digit`, `small item`, `triangle` or `t` say."""
    *adjectives, noun = description.split()
    small = (shape.height if shape.kind == "text" else shape.width) <= _SMALL
    for adjective in adjectives:
        if adjective in ("small", "large"):
            if small != (adjective == "small"):
                return False
        elif adjective != shape.colour:
            return False
    match noun:
        case "item":
            return True
        case "shape":
            return shape.kind in _SHAPES
        case "letter":
            return shape.kind == "text" and shape.word.isalpha()
        case "digit":
            return shape.kind == "text" and shape.word.isdigit()
    return noun in (shape.kind, shape.word) if noun in _SHAPES else shape.kind == "text" and noun == shape.word


def click_shape(view: View) -> Action | None:
    """click-shape: `Click on a large red digit`"""
    wanted = view.goal.removeprefix("Click on a ")
    return _click_shape(next((shape for shape in shapes(view) if is_described(shape, wanted)), None))


def count_shapes(view: View) -> Action | None:
    """count-shape: `How many large items are there?`"""
    wanted = (between(view.goal, "How many ", " are there?") or "")[:-1]
    count = sum(is_described(shape, wanted) for shape in shapes(view))
    return click(view.called(str(count), "button"))


def identify_shape(view: View) -> Action | None:
    """identify-shape: `Click the button that best describes the figure below.`"""
    for shape in shapes(view):
        name = ("Number" if shape.word.isdigit() else "Letter") if shape.kind == "text" else shape.kind.capitalize()
        return click(view.called(name, "button"))
    return None


def ascending_numbers(view: View) -> Action | None:
    """ascending-numbers: `Click on the numbers in ascending order.` After the first they hide, and stay in order."""
    texts = [shape for shape in shapes(view) if shape.kind == "text"]
    if texts:
        return _click_shape(next((shape for shape in texts if shape.word == "1"), None))
    return _click_shape(next(iter(shapes(view)), None))


def grid_coordinate(view: View) -> Action | None:
    """grid-coordinate: `Click on the grid coordinate (2,-2).` There are five by five, from -2 to 2."""
    points = [shape for shape in shapes(view) if shape.kind == "circle"]
    across, up = sorted({point.x for point in points}), sorted({point.y for point in points}, reverse=True)
    x, y = map(int, re.findall(r"-?\d+", view.goal)[-2:])
    return _click_shape(next((each for each in points if (each.x, each.y) == (across[x + 2], up[y + 2])), None))


def pie(view: View) -> Action | None:
    """click-pie, click-pie-nodelay: `Expand the pie menu below and click on the item labeled "w".`"""
    label = first_quoted(view.goal)
    texts = [shape for shape in shapes(view) if shape.kind == "text"]
    if not view.taken:
        return _click_shape(next((shape for shape in texts if shape.word == "+"), None))
    if view.error:  # it still unfolds
        return Action("scroll", "", "up")
    return _click_shape(next((shape for shape in texts if shape.word == label), None)) or Action("scroll", "", "up")


# ---------------------------------------------------------------- shapes that are dragged

_DIRECTIONS = {"left": (-30, 0), "right": (30, 0), "up": (0, -30), "down": (0, 30)}


def drag_one(view: View) -> Action | None:
    """drag-circle, drag-single-shape: `Drag the circle down then press Submit.`"""
    if view.taken:
        return _submit(view)
    x, y = _DIRECTIONS[between(view.goal, "Drag the ", " then press").split()[-1]]  # type: ignore[union-attr]
    return next((Action("drag-by", shape.bid, f"{x},{y}") for shape in shapes(view) if shape.bid), None)


def drag_into_boxes(view: View) -> Action | None:
    """drag-shapes: `Drag all triangles into the black box.`

    drag-shapes-2: `Drag all blue shapes into the left box, and everything else into the right box.`
    """
    drawn = shapes(view)
    boxes = sorted((shape for shape in drawn if shape.look.endswith(" outline")), key=lambda box: box.x)
    wanted = (between(view.goal, "Drag all ", " into") or "").removesuffix(" shapes")
    for shape in drawn:
        if shape in boxes:
            continue
        chosen = wanted in (f"{shape.kind}s", shape.colour)
        if not chosen and len(boxes) == 1:
            continue
        box = boxes[0 if chosen else -1]
        if not _is_inside(shape, box):
            across, down = _in_steps(box.x - shape.x, _ACROSS), _in_steps(box.y - shape.y, _DOWN)
            return Action("drag-by", shape.bid, f"{across},{down}")
    return _submit(view)


_ACROSS, _DOWN = 40, 20  # pixels of a step; half of one is less than what a shape may lie beside the middle of a box


def _in_steps(distance: int, step: int) -> int:
    """The multiple of `step` that is nearest: few different ways for many pages."""
    return round(distance / step) * step


def _is_inside(shape: Shape, box: Shape) -> bool:
    """Wholly, as far as whole pixels tell."""
    return (
        abs(shape.x - box.x) <= (box.width - shape.width) // 2
        and abs(shape.y - box.y) <= (box.height - shape.height) // 2
    )


def draw_line(view: View) -> Action | None:
    """draw-line: `Draw a vertical line that runs through the dot, then press submit.`"""
    if view.taken:
        return _submit(view)
    dot = next(iter(shapes(view)), None)
    return None if dot is None else Action("drag-by", dot.bid, "0,30" if "vertical" in view.goal else "30,0")


# ---------------------------------------------------------------- points that are set among others

_SET_OFF = 2  # pixels by which these pages set a point further right and down than where was clicked
_HALF = 0.5  # by which they take the middle of a point of right-angle to be further than it is


def _set_point(view: View, error: Callable[[float, float], float]) -> Action | None:
    """A click where `error` is least, then Submit."""
    drawing = next(iter(view.of_role("drawing")), None)
    if view.taken or drawing is None or drawing.size is None:
        return _submit(view)
    points = ((x, y) for x in range(drawing.size[0]) for y in range(drawing.size[1]))
    x, y = min(points, key=lambda point: error(point[0] + _SET_OFF, point[1] + _SET_OFF))
    return Action("click-at", drawing.bid, f"{x},{y}")


def _direction(vertex: tuple[float, float], point: tuple[float, float]) -> float:
    """Of the line from the vertex to a point, in degrees."""
    return math.degrees(math.atan2(point[1] - vertex[1], point[0] - vertex[0]))


def _apart(one: float, other: float) -> float:
    """The angle between two directions, in degrees."""
    turned = abs(one - other) % 360
    return min(turned, 360 - turned)


def _circles(view: View, colour: str) -> Sequence[tuple[int, int]]:
    return [(shape.x, shape.y) for shape in shapes(view) if shape.kind == "circle" and shape.colour == colour]


def bisect_angle(view: View) -> Action | None:
    """bisect-angle: `Create a line that bisects the angle evenly in two, then press submit.`"""
    (vertex,), (one, other) = _circles(view, "blue")[:1], _circles(view, "black")[:2]
    ends = [_direction(vertex, end) for end in (one, other)]
    half = _apart(*ends) / 2

    def error(x: float, y: float) -> float:
        if math.dist((x, y), vertex) < 10:
            return math.inf
        direction = _direction(vertex, (x, y))
        return max(abs(_apart(end, direction) - half) for end in ends)

    return _set_point(view, error)


def right_angle(view: View) -> Action | None:
    """right-angle: `Add a third point to create a right angle, then press submit.`"""
    [vertex, *_], [end, *_] = _circles(view, "blue"), _circles(view, "black")
    first = _direction(vertex, end)

    def error(x: float, y: float) -> float:
        if math.dist((x, y), vertex) < 10:
            return math.inf
        return abs(_apart(first, _direction(vertex, (x + _HALF, y + _HALF))) - 90)

    return _set_point(view, error)


SOLVERS = {
    "ascending-numbers": ascending_numbers,
    "bisect-angle": bisect_angle,
    "click-pie": pie,
    "click-pie-nodelay": pie,
    "click-shape": click_shape,
    "count-shape": count_shapes,
    "drag-circle": drag_one,
    "drag-shapes": drag_into_boxes,
    "drag-shapes-2": drag_into_boxes,
    "drag-single-shape": drag_one,
    "draw-line": draw_line,
    "grid-coordinate": grid_coordinate,
    "identify-shape": identify_shape,
    "right-angle": right_angle,
}
