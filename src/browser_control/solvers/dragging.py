"""Web tasks in which things are dragged onto others."""

import re

from browser_control.actions import Action
from browser_control.solvers.forms import submit
from browser_control.solvers.view import View


def drag_into_box(view: View) -> Action | None:
    """drag-box: `Drag the smaller box so that it is completely inside the larger box.`"""
    small, large = view.called("s", "item"), view.called("L", "item")
    return submit(view, Action("drag", small.bid, large.bid)) if small and large else None


def sort_numbers(view: View) -> Action | None:
    """drag-sort-numbers: `Sort the numbers in increasing order, starting with the lowest number at the top …`

    What is dragged upwards onto another takes its place.
    """
    numbers = [item for item in view.of_role("item") if re.fullmatch(r"-?\d+", item.name)]
    for place, (shown, right) in enumerate(zip(numbers, sorted(numbers, key=lambda item: int(item.name)), strict=True)):
        if shown.name != right.name:
            return Action("drag", right.bid, numbers[place].bid)
    return submit(view)


SOLVERS = {
    "drag-box": drag_into_box,
    "drag-sort-numbers": sort_numbers,
}
