"""Action strings of BrowserGym's action set, read without executing anything.

An action is one call with literal arguments, such as `click('14')` or `fill('21', "Ada")`; whatever else a
policy writes is refused with a reason. A session may ask for BrowserGym's own reading instead: all calls that are in
the text, whatever stands around them.
"""

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

MAX_LENGTH = 20_000  # characters; no field of a web task takes more
MAX_CALLS = 20  # of one step
_MAX_TRIES = 100  # of what could begin a call
_MAX_DEPTH = 8  # of brackets in one
Button = Literal["left", "middle", "right"]
Edge = Literal["up", "down", "top", "bottom"]


class ActionRefused(Exception):
    """The text is not one call of the action set with literal arguments; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Call:
    """An action of the action set, its arguments bound to their names and defaults filled in."""

    name: str
    arguments: dict[str, Any]


# Signatures as BrowserGym's (browsergym.core.action.functions), for names and defaults only.
def _noop(wait_ms: float = 1000) -> None: ...
def _scroll(delta_x: float, delta_y: float) -> None: ...
def _fill(bid: str, value: str, enable_autocomplete_menu: bool = False) -> None: ...
def _select_option(bid: str, options: str | list[str]) -> None: ...
def _click(bid: str, button: Button = "left", modifiers: list[str] = []) -> None: ...  # noqa: B006
def _dblclick(bid: str, button: Button = "left", modifiers: list[str] = []) -> None: ...  # noqa: B006
def _bid(bid: str) -> None: ...
def _press(bid: str, key_comb: str) -> None: ...
def _drag_and_drop(from_bid: str, to_bid: str) -> None: ...
def _keyboard_press(key: str) -> None: ...
def _keyboard_type(text: str) -> None: ...
def _mouse(x: float, y: float) -> None: ...
def _mouse_button(x: float, y: float, button: Button = "left") -> None: ...
def _mouse_drag_and_drop(from_x: float, from_y: float, to_x: float, to_y: float) -> None: ...
def _message(text: str) -> None: ...
def _report_infeasible(reason: str) -> None: ...
def _goto(url: str) -> None: ...
def _nothing() -> None: ...
def _tab_focus(index: int) -> None: ...


# Beyond BrowserGym's: what a person does with a page, and its action set cannot say.
def _click_at(bid: str, x: int, y: int) -> None: ...
def _drag_by(bid: str, x: int, y: int) -> None: ...
def _toggle_option(bid: str, option: str) -> None: ...
def _scroll_in(bid: str, edge: Edge) -> None: ...
def _accept_dialog(text: str | None = None) -> None: ...


ACTIONS: dict[str, Callable[..., None]] = {
    "noop": _noop,
    "scroll": _scroll,
    "fill": _fill,
    "select_option": _select_option,
    "click": _click,
    "dblclick": _dblclick,
    "hover": _bid,
    "focus": _bid,
    "clear": _bid,
    "press": _press,
    "drag_and_drop": _drag_and_drop,
    "keyboard_press": _keyboard_press,
    "keyboard_type": _keyboard_type,
    "keyboard_insert_text": _keyboard_type,
    "mouse_move": _mouse,
    "mouse_down": _mouse_button,
    "mouse_up": _mouse_button,
    "mouse_click": _mouse_button,
    "mouse_dblclick": _mouse_button,
    "mouse_drag_and_drop": _mouse_drag_and_drop,
    "send_msg_to_user": _message,
    "report_infeasible": _report_infeasible,
    "goto": _goto,
    "go_back": _nothing,
    "go_forward": _nothing,
    "tab_focus": _tab_focus,
    "tab_close": _nothing,
    "click_at": _click_at,
    "drag_by": _drag_by,
    "toggle_option": _toggle_option,
    "scroll_in": _scroll_in,
    "copy": _bid,
    "paste": _bid,
    "accept_dialog": _accept_dialog,
    "dismiss_dialog": _nothing,
}
_SIGNATURES = {name: inspect.signature(function) for name, function in ACTIONS.items()}
_MODIFIERS = {"Alt", "Control", "ControlOrMeta", "Meta", "Shift"}


def parse_action(text: str) -> Call:
    """The one call that `text` consists of; raises ActionRefused."""
    if len(text) > MAX_LENGTH:
        raise ActionRefused(f"an action has at most {MAX_LENGTH} characters, this one has {len(text)}")
    name, positional, named = _literal_call(text)
    signature = _SIGNATURES.get(name)
    if signature is None:
        raise ActionRefused(f"there is no action {name!r}")
    try:
        bound = signature.bind(*positional, **named)
    except TypeError as error:
        raise ActionRefused(f"{name}: {error}") from error
    bound.apply_defaults()
    for parameter, value in bound.arguments.items():
        _check(name, parameter, value)
    return Call(name, dict(bound.arguments))


# What is between calls: a comment, or the beginning of a call.
_NEXT = re.compile(r"#[^\n]*|(?<![\w.])[A-Za-z_]\w*\s*\(")
# What is within one: strings, comments, brackets, and all else.
_TOKEN = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|#[^\n]*|[^'"()#]+|.""", re.DOTALL)


