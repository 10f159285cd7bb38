"""The page as text: what a policy, an action tree or a solver knows of a web page (docs/architecture.md).

`format_page` writes items as lines, `parse_page` reads them back.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

STATES = ("checked", "selected", "expanded", "collapsed", "pressed", "disabled", "readonly", "focused")

_BLANKS = re.compile(r"\s+")
_STRING = r'"(?:[^"\\]|\\.)*"'
_ELEMENT = re.compile(
    rf"(?P<role>[a-z]+)(?: (?P<name>{_STRING}))? \[(?P<bid>[0-9A-Za-z]+)\]"
    rf"(?: value (?P<value>{_STRING}))?"
    rf"(?P<states>(?: (?:{'|'.join(STATES)}))*)"
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
    """Something that can be acted on; `bid` is BrowserGym's id, `value` is None where there is none."""

    role: str
    name: str
    bid: str
    value: str | None = None
    states: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

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


def quote(text: str) -> str:
    """A string as the page spells it; runs of white space, line breaks among them, become one blank."""
    plain = _BLANKS.sub(" ", text).strip()
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


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
    )
