"""Steps of a task file: actions that name elements as the page does, without bids."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from browser_control.configuration import nearest
from browser_control.errors import ConfigurationError
from browser_control.language.actions import ELEMENT, TARGET, VERBS, Action, InvalidAction, parse_label
from browser_control.language.page import Element, unquote
from browser_control.web_tasks.parameters import fill_in

# An element in a step: role, name, and where several are the same, its number among them.
_ROLES = (
    "button|link|checkbox|radio|tab|menuitem|menuitemcheckbox|menuitemradio|option|textbox|combobox|listbox|slider"
    "|spinbutton|switch|treeitem|searchbox|item|drawing|window"
    "|circle|ellipse|rectangle|line|polyline|polygon|triangle|path|text|image"
)
_ELEMENT = re.compile(rf' (?P<role>{_ROLES})(?: (?P<name>"(?:[^"\\]|\\.)*"))?(?: #(?P<number>[1-9][0-9]*))?(?= |$)')
_NO_BID = "0"


@dataclass(frozen=True)
class Named:
    """An element as a step names it."""

    role: str
    name: str
    number: int = 1

    def find(self, elements: Sequence[Element]) -> Element | None:
        alike = [each for each in elements if (each.role, each.name) == (self.role, self.name)]
        return alike[self.number - 1] if len(alike) >= self.number else None


@dataclass(frozen=True)
class Step:
    """One action of a solution; `first` is its element, `second` the one that it is dragged to."""

    action: Action
    first: Named | None = None
    second: Named | None = None

    def on(self, elements: Sequence[Element], parameters: Mapping[str, str]) -> Action | None:
        """The action on a page; None where that has no such element."""
        bids = []
        for named in (self.first, self.second):
            if named is None:
                bids.append("")
                continue
            found = Named(named.role, fill_in(named.name, parameters), named.number).find(elements)
            if found is None:
                return None
            bids.append(found.bid)
        argument = bids[1] if self.second else fill_in(self.action.argument, parameters)
        return Action(self.action.verb, bids[0], argument)


def step(text: str) -> Step:
    """Reads one action of a solution.

    Raises:
        ConfigurationError: it is none; one sentence.
    """
    named: list[Named] = []

    def take(found: re.Match[str]) -> str:
        named.append(Named(found["role"], unquote(found["name"] or '""'), int(found["number"] or 1)))
        return f" {found['role']} [{_NO_BID}]"

    verb = text.partition(" ")[0]
    if verb not in VERBS:
        raise ConfigurationError(f"there is no action {verb!r}{nearest(verb, VERBS)}, in {text!r:.80}")
    try:
        count = sum(kind in (ELEMENT, TARGET) for kind in VERBS[verb].kinds)
        action = parse_label(_ELEMENT.sub(take, text, count) if count else text)
    except InvalidAction:
        example = 'fill textbox "Name" with "Ada"'
        raise ConfigurationError(f"{text!r:.80} is not an action, such as `{example}`") from None
    return Step(action, *named[:2])
