"""Actions: what a page offers, and how each is spelled, by the policy and in BrowserGym's action set.

`VERBS` is the whole of it: a verb says which elements take it, and what stands in which place of its two spellings.
Reading, writing, checking and offering all follow from that. Calls that BrowserGym's action set lacks (`click_at`,
`drag_by`, `toggle_option`, `scroll_in`, `copy`, `paste`, `accept_dialog`, `dismiss_dialog`) are our service's; another
server refuses them, and a configuration that plays there leaves their verbs out.
"""

import ast
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from browser_control.language.page import BID, DIALOG, TAB, Element, quote, unquote

KEYS = ("Enter", "Tab", "Escape", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Backspace", "Delete")
FOCUS_KEYS = (*KEYS, "Home", "End", "PageUp", "PageDown", "Space")  # where the focus is
EDGES = ("up", "down", "top", "bottom")
LABEL_FORMAT, BID_FORMAT = "label", "bid"
SCROLL_PIXELS = 200
REACH = 160  # CSS pixels by which an element may be dragged, each way
_STRING = r'"(?:[^"\\]|\\.)*"'


class InvalidAction(ValueError):
    """What the policy said is not an action on this page; the message is shown to it."""


@dataclass(frozen=True)
class Action:
    """One action. `bid` is the element; `argument` the text, option, key, target's bid, direction or point `45,80`."""

    verb: str
    bid: str = ""
    argument: str = ""

    @property
    def bids(self) -> tuple[str, ...]:
        """Of the elements that it is about."""
        target = (self.argument,) if self.verb == "drag" else ()
        return tuple(bid for bid in (self.bid, *target) if bid)

    def to_browsergym(self) -> str:
        """The one call of the action set that does this."""
        verb = _named(self.verb)
        return f"{verb.function}({', '.join(repr(value) for value in verb.arguments(self))})"

    def spell(self, elements: Sequence[Element]) -> str:
        """The policy's spelling, with the labels that `elements` show."""
        return "".join(fragments(self, elements, LABEL_FORMAT))


def spell(action: Action, elements: Sequence[Element], action_format: str) -> str:
    """An action as the policy writes it."""
    return action.spell(elements) if action_format == LABEL_FORMAT else action.to_browsergym()


# ---------------------------------------------------------------- which elements take what

_TEXT_ROLES = frozenset({"textbox", "searchbox", "spinbutton"})
_POINTED = _TEXT_ROLES | {
    *("button", "link", "checkbox", "radio", "switch", "option", "combobox", "listbox", "tab", "menuitem")
}


def _enabled(element: Element) -> bool:
    if element.of_browser:
        return False
    return "disabled" not in element.states and element.format != "file"  # no file of this machine can be given


def _writable(element: Element) -> bool:
    return element.role in _TEXT_ROLES and _enabled(element) and "readonly" not in element.states


def _takes_value(element: Element) -> bool:
    native_slider = element.role == "slider" and bool(element.format) and "readonly" not in element.states
    return _writable(element) or (native_slider and _enabled(element))


def _is_field(element: Element) -> bool:
    return element.role in _TEXT_ROLES and _enabled(element)


def _is_link(element: Element) -> bool:
    return element.role == "link" and _enabled(element)


def _has_options(element: Element) -> bool:
    return bool(element.options) and _enabled(element)


def _takes_several(element: Element) -> bool:
    return _has_options(element) and "multiple" in element.states


def _has_size(element: Element) -> bool:
    return element.size is not None and element.place is None and _enabled(element)


def _can_be_moved(element: Element) -> bool:
    return element.role not in _POINTED and _enabled(element)


def _can_be_copied(element: Element) -> bool:
    return element.role in _TEXT_ROLES and bool(element.value)


def _can_be_cleared(element: Element) -> bool:
    return _writable(element) and bool(element.value) and element.format != "#rrggbb"  # a colour is never empty


def _scrolls(element: Element) -> bool:
    return "scrollable" in element.states


# ---------------------------------------------------------------- which pages offer what


def _has_no_dialog(elements: Sequence[Element]) -> bool:
    return not elements or elements[0].bid != DIALOG


def has_dialog(elements: Sequence[Element]) -> bool:
    """Whether a dialog of the browser is open on a page with these elements."""
    return not _has_no_dialog(elements)


def _has_prompt(elements: Sequence[Element]) -> bool:
    return has_dialog(elements) and elements[0].role == "prompt"


def _can_be_closed(elements: Sequence[Element]) -> bool:
    """Whether the window in front is not the first."""
    return _has_no_dialog(elements) and any(each.bid == f"{TAB}0" for each in elements)


def _is_tab(element: Element) -> bool:
    return element.bid.startswith(TAB)


# ---------------------------------------------------------------- verbs, and what stands in their places

# Kinds of places. The value of an ELEMENT is a bid, that of a POINT or an OFFSET two numbers as in `45,80`.
ELEMENT, TARGET, TEXT, OPTION, KEY, FOCUS_KEY, DIRECTION, EDGE, POINT, OFFSET = (
    "{element}", "{target}", "{text}", "{option}", "{key}", "{focus key}", "{direction}", "{edge}", "{point}",
    "{offset}",
)  # fmt: skip
_TAB_NUMBER = "{tab number}"  # an argument of the action set: the element's, of a window
_FIXED: Mapping[str, tuple[str, ...]] = {
    KEY: KEYS,
    FOCUS_KEY: FOCUS_KEYS,
    DIRECTION: ("down", "up"),
    EDGE: EDGES,
}
_OF_ELEMENT = frozenset({OPTION, POINT})  # what may stand there depends on the element
_QUOTED = frozenset({TEXT, OPTION, KEY, FOCUS_KEY})
_PIXELS = {"down": SCROLL_PIXELS, "up": -SCROLL_PIXELS}


@dataclass(frozen=True)
class Verb:
    """How one kind of action is spelled, and which elements take it.

    Attributes:
        label: the policy's spelling, words and kinds of places.
        function: of the action set.
        given: its arguments, values and kinds of places.
        takes: whether an element does; not asked where no element is named.
        fits: whether a page with these elements offers it at all.
    """

    name: str
    label: tuple[str, ...]
    function: str
    given: tuple[object, ...]
    takes: Callable[[Element], bool] = _enabled
    fits: Callable[[Sequence[Element]], bool] = _has_no_dialog

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its places, as the policy spells them."""
        return tuple(part for part in self.label if part in _READ)

    def arguments(self, action: Action) -> list[object]:
        """Of `function`, for this action."""
        values: list[object] = []
        for given in self.given:
            if given == ELEMENT:
                values.append(action.bid)
            elif given == _TAB_NUMBER:
                values.append(int(action.bid.removeprefix(TAB)))
            elif given in (POINT, OFFSET):
                values.extend(int(number) for number in action.argument.split(","))
            elif given == DIRECTION:
                values.append(_PIXELS[action.argument])
            else:
                values.append(action.argument if isinstance(given, str) and given in _READ else given)
        return values

    def read(self, arguments: Sequence[object]) -> Action | None:
        """The action that has these arguments; None if none has."""
        bid, argument, rest = "", "", list(arguments)
        for given in self.given:
            if not rest:
                return None
            value = rest.pop(0)
            if given in (POINT, OFFSET):
                if not rest or not (_is_integer(value) and _is_integer(rest[0])):
                    return None
                argument = f"{value},{rest.pop(0)}"
            elif given == _TAB_NUMBER:
                if not _is_integer(value):
                    return None
                bid = f"{TAB}{value}"
            elif given == DIRECTION:
                if value not in _PIXELS.values():
                    return None
                argument = "down" if value == SCROLL_PIXELS else "up"
            elif isinstance(given, str) and given in _READ:
                if not isinstance(value, str):
                    return None
                bid, argument = (value, argument) if given == ELEMENT else (bid, value)
            elif value != given:
                return None
        return None if rest else Action(self.name, bid, argument)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# How the policy's spelling of a place is read.
_LABEL = rf" \w+(?: {_STRING})? \[({BID})\]"
_READ: Mapping[str, str] = {
    ELEMENT: _LABEL,
    TARGET: _LABEL,
    TEXT: f" ({_STRING})",
    OPTION: f" ({_STRING})",
    KEY: f" ({_STRING})",
    FOCUS_KEY: f" ({_STRING})",
    DIRECTION: r" (\w+)",
    EDGE: r" (\w+)",
    POINT: r" \((-?\d+,-?\d+)\)",
    OFFSET: r" \((-?\d+,-?\d+)\)",
}

WAIT = Verb("wait", ("wait",), "noop", ())
_ALL = (
    Verb("click", ("click", ELEMENT), "click", (ELEMENT,)),
    Verb("fill", ("fill", ELEMENT, " with", TEXT), "fill", (ELEMENT, TEXT), _takes_value),
    Verb("select", ("select", ELEMENT, " option", OPTION), "select_option", (ELEMENT, OPTION), _has_options),
    Verb("press", ("press", KEY, " in", ELEMENT), "press", (ELEMENT, KEY), _is_field),
    Verb("hover", ("hover", ELEMENT), "hover", (ELEMENT,)),
    Verb("drag", ("drag", ELEMENT, " to", TARGET), "drag_and_drop", (ELEMENT, TARGET)),
    Verb("scroll", ("scroll", DIRECTION), "scroll", (0, DIRECTION)),
    # a link's own script runs, and the page's address stays
    Verb("alt-click", ("alt-click", ELEMENT), "click", (ELEMENT, "left", ["Alt"]), _is_link),
    Verb("key", ("key", FOCUS_KEY), "keyboard_press", (FOCUS_KEY,)),
    Verb("type", ("type", TEXT), "keyboard_type", (TEXT,)),
    Verb("toggle", ("toggle", ELEMENT, " option", OPTION), "toggle_option", (ELEMENT, OPTION), _takes_several),
    Verb("click-at", ("click-at", ELEMENT, POINT), "click_at", (ELEMENT, POINT), _has_size),
    Verb("drag-by", ("drag-by", ELEMENT, OFFSET), "drag_by", (ELEMENT, OFFSET), _can_be_moved),
    Verb("scroll-in", ("scroll-in", ELEMENT, EDGE), "scroll_in", (ELEMENT, EDGE), _scrolls),
    Verb("copy", ("copy", ELEMENT), "copy", (ELEMENT,), _can_be_copied),
    Verb("paste", ("paste", ELEMENT), "paste", (ELEMENT,), _writable),
    Verb("clear", ("clear", ELEMENT), "clear", (ELEMENT,), _can_be_cleared),
    Verb("back", ("back",), "go_back", ()),
    Verb("tab", ("tab", ELEMENT), "tab_focus", (_TAB_NUMBER,), _is_tab),
    Verb("close", ("close",), "tab_close", (), fits=_can_be_closed),
    Verb("accept", ("accept",), "accept_dialog", (), fits=has_dialog),
    Verb("answer", ("answer", TEXT), "accept_dialog", (TEXT,), fits=_has_prompt),
    Verb("dismiss", ("dismiss",), "dismiss_dialog", (), fits=has_dialog),
)
VERBS: Mapping[str, Verb] = MappingProxyType({verb.name: verb for verb in _ALL})
_BY_NAME = {**VERBS, WAIT.name: WAIT}


# What a session lists beside the page for whom one of these verbs is offered.
DIALOGS, TABS = "dialogs", "tabs"
_SHOWN: Mapping[str, frozenset[str]] = {DIALOGS: frozenset({"accept", "dismiss"}), TABS: frozenset({"tab"})}


def shows(verbs: Collection[str]) -> frozenset[str]:
    """What a session is to list beside the page; what nobody could answer or go to is not."""
    return frozenset(what for what, for_whom in _SHOWN.items() if not for_whom.isdisjoint(verbs))


def _named(verb: str) -> Verb:
    if verb not in _BY_NAME:
        raise ValueError(f"unknown verb {verb!r}")
    return _BY_NAME[verb]


# ---------------------------------------------------------------- reading


@lru_cache
def _pattern(verb: str) -> re.Pattern[str]:
    parts = (_READ[part] if part in _READ else re.escape(part) for part in _named(verb).label)
    return re.compile("".join(parts), re.DOTALL)


def parse_label(text: str) -> Action:
    """Reads the policy's own spelling.

    Raises:
        InvalidAction: it is none of the spellings.
    """
    name = text.partition(" ")[0]
    found = _pattern(name).fullmatch(text) if name in _BY_NAME else None
    if found is None:
        raise InvalidAction(f"not an action: {text[:80]!r}")
    bid = argument = ""
    for kind, value in zip(_named(name).kinds, found.groups(), strict=True):
        if kind == ELEMENT:
            bid = value
        else:
            argument = unquote(value) if kind in _QUOTED else value
    if any(kind in _FIXED and argument not in _FIXED[kind] for kind in _named(name).kinds):
        raise InvalidAction(f"not an action: {text[:80]!r}")
    return Action(name, bid, argument)


def parse_bid(text: str) -> Action:
    """Reads the spelling of the action set, the calls that `Action.to_browsergym` writes.

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
    for verb in _BY_NAME.values():
        if verb.function == call.func.id and (action := verb.read(arguments)) is not None:
            return action
    raise InvalidAction(f"not an action that is offered: {text[:80]!r}")


def check(action: Action, elements: Sequence[Element]) -> None:
    """Raises `InvalidAction` if `elements` do not offer what `action` asks of them."""
    verb = _named(action.verb)
    if not verb.fits(elements):
        raise InvalidAction("a dialog is open" if has_dialog(elements) else f"there is nothing to {action.verb}")
    by_bid = {element.bid: element for element in elements}
    for bid in [action.bid] * (ELEMENT in verb.kinds) + [action.argument] * (TARGET in verb.kinds):
        if bid not in by_bid:
            raise InvalidAction(f"no element [{bid}] on this page")
    element = by_bid.get(action.bid)
    if element is None:
        return
    if action.verb in ("fill", "paste") and not _takes_value(element):
        raise InvalidAction(f"[{action.bid}] takes no text")
    if action.verb == "clear" and not _can_be_cleared(element):
        raise InvalidAction(f"[{action.bid}] has no text to clear")
    if OPTION in verb.kinds and action.argument not in element.options:
        raise InvalidAction(f"[{action.bid}] has no option {action.argument!r}")
    if POINT in verb.kinds and not _inside(action.argument, element):
        raise InvalidAction(f"{action.argument} is not within [{action.bid}]")


def is_offered(action: Action, elements: Sequence[Element], verbs: Collection[str]) -> bool:
    """Whether `action` is one of those that `elements` offer, whatever the length of a typed text."""
    if action.verb not in verbs:
        return False
    verb, by_bid = VERBS[action.verb], {element.bid: element for element in elements}
    element = by_bid.get(action.bid)
    if not verb.fits(elements):
        return False
    if ELEMENT in verb.kinds and (element is None or not verb.takes(element)):
        return False
    for kind in verb.kinds:
        match kind:
            case "{target}":
                target = by_bid.get(action.argument)
                fits = target is not None and verb.takes(target) and target is not element
            case "{option}":
                fits = element is not None and action.argument in element.options
            case "{point}":
                fits = element is not None and _inside(action.argument, element)
            case "{text}":
                pattern = typed_pattern(Typed(_CLOSINGS[LABEL_FORMAT], _format(element)), len(action.argument) or 1)
                fits = re.fullmatch(pattern, action.argument) is not None
            case "{offset}":
                fits = all(abs(int(number)) <= REACH for number in action.argument.split(","))
            case _:
                fits = kind not in _FIXED or action.argument in _FIXED[kind]
        if not fits:
            return False
    return True


def _inside(point: str, element: Element) -> bool:
    x, y = map(int, point.split(","))
    return element.size is not None and 0 <= x < element.size[0] and 0 <= y < element.size[1]


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
    """A text that the policy types.

    Attributes:
        closing: ends it; its first character is one that the text may not have.
        format: of the field, where not every text is a value of it.
    """

    closing: str
    format: str = ""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A whole number from `low` to below `high`."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class LongList:
    """The options of a list that has more than `MANY_OPTIONS`, each once."""

    options: tuple[str, ...]
    action_format: str

    @property
    def spelled(self) -> list[str]:
        """Each of them, in one fragment; spelled whenever it is asked for."""
        return [_option(each, self.action_format) for each in self.options]


Place = Options | LongList | Numbers | Typed
MANY_OPTIONS = 256

# What may be typed into a field of a format, as a regular expression; into others anything but quotes, backslashes
# and control characters.
_NUMBER = "-?[0-9]{1,9}(\\.[0-9]{1,6})?"
_YEAR, _LEAP = "[1-9][0-9]{3}", "[1-9][0-9](0[48]|[2468][048]|[13579][26])"
_LONG, _SHORT = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])", "(0[469]|11)-(0[1-9]|[12][0-9]|30)"
_DAY = f"({_YEAR}-({_LONG}|{_SHORT}|02-(0[1-9]|1[0-9]|2[0-8]))|{_LEAP}-02-29)"
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"
_PATTERNS = {
    "yyyy-mm-dd": _DAY,
    "hh:mm": _TIME,
    "yyyy-mm-ddThh:mm": f"{_DAY}T{_TIME}",
    "yyyy-mm": f"{_YEAR}-(0[1-9]|1[0-2])",
    "yyyy-Www": f"{_YEAR}-W(0[1-9]|[1-4][0-9]|5[0-2])",
    "#rrggbb": "#[0-9a-f]{6}",
    "number": _NUMBER,
}