def parse_calls(text: str) -> list[Call]:
    """All calls that `text` has, as BrowserGym's parser finds them: in a fence, among words, one after another.

    Raises:
        ActionRefused: there is none, too many, or one is not of the action set; then none is to be carried out.
    """
    if len(text) > MAX_LENGTH:
        raise ActionRefused(f"an action has at most {MAX_LENGTH} characters, this one has {len(text)}")
    found: list[str] = []
    place = tries = 0
    while tries < _MAX_TRIES and (begin := _NEXT.search(text, place)) is not None:
        end = begin.end()
        if not begin[0].startswith("#"):
            tries += 1
            end = _end_of_call(text, begin.end()) or end
            try:
                _literal_call(text[begin.start() : end])
            except ActionRefused:
                end = begin.end()  # the words of a sentence, in which a call may be
            else:
                found.append(text[begin.start() : end])
        place = end
    if not found:
        raise ActionRefused("there is no call in it, such as click('12')")
    if len(found) > MAX_CALLS:
        raise ActionRefused(f"a step takes at most {MAX_CALLS} calls, these are {len(found)}")
    return [parse_action(each) for each in found]


def _end_of_call(text: str, place: int) -> int:
    """After the bracket that closes the one before `place`; 0 where none does, or too many are in between."""
    depth = 1
    for token in _TOKEN.finditer(text, place):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
        if depth > _MAX_DEPTH:
            break
    return 0


def _literal_call(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ActionRefused("an action is exactly one call, such as click('12')") from error
    call = tree.body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ActionRefused("an action is exactly one call, such as click('12')")
    try:
        positional = [ast.literal_eval(argument) for argument in call.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ActionRefused("the arguments of an action are plain text and numbers") from error
    if None in named:
        raise ActionRefused("the arguments of an action are plain text and numbers")
    return call.func.id, positional, {str(key): value for key, value in named.items()}


def _check(name: str, parameter: str, value: object) -> None:
    """Raises ActionRefused unless the value has the type that BrowserGym's action takes."""
    match parameter:
        case "wait_ms" | "delta_x" | "delta_y" | "x" | "y" | "from_x" | "from_y" | "to_x" | "to_y":
            fits = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6
        case "index":
            fits = isinstance(value, int) and not isinstance(value, bool)
        case "enable_autocomplete_menu":
            fits = isinstance(value, bool)
        case "edge":
            fits = value in ("up", "down", "top", "bottom")
        case "text" if name == "accept_dialog" and value is None:
            fits = True
        case "button":
            fits = value in ("left", "middle", "right")
        case "modifiers":
            fits = isinstance(value, list) and all(isinstance(item, str) and item in _MODIFIERS for item in value)
        case "options":
            fits = isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
        case _:
            fits = isinstance(value, str) and _is_unicode(value)
    if not fits:
        raise ActionRefused(f"{name}: {parameter} cannot be {value!r:.80}")


def _is_unicode(text: str) -> bool:
    """False for lone surrogates, which no protocol message can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
