"""Web tasks in which fields are filled in, and then submitted."""

import re
from collections.abc import Sequence

from browser_control.language.actions import Action
from browser_control.language.page import Element
from browser_control.solvers.goals import between, first_quoted, ordinals, quoted
from browser_control.solvers.view import View, click, fill, first_missing


def submit(view: View, *wanted: Action | None, label: str = "Submit") -> Action | None:
    """The first of `wanted` that was not done yet, then the button called `label`."""
    return first_missing(view, *wanted, click(view.called(label, "button")))


def _at(elements: Sequence[Element], index: int) -> Element | None:
    return elements[index] if -len(elements) <= index < len(elements) else None


def enter_text(view: View) -> Action | None:
    """enter-text, enter-text-dynamic: `Enter "Ada" into the text field and press Submit.`"""
    return submit(view, fill(_at(view.of_role("textbox"), 0), first_quoted(view.goal)))


def enter_in_case(view: View) -> Action | None:
    """enter-text-2: `Type "ada" in all upper case letters in the text input and press Submit.`"""
    text = first_quoted(view.goal) or ""
    cased = text.upper() if "upper case" in view.goal else text.lower()
    return submit(view, fill(_at(view.of_role("textbox"), 0), cased))


def enter_password(view: View) -> Action | None:
    """enter-password: `Enter the password "x1" into both text fields and press submit.`"""
    password = first_quoted(view.goal)
    return submit(view, *(fill(field, password) for field in view.of_role("textbox")))


def login_user(view: View) -> Action | None:
    """login-user: `Enter the username "ada" and the password "x1" into the text fields and press login.`"""
    username, password = quoted(view.goal)
    return submit(
        view,
        fill(view.called("Username", "textbox"), username),
        fill(view.called("Password", "textbox"), password),
        label="Login",
    )


def click_option(view: View) -> Action | None:
    """click-option: `Select xFQ and click Submit.`"""
    wanted = between(view.goal, "Select ", " and click Submit") or ""
    return submit(view, click(view.called(wanted, "radio")))


def click_checkboxes(view: View) -> Action | None:
    """click-checkboxes and its kin: `Select a, b and click Submit.`, or `Select nothing and click Submit.`"""
    wanted = (between(view.goal, "Select ", " and click Submit") or "").split(", ")
    return tick(view, [box for name in wanted for box in view.of_role("checkbox") if box.name == name])


def tick(view: View, wanted: Sequence[Element]) -> Action | None:
    """Unticks what is not wanted, ticks what is in the order of `wanted`, then submits.

    What is ticked the page shows, so that what is next follows from goal and page alone, whoever ticked before.
    """
    ticked = [box for box in view.of_role("checkbox") if "checked" in box.states]
    wrong = [box for box in ticked if box not in wanted]
    missing = [box for box in wanted if box not in ticked]
    return click(next(iter([*wrong, *missing]), view.called("Submit", "button")))


def enter_date(view: View) -> Action | None:
    """enter-date: `Enter 01/18/2019 as the date and hit submit.` A date field takes 2019-01-18."""
    found = re.search(r"(\d\d)/(\d\d)/(\d{4})", view.goal)
    field = _at(view.of_role("textbox"), 0)
    return submit(view, fill(field, f"{found[3]}-{found[1]}-{found[2]}")) if found else None


def enter_time(view: View) -> Action | None:
    """enter-time: `Enter 8:05 PM as the time and press submit.` A time field takes 20:05."""
    found = re.search(r"(\d+):(\d\d)\s*([AP])M", view.goal)
    if not found:
        return None
    hour = int(found[1]) % 12 + (12 if found[3] == "P" else 0)
    return submit(view, fill(_at(view.of_role("textbox"), 0), f"{hour:02}:{found[2]}"))


def radio_and_number(view: View) -> Action | None:
    """form-sequence-2: `Check the 3rd radio button and enter the number "-7" into the 1st textbox.`"""
    radio, box = ordinals(view.goal)
    return submit(
        view,
        click(_at(view.of_role("radio"), radio)),
        fill(_at(view.of_role("textbox"), box), first_quoted(view.goal)),
    )


def search_movie(view: View) -> Action | None:
    """multi-layouts, multi-orderings: `Search for urban movies directed by Bennett from year 2002.`

    The fields' order and names vary.
    """
    found = re.search(r"Search for (.*) movies directed by (.*) from year (\d+)", view.goal)
    if not found:
        return None
    genre, director, year = found.groups()
    labels = {
        "Genre": genre,
        "Movie Genre": genre,
        "Director": director,
        "Director Name": director,
        "Year": year,
        "Released Date": year,
    }
    buttons = (view.called(name, "button", "item") for name in ("Submit", "Search", "Go!"))
    return first_missing(
        view,
        *(fill(field, labels.get(field.name.rstrip(":"))) for field in view.of_role("textbox")),
        click(next((button for button in buttons if button is not None), None)),
    )