def typed_pattern(typed: Typed, max_text: int) -> str:
    """What may be typed, as a regular expression in the dialect that Python, Rust and JavaScript share."""
    if typed.format in _PATTERNS:
        return _PATTERNS[typed.format]
    if re.fullmatch(r"\S+ to \S+", typed.format):
        return _NUMBER
    return rf"[^{typed.closing[0]}\\\x00-\x1f\x7f]{{1,{max_text}}}"


_CLOSINGS = {LABEL_FORMAT: '"', BID_FORMAT: "')"}


@dataclass(frozen=True, slots=True)
class Offer:
    """Actions that are spelled alike: how they begin, and what may follow, place by place."""

    begin: Fragments
    places: tuple[Place, ...] = ()


def offers(elements: Sequence[Element], verbs: Sequence[str], action_format: str) -> list[Offer]:
    """All actions that `elements` offer, those together that share places; no two offers begin alike.

    Disabled elements offer next to nothing. A `select` of the option that is chosen already is offered too: harmless,
    and the policy cannot know what a page does with it. Where nothing is offered, waiting is.
    """
    fitting = [VERBS[verb] for verb in verbs if VERBS[verb].fits(elements)]
    if action_format == LABEL_FORMAT:
        labels = {element.bid: _label(element) for element in elements}
        offered = [offer for verb in fitting for offer in _label_offers(verb, elements, labels)]
    else:
        offered = [offer for verb in fitting for offer in _call_offers(verb, elements)]
    return offered or [Offer(fragments(Action("wait"), (), action_format))]


