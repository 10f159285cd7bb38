"""Reading goals: what solvers of several web tasks look for in the wording."""

import re

_QUOTED = re.compile(r'"(.*?)"')
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)\b")


def quoted(goal: str) -> list[str]:
    """What stands in quotation marks."""
    return _QUOTED.findall(goal)


def first_quoted(goal: str) -> str | None:
    return next(iter(quoted(goal)), None)


def ordinals(goal: str) -> list[int]:
    """`1st`, `2nd` … as indices from 0."""
    return [int(number) - 1 for number in _ORDINAL.findall(goal)]


def between(goal: str, before: str, after: str) -> str | None:
    """What stands between two phrases of the goal."""
    found = re.search(f"{re.escape(before)}(.*?){re.escape(after)}", goal)
    return found[1].strip() if found else None
