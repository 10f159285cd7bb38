"""Web tasks in which the right things are clicked, one after the other."""

import re

from browser_control.language.actions import Action
from browser_control.language.page import Element
from browser_control.solvers.goals import between, first_quoted, ordinals
from browser_control.solvers.view import View, click, first_missing


def click_only(view: View) -> Action | None:
    """click-test: `Click the button.` There is one."""
    return click(view.page.elements[0]) if view.page.elements else None


def click_one(view: View) -> Action | None:
    """click-test-2, click-test-transfer: `Click button ONE.`"""
    return _click_or_press(view, view.called("ONE"))


def _click_or_press(view: View, button: Element | None) -> Action | None:
    """A click; by keys where something covers the button's middle."""
    if button is None or not (view.error or any(action.verb == "key" for action in view.taken)):
        return click(button)
    return Action("key", "", "Enter" if "focused" in button.states else "Tab")


def click_button(view: View) -> Action | None:
    """click-button, unicode-test: `Click on the "okay" button.`"""
    return click(view.called(first_quoted(view.goal) or "", "button"))


def click_link(view: View) -> Action | None:
    """click-link: `Click on the link "sed".`; the text breaks links before punctuation."""
    return click(view.called(first_quoted(view.goal) or ""))


def click_sequence(view: View) -> Action | None:
    """click-button-sequence: `Click button ONE, then click button TWO.`"""
    one, two = view.called("ONE"), view.called("TWO")
    if one is None or two is None:
        return None
    keys = any(action.verb == "key" for action in view.taken)
    if Action("key", "", "Enter") in view.taken or (view.taken and not view.error and not keys):
        return click(two)
    return _click_or_press(view, one)


def click_widget(view: View) -> Action | None:
    """click-widget: `Click on a "textarea" widget.`"""
    kind = first_quoted(view.goal) or ""
    for element in view.page.elements:
        multiline = "multiline" in element.states
        if element.role == ("textbox" if kind.startswith("text") else kind) and multiline == (kind == "textarea"):
            return click(element)
    return None


def close_dialog(view: View) -> Action | None:
    """click-dialog: `Close the dialog box by clicking the "x".`"""
    return click(view.called("Close", "button"))


def click_in_dialog(view: View) -> Action | None:
    """click-dialog-2: `Click the button in the dialog box labeled "OK".`, or `"x"`, which closes it."""
    label = first_quoted(view.goal) or ""
    return click(view.called("Close" if label == "x" else label, "button"))


def focus_text(view: View) -> Action | None:
    """focus-text, focus-text-2: `Focus into the textbox.`, `Focus into the 2nd input textbox.`"""
    fields = view.of_role("textbox")
    index = (ordinals(view.goal) or [0])[0]
    return click(fields[index]) if index < len(fields) else None


def click_greatest(view: View) -> Action | None:
    """find-greatest: `Find and pick the card with the greatest number, then press submit.`"""
    cards = [element for element in view.of_role("item") if element.name.isdigit()]
    if not cards:
        return None
    greatest = max(cards, key=lambda card: int(card.name))
    return click(greatest if view.clicked_last(*cards) != greatest else view.called("Submit", "button"))


def click_cheapest_or_shortest(view: View) -> Action | None:
    """buy-ticket: `Buy the ticket with the cheapest cost.`, or most expensive, shortest, longest."""
    tickets = view.of_role("button")
    if "cost" in view.goal:
        sizes = [int(re.sub(r"\D", "", ticket.name)) for ticket in tickets]
    else:
        sizes = [minutes(text) for text in view.page.texts if re.fullmatch(r"\d+h \d+m", text)]
    if not tickets or len(sizes) != len(tickets):
        return None
    best = max(sizes) if "most expensive" in view.goal or "longest" in view.goal else min(sizes)
    return click(tickets[sizes.index(best)])


def click_colour(view: View) -> Action | None:
    """click-color: `Click on the purple colored box.`"""
    return click(view.called(between(view.goal, "Click on the ", " colored box") or ""))


def click_shades(view: View) -> Action | None:
    """click-shades: `Select all the shades of blue and press Submit.`"""
    colour = between(view.goal, "shades of ", " and press")
    boxes = [box for box in view.of_role("item") if box.name == colour]
    return first_missing(view, *map(click, boxes), click(view.called("Submit", "button")))


def minutes(duration: str) -> int:
    """Of `6h 37m`."""
    hours, minutes = re.findall(r"\d+", duration)
    return int(hours) * 60 + int(minutes)


SOLVERS = {
    "click-test": click_only,
    "click-test-2": click_one,
    "click-test-transfer": click_one,
    "click-button": click_button,
    "unicode-test": click_button,
    "click-link": click_link,
    "click-button-sequence": click_sequence,
    "click-dialog": close_dialog,
    "click-dialog-2": click_in_dialog,
    "focus-text": focus_text,
    "focus-text-2": focus_text,
    "click-widget": click_widget,
    "click-color": click_colour,
    "click-shades": click_shades,
    "find-greatest": click_greatest,
    "buy-ticket": click_cheapest_or_shortest,
}