def fragments(action: Action, elements: Sequence[Element], action_format: str) -> Fragments:
    """The spelling of one action, put together as `offers` puts it."""
    if action_format == LABEL_FORMAT:
        return _label_fragments(action, {element.bid: element for element in elements})
    return _call_fragments(action)


def _format(element: Element | None) -> str:
    """Of the texts that a field takes; empty where it takes any."""
    if element is None:
        return ""
    return element.format or ("number" if element.role == "spinbutton" else "")


def _pair(kind: str, element: Element | None, between: str, closing: str) -> tuple[Place, ...]:
    """Two numbers: a point within the element, or as far as any can be dragged."""
    if kind == POINT and element is not None and element.size is not None:
        across, down = Numbers(0, element.size[0]), Numbers(0, element.size[1])
    else:
        across = down = Numbers(-REACH, REACH + 1)
    return across, _word(between), down, _word(closing)


def _word(text: str) -> Options:
    return Options(((text,),))


def _fixed(kind: str) -> Options:
    """What may stand at a place of this kind, as the policy spells it."""
    return Options(tuple((_spelled(kind, value),) for value in _FIXED[kind]))


def _list(element: Element, action_format: str) -> Options | LongList:
    """The place of an element's options."""
    options = tuple(dict.fromkeys(element.options))
    if len(options) > MANY_OPTIONS:
        return LongList(options, action_format)
    return Options(tuple((_option(option, action_format),) for option in options))