def login_despite_popup(view: View) -> Action | None:
    """login-user-popup: the goal of login-user; a popup that interrupts is cancelled."""
    username, password = quoted(view.goal)
    popup = view.called("Cancel", "button")
    if popup is not None:
        return click(popup)
    for label, text in (("Username", username), ("Password", password)):
        field = view.called(label, "textbox")
        if field is None or field.value != text:
            return fill(field, text)
    return click(view.called("OK", "button"))


def spin(view: View) -> Action | None:
    """use-spinner: `Select -6 with the spinner and hit Submit.` The number can be typed."""
    return submit(view, fill(_at(view.of_role("spinbutton"), 0), between(view.goal, "Select ", " with")))


def pick_colour(view: View) -> Action | None:
    """use-colorwheel, -2: `Select gold with the color picker and hit Submit.`, or `the following color #e0a509`."""
    wanted = between(view.goal, "Select ", " with the color picker") or ""
    code = COLOURS.get(wanted, wanted.rpartition("#")[2].upper())
    return submit(view, fill(_at(view.of_role("textbox"), 0), code))


COLOURS = {  # CSS's names
    "black": "000000",
    "white": "FFFFFF",
    "aqua": "00FFFF",
    "blue": "0000FF",
    "gray": "808080",
    "green": "008000",
    "lime": "00FF00",
    "maroon": "800000",
    "navy": "000080",
    "olive": "808000",
    "purple": "800080",
    "red": "FF0000",
    "silver": "C0C0C0",
    "teal": "008080",
    "yellow": "FFFF00",
    "pink": "FFC0CB",
    "magenta": "FF00FF",
    "gold": "FFD700",
    "orange": "FFA500",
}


def copy_and_paste(view: View) -> Action | None:
    """copy-paste: `Copy the text in the textarea below, paste it into the textbox and press Submit.`

    copy-paste-2: `Copy the text from the 2nd text area below and paste it into the text input, then press Submit.`
    """
    areas = [field for field in view.of_role("textbox") if "multiline" in field.states]
    fields = [field for field in view.of_role("textbox") if "multiline" not in field.states]
    area, field = _at(areas, (ordinals(view.goal) or [0])[0]), _at(fields, 0)
    return submit(view, Action("copy", area.bid), Action("paste", field.bid)) if area and field else None


def sign_agreement(view: View) -> Action | None:
    """sign-agreement: `Scroll to the bottom of the textarea, enter the name "Alan" then press "Agree"`"""
    if "cancel button" in view.goal:
        return click(view.called("Cancel", "button"))
    area, field = _at(view.of_role("textbox"), 0), _at(view.of_role("textbox"), 1)
    name, label = (*quoted(view.goal), None, None)[:2]
    if area is None or label is None:
        return None
    return submit(view, Action("scroll-in", area.bid, "bottom"), fill(field, name), label=label)


def select_several(view: View) -> Action | None:
    """click-scroll-list: `Select Angola, Peru from the scroll list and click Submit.`"""
    box = _at(view.of_role("listbox"), 0)
    if box is None:
        return None
    wanted = (between(view.goal, "Select ", " from the scroll list") or "").split(", ")
    if not set(wanted) <= set(box.options):
        wanted = [", ".join(wanted)]
    return submit(view, Action("select", box.bid, wanted[0]), *(Action("toggle", box.bid, each) for each in wanted[1:]))


def use_terminal(view: View) -> Action | None:
    """terminal: `Use the terminal below to delete a file ending with the extension .html`, or without an extension."""
    if not view.taken:
        return Action("type", "", "ls")
    if view.taken[-1].verb == "type":
        return Action("key", "", "Enter")
    terminal = next((element.name for element in view.page.elements if element.role == "item"), "")
    files = terminal.rpartition(" ls ")[2].partition(" user$")[0].split()
    ending = re.search(r"extension (\.\S+)", view.goal)
    fits = [each for each in files if (each.endswith(ending[1].rstrip(".")) if ending else "." not in each)]
    return Action("type", "", f"rm {fits[0]}") if fits else None


SOLVERS = {
    "click-scroll-list": select_several,
    "copy-paste": copy_and_paste,
    "copy-paste-2": copy_and_paste,
    "sign-agreement": sign_agreement,
    "terminal": use_terminal,
    "enter-text": enter_text,
    "enter-text-dynamic": enter_text,
    "enter-text-2": enter_in_case,
    "enter-password": enter_password,
    "login-user": login_user,
    "click-option": click_option,
    "click-checkboxes": click_checkboxes,
    "click-checkboxes-large": click_checkboxes,
    "click-checkboxes-transfer": click_checkboxes,
    "enter-date": enter_date,
    "enter-time": enter_time,
    "form-sequence-2": radio_and_number,
    "multi-layouts": search_movie,
    "multi-orderings": search_movie,
    "login-user-popup": login_despite_popup,
    "use-spinner": spin,
    "use-colorwheel": pick_colour,
    "use-colorwheel-2": pick_colour,
}
