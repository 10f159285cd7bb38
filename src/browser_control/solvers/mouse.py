"""Web tasks for which the mouse does more than click: it drags, turns its wheel, or waits over a button."""

import math
import re
from collections.abc import Callable, Sequence

from browser_control.language.actions import Action
from browser_control.language.page import Element, Text
from browser_control.solvers.forms import submit, tick
from browser_control.solvers.goals import between, ordinals
from browser_control.solvers.view import View, click


def drag_into_box(view: View) -> Action | None:
    """drag-box: `Drag the smaller box so that it is completely inside the larger box.`

    Where it covers the middle of the larger one, it is dragged off first.
    """
    small, large = view.called("s", "item"), view.called("L", "item")
    if small is None or large is None:
        return None
    into = Action("drag", small.bid, large.bid)
    if view.error:
        aside = [Action("drag-by", small.bid, offset) for offset in ("0,-60", "60,0", "0,60", "-60,0")]
        return aside[sum(action in view.taken for action in aside) % len(aside)]
    return click(view.called("Submit", "button")) if view.taken and view.taken[-1] == into else into


_DIRECTIONS = {"width": {"larger": "15,0", "smaller": "-15,0"}, "height": {"larger": "0,15", "smaller": "0,-15"}}


def resize(view: View) -> Action | None:
    """resize-textarea: `Resize the textarea so that the width is larger than its initial size then press Submit.`"""
    way = re.search(r"the (width|height) is (smaller|larger)", view.goal)
    corner = view.called("se-resize", "item")
    return submit(view, Action("drag-by", corner.bid, _DIRECTIONS[way[1]][way[2]])) if way and corner else None


_ROW = 28.6  # pixels from one item of drag-items to the next
_FAR = 150  # from any of its items beyond the last
_CELL = 46  # and of drag-items-grid, across and down


def move_item(view: View) -> Action | None:
    """drag-items: `Drag Vanya to the 4th position.`, `… to the top.`, `… up by one position.`

    What is dragged upwards onto another takes its place, and beyond the ends there is nothing; only on the way down are
    places counted.
    """
    items = view.of_role("item")
    name = between(view.goal, "Drag ", " to the ") or between(view.goal, "Drag ", " up by") or ""
    name = name or between(view.goal, "Drag ", " down by") or ""
    place = next((index for index, item in enumerate(items) if item.name == name), None)
    if place is None:
        return None
    target = place
    if "by one" in view.goal:
        target = place + (1 if " down by one" in view.goal else -1)
    elif positions := ordinals(view.goal):
        target = positions[0]
    else:
        target = 0 if "to the top" in view.goal else len(items) - 1
    if "by one" not in view.goal and 0 < target < place:
        return Action("drag", items[place].bid, items[target].bid)
    far = {0: -_FAR, len(items) - 1: _FAR} if "by one" not in view.goal else {}
    return Action("drag-by", items[place].bid, f"0,{far.get(target, _beyond(target - place, _ROW))}")


def move_item_in_grid(view: View) -> Action | None:
    """drag-items-grid: `Drag Emylee down by one.`, `… to the left by one.`, `… to the center.` of three by three."""
    items = view.of_role("item")
    name = view.goal.removeprefix("Drag ").split(" ")[0]
    place = next((index for index, item in enumerate(items) if item.name == name), None)
    if place is None:
        return None
    row, column = divmod(place, 3)
    wanted = view.goal.removeprefix(f"Drag {name} ")
    if "by one" in wanted:
        down = ("down" in wanted) - ("up" in wanted)
        across = ("right" in wanted) - ("left" in wanted)
        to = (row + down, column + across)
    else:
        to = (
            0 if "top" in wanted else 2 if "bottom" in wanted else 1,
            0 if "left" in wanted else 2 if "right" in wanted else 1,
        )
    return Action("drag-by", items[place].bid, f"{_beyond(to[1] - column, _CELL)},{_beyond(to[0] - row, _CELL)}")


def _beyond(places: int, length: float) -> int:
    """Pixels that lead so many places on, and a little further: an item makes way when its middle is passed."""
    return round(places * length + math.copysign(6, places)) if places else 0


# ---------------------------------------------------------------- sliders

# Ranges that the sliders have, least and greatest; which one it is, the place of the handle tells.
_RANGES = {
    "use-slider": [(low, low + width) for low in (-100, 0, 10, 100) for width in (5, 10, 50, 100)],
    "use-slider-2": [(0, 20)],
    "form-sequence": [(-10, 10)],
}


_STEPS = 3  # that arrow keys go, each by one