def _option(option: str, action_format: str) -> str:
    return f" {quote(option)}" if action_format == LABEL_FORMAT else f" {option!r})"


# ---------------------------------------------------------------- the policy's spelling


def _label(element: Element) -> Fragments:
    name = (f" {quote(element.name)}",) if element.name else ()
    return (f" {element.role}", *name, f" [{element.bid}]")


def _spelled(kind: str, value: str) -> str:
    return f" {quote(value)}" if kind in _QUOTED else f" {value}"


def _label_fragments(action: Action, by_bid: Mapping[str, Element]) -> Fragments:
    parts: list[str] = []
    for part in _named(action.verb).label:
        match part:
            case "{element}" | "{target}":
                parts += _label(by_bid[action.bid if part == ELEMENT else action.argument])
            case "{text}":
                parts[-1] += ' "'
                parts.append(action.argument.replace("\\", "\\\\").replace('"', '\\"') + _CLOSINGS[LABEL_FORMAT])
            case "{point}" | "{offset}":
                x, y = action.argument.split(",")
                parts += [" (", x, ",", y, ")"]
            case _:
                parts.append(_spelled(part, action.argument) if part in _READ else part)
    return tuple(parts)


def _label_offers(verb: Verb, elements: Sequence[Element], labels: Mapping[str, Fragments]) -> Iterator[Offer]:
    if ELEMENT not in verb.label:
        yield _label_offer((), verb.label, None, ())
        return
    taking = [element for element in elements if verb.takes(element)]
    if len(taking) < 1 + (TARGET in verb.label):
        return
    apart = not _OF_ELEMENT.isdisjoint(verb.label) or (TEXT in verb.label and any(map(_format, taking)))
    if not apart:
        yield _label_offer((), verb.label, None, tuple(labels[element.bid] for element in taking))
        return
    for element in taking:  # what may follow depends on the element
        yield _label_offer((verb.label[0], *labels[element.bid]), verb.label[2:], element, ())


