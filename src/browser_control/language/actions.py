"""Actions: how the policy spells them, and what BrowserGym is sent.

The policy names an element as the page's text does, label before number: a small model copies a label from the goal
far better than it looks up a number (`docs/results.md` has the comparison). `docs/architecture.md` lists the spellings.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from browser_control.language.page import Element, quote, unquote

VERBS = ("click", "fill", "select", "press", "hover", "drag", "scroll", "alt-click")
KEYS = ("Enter", "Tab", "Escape", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Backspace", "Delete")
LABEL_FORMAT, BID_FORMAT = "label", "bid"
SCROLL_PIXELS = 200
_TEXT_ROLES = frozenset({"textbox", "searchbox", "spinbutton"})
_STRING = r'"(?:[^"\\]|\\.)*"'
_TARGET = rf"\w+(?: {_STRING})? \[(\w+)\]"
_PATTERNS: dict[str, re.Pattern[str]] = {
    verb: re.compile(pattern, re.DOTALL)
    for verb, pattern in {
        "click": rf"click {_TARGET}",
        "alt-click": rf"alt-click {_TARGET}",
        "fill": rf"fill {_TARGET} with ({_STRING})",
        "select": rf"select {_TARGET} option ({_STRING})",
        "press": rf"press ({_STRING}) in {_TARGET}",
        "hover": rf"hover {_TARGET}",
        "drag": rf"drag {_TARGET} to {_TARGET}",
        "scroll": r"scroll (down|up)",
        "wait": r"wait",
    }.items()
}


class InvalidAction(ValueError):
    """What the policy said is not an action on this page; the message is shown to it."""


@dataclass(frozen=True)
class Action:
    """One action. `bid` is the element, `argument` the text, option, key, target's bid or direction."""

    verb: str
    bid: str = ""
    argument: str = ""

    def to_browsergym(self) -> str:
        """The one call of BrowserGym's action set that does this."""
        match self.verb:
            case "click" | "hover":
                return f"{self.verb}({self.bid!r})"
            case "alt-click":
                return f"click({self.bid!r}, 'left', ['Alt'])"
            case "fill":
                return f"fill({self.bid!r}, {self.argument!r})"
            case "select":
                return f"select_option({self.bid!r}, {self.argument!r})"
            case "press":
                return f"press({self.bid!r}, {self.argument!r})"
            case "drag":
                return f"drag_and_drop({self.bid!r}, {self.argument!r})"
            case "scroll":
                return f"scroll(0, {SCROLL_PIXELS if self.argument == 'down' else -SCROLL_PIXELS})"
            case "wait":
                return "noop()"
        raise ValueError(f"unknown verb {self.verb!r}")

    def spell(self, elements: Sequence[Element]) -> str:
        """The policy's spelling, with the labels that `elements` show."""
        by_bid = {element.bid: element for element in elements}
        match self.verb:
            case "click" | "alt-click" | "hover":
                return f"{self.verb} {by_bid[self.bid].label}"
            case "fill":
                return f"fill {by_bid[self.bid].label} with {quote(self.argument)}"
            case "select":
                return f"select {by_bid[self.bid].label} option {quote(self.argument)}"
            case "press":
                return f"press {quote(self.argument)} in {by_bid[self.bid].label}"
            case "drag":
                return f"drag {by_bid[self.bid].label} to {by_bid[self.argument].label}"
            case "scroll":
                return f"scroll {self.argument}"
            case "wait":
                return "wait"
        raise ValueError(f"unknown verb {self.verb!r}")


def spell(action: Action, elements: Sequence[Element], action_format: str) -> str:
    """An action as the policy writes it."""
    return action.spell(elements) if action_format == LABEL_FORMAT else action.to_browsergym()


def parse_label(text: str) -> Action:
    """Reads the policy's own spelling.

    Raises:
        InvalidAction: it is none of the spellings.
    """
    verb = text.partition(" ")[0]
    found = _PATTERNS[verb].fullmatch(text) if verb in _PATTERNS else None
    if found is None:
        raise InvalidAction(f"not an action: {text[:80]!r}")
    parts = found.groups()
    match verb:
        case "click" | "alt-click" | "hover":
            return Action(verb, parts[0])
        case "fill" | "select":
            return Action(verb, parts[0], unquote(parts[1]))
        case "press":
            return Action(verb, parts[1], unquote(parts[0]))
        case "drag":
            return Action(verb, parts[0], parts[1])
        case "scroll":
            return Action(verb, "", parts[0])
        case _:
            return Action(verb)