def slide(
    track: Element, handle: Element, shown: int, wanted: int, taken: Sequence[Action], kind: str
) -> Action | None:
    """Brings a slider nearer: a click on its track, then arrow keys for the last few steps."""
    assert track.size is not None and handle.place is not None
    vertical = track.size[1] > track.size[0]
    length = track.size[1] if vertical else track.size[0]
    where = length - handle.place[1] if vertical else handle.place[0]
    ranges = [each for each in _RANGES[kind] if each[0] <= min(shown, wanted) and max(shown, wanted) <= each[1]]
    if not ranges:
        return None
    low, high = min(ranges, key=lambda each: abs(where - (shown - each[0]) / (each[1] - each[0]) * length))
    if abs(wanted - shown) > _STEPS:
        along = min(max(round((wanted - low) / (high - low) * length), 0), length - 1)
        at = (track.size[0] // 2, length - 1 - along) if vertical else (along, track.size[1] // 2)
        closer = Action("click-at", track.bid, f"{at[0]},{at[1]}")
        if closer not in taken[-1:]:
            return closer
    if "focused" not in handle.states:
        return Action("click", handle.bid)
    return Action("key", "", "ArrowRight" if wanted > shown else "ArrowLeft")


def _sliders(view: View) -> list[tuple[Element, Element, int]]:
    """Track, handle and the number shown under it, of each."""
    found = []
    items = list(view.page.items)
    for index, item in enumerate(items[:-2]):
        handle, shown = items[index + 1], items[index + 2]
        if isinstance(item, Element) and item.size and isinstance(handle, Element) and isinstance(shown, Text):
            found.append((item, handle, int(shown.text)))
    return found


def use_sliders(kind: str) -> Callable[[View], Action | None]:
    """use-slider: `Select 103 with the slider and hit Submit.`

    use-slider-2: `Set the sliders to the combination [7,0,12] and submit.`
    form-sequence: `Select -3 with the slider, click the 1st checkbox, then hit Submit.`
    """

    def solve(view: View) -> Action | None:
        numbers = [int(number) for number in re.findall(r"-?\d+", view.goal)]
        for (track, handle, shown), wanted in zip(_sliders(view), numbers, strict=False):
            if shown != wanted:
                return slide(track, handle, shown, wanted, view.taken, kind)
        boxes = view.of_role("checkbox")
        return tick(view, [boxes[ordinals(view.goal)[0]]] if boxes else [])

    return solve


def sort_numbers(view: View) -> Action | None:
    """drag-sort-numbers: `Sort the numbers in increasing order, starting with the lowest number at the top …`

    What is dragged upwards onto another takes its place.
    """
    numbers = [item for item in view.of_role("item") if re.fullmatch(r"-?\d+", item.name)]
    for place, (shown, right) in enumerate(zip(numbers, sorted(numbers, key=lambda item: int(item.name)), strict=True)):
        if shown.name != right.name:
            return Action("drag", right.bid, numbers[place].bid)
    return submit(view)


def scroll_text(view: View) -> Action | None:
    """scroll-text-2: `Scroll the textarea to the top of the text hit submit.`, or the bottom.

    It begins half way. The wheel turns what is under the mouse; a text that is listed shortened needs three turns.
    """
    area = view.of_role("textbox")[0]
    direction = "up" if "to the top" in view.goal else "down"
    scrolls = 3 if "…" in (area.value or "") else 1
    if not view.taken:
        return Action("hover", area.bid)
    if len(view.taken) <= scrolls:
        return Action("scroll", "", direction)
    return click(view.called("Submit", "button"))


def buy_stock(view: View) -> Action | None:
    """stock-market: `Buy XBR stock when the price is less than $55.60.` Until then the mouse waits on the button."""
    button = view.called("Buy", "button")
    prices = re.findall(r"Stock price: \$([\d.]+)", " ".join(view.page.texts))
    limit = re.findall(r"\$([\d.]+\d)", view.goal)
    if button is None or not prices or not limit:
        return None
    return click(button) if float(prices[0]) <= float(limit[0]) else Action("hover", button.bid)


SOLVERS = {
    "drag-box": drag_into_box,
    "drag-items": move_item,
    "drag-items-grid": move_item_in_grid,
    "resize-textarea": resize,
    "use-slider": use_sliders("use-slider"),
    "use-slider-2": use_sliders("use-slider-2"),
    "form-sequence": use_sliders("form-sequence"),
    "drag-sort-numbers": sort_numbers,
    "scroll-text-2": scroll_text,
    "stock-market": buy_stock,
}