def _label_offer(
    begin: Fragments, parts: Sequence[str], element: Element | None, labels: tuple[Fragments, ...]
) -> Offer:
    """`parts` are what follows `begin`; words at their start belong to it."""
    words, places, last = list(begin), list[Place](), ""
    for part in parts:
        match part:
            case "{element}" | "{target}":
                places.append(Options(labels, differs=part == TARGET))
            case "{text}":
                if places:
                    places[-1] = _word(f'{last} "')
                else:
                    words[-1] += ' "'
                places.append(Typed(_CLOSINGS[LABEL_FORMAT], _format(element)))
            case "{point}" | "{offset}":
                places += [_word(" ("), *_pair(part, element, ",", ")")]
            case "{option}" if element is not None:
                places.append(_list(element, LABEL_FORMAT))
            case _ if part in _READ:
                places.append(_fixed(part))
            case _ if places:
                places.append(_word(part))
            case _:
                words.append(part)
        last = part
    return Offer(tuple(words), tuple(places))


# ---------------------------------------------------------------- the action set's


def _call_fragments(action: Action) -> Fragments:
    verb, closing = _named(action.verb), _CLOSINGS[BID_FORMAT]
    if verb.given[:1] == (TEXT,):
        return (f"{verb.function}('", action.argument + closing)
    if verb.given[:1] != (ELEMENT,):
        return (action.to_browsergym(),)
    begin = (f"{verb.function}('", action.bid)
    match verb.given[1:]:
        case ():
            return (*begin, closing)
        case ("{text}",):
            return (*begin, "', '", action.argument + closing)
        case ("{target}",):
            return (*begin, "', '", action.argument, closing)
        case ("{point}" | "{offset}",):
            x, y = action.argument.split(",")
            return (*begin, "', ", x, ", ", y, ")")
        case (str(kind),) if kind in _READ:
            return (*begin, "',", f" {action.argument!r})")
        case given:
            return (*begin, f"', {', '.join(map(repr, given))})")


