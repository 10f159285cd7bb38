"""The page as text: what a policy, an action tree or a solver knows of a web page (docs/architecture.md).

`format_page` writes items as lines, `parse_page` reads them back.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

STATES = (
    "checked", "mixed", "selected", "expanded", "collapsed", "pressed", "required", "disabled", "readonly", "multiple",
    "multiline", "scrollable", "focused",
)  # fmt: skip

DIALOG = "dialog"  # bid of an open dialog of the browser: nothing else is listed until it is answered
TAB = "tab"  # begins the bid of another window; behind it comes its number among those of the page
BID = r"[0-9A-Za-z]+(?:\.[0-9]+)?"  # BrowserGym's; of a shape that of its drawing, a dot and its number in there
_STRING = r'"(?:[^"\\]|\\.)*"'
_ELEMENT = re.compile(
    rf"(?P<role>[a-z]+)(?: (?P<name>{_STRING}))? \[(?P<bid>{BID})\]"
    rf"(?: value (?P<value>{_STRING}))?"
    rf"(?P<states>(?: (?:{'|'.join(STATES)}))*)"
    rf"(?: as (?P<format>{_STRING}))?"
    r"(?: at (?P<place>-?\d+,-?\d+))?(?: size (?P<size>\d+(?:x\d+)?))?"
    rf"(?: options (?P<options>{_STRING}(?:, {_STRING})*))?"
)
_STRINGS = re.compile(_STRING)


class PageUnreadable(ValueError):
    """A line is not one of the page format's."""


@dataclass(frozen=True, slots=True)
class Text:
    """Static text."""

    text: str

    def __str__(self) -> str:
        return quote(self.text)


@dataclass(frozen=True, slots=True)
class Element:
    """Something that can be acted on; `bid` is BrowserGym's id, `value` is None where there is none.

    Attributes:
        format: how a field's value is spelled, as in `yyyy-mm-dd`; of a slider the least and the greatest, `0 to 10`.
        place: of a shape's middle within its drawing, in CSS pixels (right, down).
        size: of what can be pointed into: width and height in CSS pixels, one number where both are the same.
    """

    role: str
    name: str
    bid: str
    value: str | None = None
    states: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    format: str = ""
    place: tuple[int, int] | None = None
    size: tuple[int, int] | None = None

    @property
    def of_browser(self) -> bool:
        """Whether it is the browser's, and no element of the page."""
        return self.bid == DIALOG or self.bid.startswith(TAB)

    @property
    def label(self) -> str:
        """How the page and the policy's actions call it, as in `button "okay" [14]`."""
        name = f"{quote(self.name)} " if self.name else ""
        return f"{self.role} {name}[{self.bid}]"

    def __str__(self) -> str:
        parts = [self.label]
        if self.value is not None:
            parts.append(f"value {quote(self.value)}")
        parts.extend(self.states)
        if self.format:
            parts.append(f"as {quote(self.format)}")
        if self.place is not None:
            parts.append(f"at {self.place[0]},{self.place[1]}")
        if self.size is not None:
            width, height = self.size
            parts.append(f"size {width}" if width == height else f"size {width}x{height}")
        if self.options:
            parts.append("options " + ", ".join(map(quote, self.options)))
        return " ".join(parts)


Item = Text | Element


@dataclass(frozen=True, slots=True)
class Page:
    """What a page's text lists, in document order."""

    items: tuple[Item, ...]

    @property
    def elements(self) -> tuple[Element, ...]:
        return tuple(item for item in self.items if isinstance(item, Element))

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(item.text for item in self.items if isinstance(item, Text))

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def find(self, bid: str) -> Element | None:
        return next((element for element in self.elements if element.bid == bid), None)


def page_of(goal: str, text: str) -> str:
    """The name of the page that shows `text` at the first turn of an episode with this goal: 16 hex digits."""
    return hashlib.sha256(f"{goal}\0{text}".encode()).hexdigest()[:16]


def plain(text: str) -> str:
    """A text as it reads: runs of white space, line breaks among them, become one blank."""
    return " ".join(text.split())


def quote(text: str) -> str:
    """A string as the page spells it."""
    return '"' + plain(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """The inverse of `quote`."""
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def format_page(items: Iterable[Item]) -> str:
    return "\n".join(map(str, items))


def parse_page(text: str) -> Page:
    """Reads a page's text back; raises PageUnreadable for a line that is none."""
    return Page(tuple(_parse_line(line) for line in text.split("\n") if line))


def _parse_line(line: str) -> Item:
    if _STRINGS.fullmatch(line):
        return Text(unquote(line))
    found = _ELEMENT.fullmatch(line)
    if found is None:
        raise PageUnreadable(f"not a line of a page: {line!r:.200}")
    name, value, options = found["name"], found["value"], found["options"]
    return Element(
        role=found["role"],
        name=unquote(name) if name is not None else "",
        bid=found["bid"],
        value=unquote(value) if value is not None else None,
        states=tuple(found["states"].split()),
        options=tuple(unquote(option) for option in _STRINGS.findall(options or "")),
        format=unquote(found["format"]) if found["format"] is not None else "",
        place=_pair(found["place"], ","),
        size=_pair(found["size"], "x"),
    )


def _pair(text: str | None, between: str) -> tuple[int, int] | None:
    if text is None:
        return None
    one, _, other = text.partition(between)
    return int(one), int(other or one)
