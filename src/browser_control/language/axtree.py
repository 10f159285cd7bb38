"""The page in the spelling of BrowserGym's text of an accessibility tree (`flatten_axtree_to_str`), for others.

It says what our own listing does: `[13] button 'Click Me!'`, a line an item, options and static text without a number.
"""

from collections.abc import Iterable, Iterator

from browser_control.language.page import Element, Item, Text

_STATES = {
    "checked": "checked='true'",
    "mixed": "checked='mixed'",
    "selected": "selected=True",
    "expanded": "expanded=True",
    "collapsed": "expanded=False",
    "pressed": "pressed='true'",
    "required": "required",
    "disabled": "disabled=True",
    "readonly": "readonly=True",
    "multiple": "multiselectable=True",
    "multiline": "multiline=True",
    "focused": "focused",
}


def axtree_text(items: Iterable[Item]) -> str:
    return "\n".join(line for item in items for line in _lines(item))


def _lines(item: Item) -> Iterator[str]:
    if isinstance(item, Text):
        yield f"StaticText {item.text!r}"
        return
    # what only answers to the mouse has no role of its own there
    role, clickable = ("generic", ["clickable"]) if item.role == "item" else (item.role, [])
    head = f"[{item.bid}] {role} {item.name!r}" + (f" value={item.value!r}" if item.value is not None else "")
    yield ", ".join([head, *clickable, *(_STATES.get(state, state) for state in item.states), *_beyond(item)])
    for option in item.options:
        yield f"\toption {option!r}, selected={option == item.value}"


def _beyond(item: Element) -> Iterator[str]:
    """What BrowserGym's text does not say."""
    if item.format:
        yield f"format={item.format!r}"
    if item.place is not None:
        yield f"at={item.place}"
    if item.size is not None:
        yield f"size={item.size}"