def _call_offers(verb: Verb, elements: Sequence[Element]) -> Iterator[Offer]:
    taking: list[Element | None] = [element for element in elements if verb.takes(element)]
    if ELEMENT not in verb.label:
        taking = [None]
    bids = tuple((element.bid,) for element in taking if element is not None)
    if not verb.kinds:
        yield Offer(_call_fragments(Action(verb.name)))
        return
    if verb.kinds[-1] in (TARGET, OFFSET):
        if len(bids) > (TARGET in verb.label):
            after = (
                (_word("', '"), Options(bids, differs=True), _word("')"))
                if TARGET in verb.label
                else (_word("', "), *_pair(OFFSET, None, ", ", ")"))
            )
            yield Offer((f"{verb.function}('",), (Options(bids), *after))
        return
    for element in taking:
        bid = element.bid if element is not None else ""
        match verb.kinds[-1]:
            case "{text}":
                begin = _call_fragments(Action(verb.name, bid))[:-1]
                yield Offer(begin, (Typed(_CLOSINGS[BID_FORMAT], _format(element)),))
            case "{point}":
                begin = _call_fragments(Action(verb.name, bid, "0,0"))[:-4]
                yield Offer(begin, _pair(POINT, element, ", ", ")"))
            case "{option}" if element is not None:
                begin = _call_fragments(Action(verb.name, bid))[:-1]
                yield Offer(begin, (_list(element, BID_FORMAT),))
            case "{element}":
                kinds = [kind for kind in verb.kinds if kind != ELEMENT]
                values = _FIXED[kinds[0]] if kinds else ("",)
                yield from (Offer(_call_fragments(Action(verb.name, bid, value))) for value in values)
            case kind:
                yield from (Offer(_call_fragments(Action(verb.name, bid, value))) for value in _FIXED[kind])
