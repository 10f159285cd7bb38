"""Web tasks in which a day is picked from a calendar, booking a flight among them."""

import re
from calendar import month_name
from datetime import date

from browser_control.language.actions import Action
from browser_control.language.page import Element
from browser_control.solvers.forms import submit
from browser_control.solvers.pointing import minutes
from browser_control.solvers.view import View, click, fill

_MONTH = re.compile(rf"({'|'.join(month_name[1:])}) (\d{{4}})")


def goal_date(goal: str) -> date | None:
    """Of `… 11/26/2016 …`."""
    found = re.search(r"(\d\d)/(\d\d)/(\d{4})", goal)
    return date(int(found[3]), int(found[1]), int(found[2])) if found else None


def pick_day(view: View, field: Element, day: date) -> Action | None:
    """Opens the field's calendar, turns to the month, and clicks the day."""
    headings = [found for text in view.page.texts if (found := _MONTH.fullmatch(text))]
    if not headings:
        return click(field)
    name, year = headings[0].groups()
    shown = date(int(year), list(month_name).index(name), 1)
    if shown != day.replace(day=1):
        return click(view.called("Prev" if shown > day else "Next", "item", "link"))
    return click(view.called(str(day.day), "link"))


def choose_date(view: View) -> Action | None:
    """choose-date and its kin: `Select 11/26/2016 as the date and hit submit.`"""
    day = goal_date(view.goal)
    fields = view.of_role("textbox")
    if day is None or not fields:
        return None
    return submit(view) if fields[0].value == f"{day:%m/%d/%Y}" else pick_day(view, fields[0], day)


def book_flight(view: View) -> Action | None:
    """book-flight: `Book the cheapest one-way flight from: Thorne Bay, AK to: RDD on 10/03/2016.`, or the shortest.

    Places are chosen from the suggestions, which look like `Redding, CA (RDD)`.
    """
    found = re.search(r"from: (.*) to: (.*) on ", view.goal)
    day = goal_date(view.goal)
    if found is None or day is None:
        return None
    offers = [button for button in view.of_role("button") if button.name.startswith("Book flight for $")]
    if offers:
        return click(_best_offer(view, offers))
    for label, place in (("From:", found[1]), ("To:", found[2])):
        field = view.called(label, "textbox")
        if field is None:
            return None
        if field.value is None or not _is_airport(field.value, place):
            return _choose_place(view, field, place)
    dates = [field for field in view.of_role("textbox") if "readonly" in field.states]
    if dates and dates[0].value != f"{day:%m/%d/%Y}":
        return pick_day(view, dates[0], day)
    return click(view.called("Search", "button"))


def _is_airport(name: str, place: str) -> bool:
    """Whether `Redding, CA (RDD)` is what the goal calls `Redding, CA` or `RDD`."""
    return name.startswith(f"{place} (") or name.endswith(f"({place})")


def _choose_place(view: View, field: Element, place: str) -> Action | None:
    suggestions = [item for item in view.of_role("item") if _is_airport(item.name, place)]
    return click(suggestions[0]) if suggestions and field.value == place else fill(field, place)


def _best_offer(view: View, offers: list[Element]) -> Element | None:
    if "cheapest" in view.goal:
        return min(offers, key=lambda offer: int(re.sub(r"\D", "", offer.name)))
    durations = [minutes(text) for text in view.page.texts if re.fullmatch(r"\d+h \d+m", text)]
    return offers[durations.index(min(durations))] if len(durations) == len(offers) else None


SOLVERS = {
    "choose-date": choose_date,
    "choose-date-easy": choose_date,
    "choose-date-medium": choose_date,
    "choose-date-nodelay": choose_date,
    "book-flight": book_flight,
    "book-flight-nodelay": book_flight,
}
