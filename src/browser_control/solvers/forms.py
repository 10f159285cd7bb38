"""Web tasks in which fields are filled in, and then submitted."""

import re
from collections.abc import Sequence

from browser_control.actions import Action
from browser_control.page import Element
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
    boxes = [box for box in view.of_role("checkbox") if box.name in wanted]
    return submit(view, *(click(box) for box in boxes))


def choose_list(view: View) -> Action | None:
    """choose-list: `Select Guatemala from the list and click Submit.`"""
    wanted = between(view.goal, "Select ", " from the list") or ""
    box = _at(view.of_role("combobox"), 0)
    if box is None:
        return None
    return submit(view) if box.value == wanted else Action("select", box.bid, wanted)


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


SOLVERS = {
    "enter-text": enter_text,
    "enter-text-dynamic": enter_text,
    "enter-text-2": enter_in_case,
    "enter-password": enter_password,
    "login-user": login_user,
    "click-option": click_option,
    "click-checkboxes": click_checkboxes,
    "click-checkboxes-large": click_checkboxes,
    "click-checkboxes-transfer": click_checkboxes,
    "choose-list": choose_list,
    "enter-date": enter_date,
    "enter-time": enter_time,
    "form-sequence-2": radio_and_number,
}
