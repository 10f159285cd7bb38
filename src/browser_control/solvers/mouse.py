"""Web tasks for which the mouse does more than click: it drags, turns its wheel, or waits over a button."""

import re

from browser_control.language.actions import Action
from browser_control.solvers.forms import submit
from browser_control.solvers.view import View, click


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
    "drag-sort-numbers": sort_numbers,
    "scroll-text-2": scroll_text,
    "stock-market": buy_stock,
}