def parse_bid(text: str) -> Action:
    """Reads BrowserGym's spelling, the calls that `Action.to_browsergym` writes.

    Raises:
        InvalidAction: not one call with literal arguments, or a function that is not offered.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise InvalidAction(f"not an action: {text[:80]!r}") from error
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.keywords):
        raise InvalidAction(f"not one call: {text[:80]!r}")
    try:
        arguments = [ast.literal_eval(argument) for argument in call.args]
    except ValueError as error:
        raise InvalidAction(f"arguments must be literals: {text[:80]!r}") from error
    match call.func.id, arguments:
        case ("click" | "hover") as verb, [str(bid)]:
            return Action(verb, bid)
        case "click", [str(bid), "left", ["Alt"]]:
            return Action("alt-click", bid)
        case "fill", [str(bid), str(value)]:
            return Action("fill", bid, value)
        case "select_option", [str(bid), str(option)]:
            return Action("select", bid, option)
        case "press", [str(bid), str(key)]:
            return Action("press", bid, key)
        case "drag_and_drop", [str(bid), str(onto)]:
            return Action("drag", bid, onto)
        case "scroll", [0, int(pixels)] if abs(pixels) == SCROLL_PIXELS:
            return Action("scroll", "", "down" if pixels > 0 else "up")
        case "noop", []:
            return Action("wait")
    raise InvalidAction(f"not an action that is offered: {text[:80]!r}")


def check(action: Action, elements: Sequence[Element]) -> None:
    """Raises `InvalidAction` if `elements` do not offer what `action` asks of them."""
    by_bid = {element.bid: element for element in elements}
    bids = [action.bid, action.argument] if action.verb == "drag" else [action.bid]
    for bid in bids:
        if bid and bid not in by_bid:
            raise InvalidAction(f"no element [{bid}] on this page")
    if action.verb == "fill" and by_bid[action.bid].role not in _TEXT_ROLES:
        raise InvalidAction(f"[{action.bid}] takes no text")
    if action.verb == "select" and action.argument not in by_bid[action.bid].options:
        raise InvalidAction(f"[{action.bid}] has no option {action.argument!r}")


def choices(elements: Sequence[Element], verbs: Sequence[str]) -> list[tuple[Action, bool]]:
    """Every action that `elements` offer, `fill` with an empty text; the flag tells that a text follows.

    Disabled elements offer nothing. A `select` of the option that is chosen already is offered too: harmless, and
    the policy cannot know what a page does with it. Where nothing is offered, waiting is.
    """
    offered = list(_choices(elements, verbs))
    return offered or [(Action("wait"), False)]


def _choices(elements: Sequence[Element], verbs: Sequence[str]) -> Iterator[tuple[Action, bool]]:
    usable = [element for element in elements if "disabled" not in element.states]
    for verb in verbs:
        match verb:
            case "click" | "hover":
                for element in usable:
                    yield Action(verb, element.bid), False
            case "alt-click":  # a link's own script runs, and the page's address stays
                for element in usable:
                    if element.role == "link":
                        yield Action(verb, element.bid), False
            case "fill":
                for element in usable:
                    if element.role in _TEXT_ROLES:
                        yield Action("fill", element.bid), True
            case "select":
                for element in usable:
                    for option in element.options:
                        yield Action("select", element.bid, option), False
            case "press":
                for element in usable:
                    if element.role in _TEXT_ROLES:
                        yield from ((Action("press", element.bid, key), False) for key in KEYS)
            case "drag":
                for one in usable:
                    for other in usable:
                        if one.bid != other.bid:
                            yield Action("drag", one.bid, other.bid), False
            case "scroll":
                yield from ((Action("scroll", "", direction), False) for direction in ("down", "up"))


# ---------------------------------------------------------------- offers, as their spellings are put together

Fragments = tuple[str, ...]  # of a spelling, each to be tokenized by itself: none begins or ends within a word


@dataclass(frozen=True, slots=True)
class Options:
    """What may stand at one place of an action.

    Attributes:
        spelled: each of them.
        differs: not what was chosen two places before, from the same ones.
    """

    spelled: tuple[Fragments, ...]
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Typed:
    """A text that the policy types; `closing` ends it, and `excluded` are characters that it may not have."""

    closing: str
    excluded: str


TYPED = {LABEL_FORMAT: Typed('"', '"'), BID_FORMAT: Typed("')", "'")}


@dataclass(frozen=True, slots=True)
class Offer:
    """Actions that are spelled alike: how they begin, and what may follow, place by place."""

    begin: Fragments
    places: tuple[Options | Typed, ...] = ()

    def fragments(self) -> Iterator[str]:
        """All that it is spelled with."""
        yield from self.begin
        for place in self.places:
            if isinstance(place, Options):
                yield from chain.from_iterable(place.spelled)


def offers(elements: Sequence[Element], verbs: Sequence[str], action_format: str) -> list[Offer]:
    """The actions of `choices`, those together that share places; no two offers begin alike."""
    usable = [element for element in elements if "disabled" not in element.states]
    spell = _label_offers if action_format == LABEL_FORMAT else _bid_offers
    offered = [offer for verb in verbs for offer in spell(verb, usable)]
    return offered or [Offer(("wait" if action_format == LABEL_FORMAT else "noop()",))]


def fragments(action: Action, elements: Sequence[Element], action_format: str) -> Fragments:
    """The spelling of one action, put together as `offers` puts it."""
    if action_format == LABEL_FORMAT:
        return _label_fragments(action, {element.bid: element for element in elements})
    return _bid_fragments(action)


def _label(element: Element) -> Fragments:
    name = (f" {quote(element.name)}",) if element.name else ()
    return (f" {element.role}", *name, f" [{element.bid}]")


def _label_offers(verb: str, usable: Sequence[Element]) -> Iterator[Offer]:
    match verb:
        case "click" | "hover" | "alt-click":
            targets = [element for element in usable if verb != "alt-click" or element.role == "link"]
            yield from _nonempty(Offer((verb,), (Options(tuple(map(_label, targets))),)))
        case "fill":
            fields = Options(tuple(_label(element) for element in usable if element.role in _TEXT_ROLES))
            yield from _nonempty(Offer((verb,), (fields, Options(((' with "',),)), TYPED[LABEL_FORMAT])))
        case "select":
            for element in usable:
                options = Options(tuple((f" {quote(option)}",) for option in dict.fromkeys(element.options)))
                yield from _nonempty(Offer((verb, *_label(element), " option"), (options,)))
        case "press":
            fields = Options(tuple(_label(element) for element in usable if element.role in _TEXT_ROLES))
            keys = Options(tuple((f" {quote(key)}",) for key in KEYS))
            yield from _nonempty(Offer((verb,), (keys, Options(((" in",),)), fields)))
        case "drag":
            if len(usable) > 1:
                labels = tuple(map(_label, usable))
                yield Offer((verb,), (Options(labels), Options(((" to",),)), Options(labels, differs=True)))
        case "scroll":
            yield Offer((verb,), (Options(((" down",), (" up",))),))


def _label_fragments(action: Action, by_bid: Mapping[str, Element]) -> Fragments:
    match action.verb:
        case "click" | "hover" | "alt-click":
            return (action.verb, *_label(by_bid[action.bid]))
        case "fill":
            return (action.verb, *_label(by_bid[action.bid]), ' with "', action.argument + TYPED[LABEL_FORMAT].closing)
        case "select":
            return (action.verb, *_label(by_bid[action.bid]), " option", f" {quote(action.argument)}")
        case "press":
            return (action.verb, f" {quote(action.argument)}", " in", *_label(by_bid[action.bid]))
        case "drag":
            return (action.verb, *_label(by_bid[action.bid]), " to", *_label(by_bid[action.argument]))
        case "scroll":
            return (action.verb, f" {action.argument}")
        case "wait":
            return (action.verb,)
    raise ValueError(f"unknown verb {action.verb!r}")


def _bid_offers(verb: str, usable: Sequence[Element]) -> Iterator[Offer]:
    if verb == "drag":
        if len(usable) > 1:
            bids = tuple((element.bid,) for element in usable)
            between, end = Options((("', '",),)), Options((("')",),))
            yield Offer(("drag_and_drop('",), (Options(bids), between, Options(bids, differs=True), end))
        return
    for action, typed in _choices(usable, (verb,)):
        spelled = _bid_fragments(action)
        yield Offer(spelled[:-1], (TYPED[BID_FORMAT],)) if typed else Offer(spelled)


def _bid_fragments(action: Action) -> Fragments:
    match action.verb:
        case "fill":
            return ("fill('", action.bid, "', '", action.argument + TYPED[BID_FORMAT].closing)
        case "select":
            return ("select_option('", action.bid, "',", f" {action.argument!r})")
        case "press":
            return ("press('", action.bid, "',", f" {action.argument!r})")
        case "drag":
            return ("drag_and_drop('", action.bid, "', '", action.argument, "')")
        case "click" | "hover":
            return (f"{action.verb}('", action.bid, "')")
        case "alt-click":
            return ("click('", action.bid, "', 'left', ['Alt'])")
        case _:
            return (action.to_browsergym(),)


def _nonempty(offer: Offer) -> Iterator[Offer]:
    """The offer, unless there is nothing at one of its places."""
    if all(not isinstance(place, Options) or place.spelled for place in offer.places):
        yield offer
