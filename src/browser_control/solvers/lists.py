"""Web tasks about lists, menus, trees and tables: something is looked up, then chosen or copied."""

import re
from itertools import pairwise

from browser_control.language.actions import Action
from browser_control.language.page import Element
from browser_control.solvers.forms import submit
from browser_control.solvers.goals import between, first_quoted, ordinals, quoted
from browser_control.solvers.view import View, click, fill, first_missing

ICONS = {  # jQuery UI's icons and what their menu items are called
    "ui-icon-disk": "Save",
    "ui-icon-print": "Print...",
    "ui-icon-zoomin": "Zoom In",
    "ui-icon-zoomout": "Zoom Out",
    "ui-icon-seek-start": "Prev",
    "ui-icon-stop": "Stop",
    "ui-icon-play": "Play",
    "ui-icon-seek-end": "Next",
}


def choose_list(view: View) -> Action | None:
    """choose-list: `Select Guatemala from the list and click Submit.`"""
    return _select_and_submit(view, between(view.goal, "Select ", " from the list"))


def choose_from_dropdown(view: View) -> Action | None:
    """form-sequence-3: `Choose 6ft 1in from the dropdown, then click the button labeled "Yes".`"""
    button = first_quoted(view.goal) or ""
    return _select_and_submit(view, between(view.goal, "Choose ", " from the dropdown"), button)


def _select_and_submit(view: View, wanted: str | None, label: str = "Submit") -> Action | None:
    boxes = [box for box in view.of_role("combobox") if wanted in box.options]
    if not boxes or wanted is None:
        return None
    chosen = boxes[0].value == wanted
    return submit(view, label=label) if chosen else Action("select", boxes[0].bid, wanted)


def click_menu(view: View) -> Action | None:
    """click-menu: `Select Amandi>Olga>Ashlee`; a submenu opens under the mouse."""
    path = view.goal.removeprefix("Select ").split(">")
    items = [view.called(name.strip(), "menuitem") for name in path]
    if items[-1] is not None:
        return click(items[-1])
    deepest = [item for item in items if item is not None]
    return Action("hover", deepest[-1].bid) if deepest else None


def click_menu_button(view: View) -> Action | None:
    """click-menu-2: `Click the "Menu" button, and then find and click on the item labeled "Prev".`

    Or `with the "ui-icon-disk" icon.` Half of the items are below Playback.
    """
    wanted = quoted(view.goal)[-1]
    item = view.called(ICONS.get(wanted, wanted), "menuitem")
    if item is not None:
        return click(item)
    playback = view.called("Playback", "menuitem")
    return click(view.called("Menu", "button")) if playback is None else Action("hover", playback.bid)


def navigate_tree(view: View) -> Action | None:
    """navigate-tree: `Navigate through the file tree. Find and click on the folder or file named "Augus".`

    A folder is what comes after its hitarea; folders are opened from the top until the name is there.
    """
    wanted = first_quoted(view.goal)
    entries = [element for element in view.of_role("item") if element.name != "hitarea"]
    for entry in entries:
        if entry.name == wanted:
            return click(entry)
    return first_missing(view, *map(click, _folders(view)))


def _folders(view: View) -> list[Element]:
    items = view.of_role("item")
    return [entry for mark, entry in pairwise(items) if mark.name == "hitarea"]


def turn_pages_of_results(view: View) -> Action | None:
    """search-engine: `Use the textbox to enter "Ada" and press "Search", then find and click the 8th search result.`

    A page shows three results. BrowserGym ends an episode without reward where the page's address is another
    (browsergym/miniwob/base.py, line 184 in 0.14.3). A click on a result adds `#` to it, but for one with Alt held.
    """
    index = ordinals(view.goal)[0]
    fields = view.of_role("textbox")
    if not fields:
        return None
    prepared = first_missing(view, fill(fields[0], quoted(view.goal)[0]), click(view.called("Search", "button")))
    if prepared is not None:
        return prepared
    page, place = divmod(index, 3)
    if page and len(view.taken) == 2:
        return click(view.called(str(page + 1), "link"))
    results = [link for link in view.of_role("link") if not re.fullmatch(r"\d|<|>", link.name)]
    return Action("alt-click", results[place].bid) if place < len(results) else None


def phone_book(view: View) -> Action | None:
    """phone-book: `Find Ada in the contact book and click on their phone number.`, or email, or address."""
    name = between(view.goal, "Find ", " in the contact book")
    wanted = between(view.goal, "click on their ", ".") or ""
    if name not in view.page.texts:
        return click(view.called(">", "link"))
    labelled = view.after({"phone number": "Phone:", "email": "Email:", "address": "Address:"}[wanted])
    return click(next((item for item in labelled if isinstance(item, Element)), None))


def read_table(view: View) -> Action | None:
    """read-table: `Enter the value of Language into the text field and press Submit.`"""
    label = between(view.goal, "Enter the value of ", " into the text field") or ""
    fields = view.of_role("textbox")
    return submit(view, fill(fields[0], _value(view, label))) if fields else None


def fill_from_table(view: View) -> Action | None:
    """read-table-2: `Enter the value that corresponds with each label into the form and submit when done.`"""
    fields = view.of_role("textbox")
    return submit(view, *(fill(field, _value(view, field.name.rstrip(":"))) for field in fields))


def _value(view: View, label: str) -> str | None:
    """Of the table's row `label | value`."""
    rows = (text.partition(" | ") for text in view.page.texts)
    return next((value for name, _, value in rows if name == label), None)


def autocomplete(view: View) -> Action | None:
    """use-autocomplete: `Enter an item that starts with "Ti" and ends with "este".`, or only the start.

    What was chosen stands in the field; where that is wrong, it is typed anew.
    """
    start, *end = quoted(view.goal)
    field = view.called("Tags:", "textbox")
    if field is None:
        return None

    def fits(name: str) -> bool:
        return name.startswith(start) and name.endswith(end[0] if end else "")

    chosen = field.value != start or any(action.verb == "click" for action in view.taken[-1:])
    if chosen and fits(field.value or ""):
        return submit(view)
    suggestions = [item for item in view.of_role("item") if fits(item.name)]
    return click(suggestions[0]) if suggestions else fill(field, start)


SOLVERS = {
    "choose-list": choose_list,
    "form-sequence-3": choose_from_dropdown,
    "click-menu": click_menu,
    "click-menu-2": click_menu_button,
    "navigate-tree": navigate_tree,
    "search-engine": turn_pages_of_results,
    "phone-book": phone_book,
    "read-table": read_table,
    "read-table-2": fill_from_table,
    "use-autocomplete": autocomplete,
    "use-autocomplete-nodelay": autocomplete,
}
