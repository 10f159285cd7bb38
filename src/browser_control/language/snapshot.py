"""The page as text from what BrowserGym observes of it: the DOM snapshot of Chromium's DevTools.

It follows `environment/page_script.js`, which asks the page itself and knows more: styles, shapes of drawings, what
scrolls, what a drag would move. Where a snapshot has it, both say the same; `tests/use/test_agent.py` compares them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from browser_control.language.page import Element, Item, Text, plain

_ROLES = frozenset({
    "button", "link", "checkbox", "radio", "tab", "menuitem", "menuitemcheckbox", "menuitemradio", "option", "textbox",
    "combobox", "listbox", "slider", "spinbutton", "switch", "treeitem", "searchbox",
})  # fmt: skip
_TAG_ROLES = {"BUTTON": "button", "TEXTAREA": "textbox", "OPTION": "option"}
_INPUT_ROLES = {
    **dict.fromkeys(("button", "submit", "reset", "image", "file"), "button"),
    "checkbox": "checkbox", "radio": "radio", "range": "slider", "number": "spinbutton", "hidden": "",
}  # fmt: skip
_FORMATS = {
    "date": "yyyy-mm-dd", "time": "hh:mm", "datetime-local": "yyyy-mm-ddThh:mm", "month": "yyyy-mm", "week": "yyyy-Www",
    "color": "#rrggbb", "file": "file",
}  # fmt: skip
_FIELDS = frozenset({"textbox", "combobox", "listbox", "slider", "spinbutton", "searchbox", "checkbox", "radio"})
_FIELD_TAGS = frozenset({"INPUT", "SELECT", "TEXTAREA", "BUTTON", "A"})
_CONTAINERS = frozenset({
    "dialog", "alertdialog", "tablist", "tabpanel", "menu", "menubar", "listbox", "tree", "grid", "presentation",
    "none",
})  # fmt: skip
_NEVER_ITEMS = frozenset({"HTML", "BODY", "LABEL"})
_SKIPPED = frozenset({"SCRIPT", "STYLE", "NOSCRIPT", "TEMPLATE", "HEAD", "SVG", "CANVAS"})
_INLINE = frozenset({
    "A", "ABBR", "B", "BUTTON", "CITE", "CODE", "EM", "FONT", "I", "IMG", "INPUT", "LABEL", "MARK", "OUTPUT", "Q", "S",
    "SELECT", "SMALL", "SPAN", "STRONG", "SUB", "SUP", "TEXTAREA", "U",
})  # fmt: skip
_NAME_LENGTH, _VALUE_LENGTH, _LABEL_LENGTH = 120, 240, 30
_ELEMENT, _TEXT = 1, 3


@dataclass(eq=False)
class _Node:
    """A node of the document; `value` is a text's, or what stands in a field."""

    type: int
    tag: str
    value: str
    attributes: Mapping[str, str]
    shown: bool
    clickable: bool
    checked: bool
    selected: bool
    parent: "_Node | None"
    children: "list[_Node]" = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        return self.attributes.get(name, "")

    def below(self) -> "Iterator[_Node]":
        """All elements in it, in document order."""
        for child in self.children:
            if child.type == _ELEMENT:
                yield child
            yield from child.below()

    @property
    def text(self) -> str:
        """All that it shows, in one line."""
        return plain("".join(self._words()))

    def _words(self) -> Iterator[str]:
        if self.type == _TEXT:
            yield self.value
        elif self.type == _ELEMENT and self.shown and self.tag not in _SKIPPED:
            around = "" if self.tag in _INLINE else " "
            yield around
            for child in self.children:
                yield from child._words()
            yield around


def items(snapshot: Mapping[str, Any], focused: str = "") -> list[Item]:
    """The items of a page, in document order.

    Args:
        snapshot: BrowserGym's `dom_object`.
        focused: its `focused_element_bid`.
    """
    roots = _documents(snapshot)
    body = next((each for each in roots[0].below() if each.tag == "BODY"), None) if roots else None
    return _Listing(body, focused).listed() if body is not None else []


def _documents(snapshot: Mapping[str, Any]) -> list[_Node]:
    """The document of each frame; those inside hang below the element that shows them."""
    strings = snapshot["strings"]
    read = [list(_nodes(document, strings)) for document in snapshot["documents"]]
    for document, nodes in zip(snapshot["documents"], read, strict=True):
        inside = document["nodes"].get("contentDocumentIndex", {"index": [], "value": []})
        for index, number in zip(inside["index"], inside["value"], strict=True):
            nodes[index].children.append(read[number][0])
    return [nodes[0] for nodes in read if nodes]


def _nodes(document: Mapping[str, Any], strings: list[str]) -> Iterator[_Node]:
    """The nodes of one document, each hung into its parent."""
    raw = document["nodes"]

    def sparse(name: str) -> dict[int, str]:
        found = raw.get(name, {"index": [], "value": []})
        return {index: strings[each] for index, each in zip(found["index"], found["value"], strict=True)}

    values = {**sparse("textValue"), **sparse("inputValue")}
    checked, selected, clickable = (
        set(raw.get(name, {"index": []})["index"]) for name in ("inputChecked", "optionSelected", "isClickable")
    )
    pseudo = set(raw.get("pseudoType", {"index": []})["index"])
    shown = set(document["layout"]["nodeIndex"])
    made: list[_Node] = []
    for index, parent in enumerate(raw["parentIndex"]):
        pairs = raw["attributes"][index]
        text = strings[raw["nodeValue"][index]] if raw["nodeValue"][index] >= 0 else ""
        node = _Node(
            raw["nodeType"][index],
            strings[raw["nodeName"][index]].upper(),
            values.get(index, text),
            {strings[name]: strings[value] for name, value in zip(pairs[::2], pairs[1::2], strict=True)},
            index in shown,
            index in clickable,
            index in checked,
            index in selected,
            made[parent] if parent >= 0 else None,
        )
        made.append(node)
        if node.parent is not None and index not in pseudo:
            node.parent.children.append(node)
        yield node


class _Listing:
    """A walk through the document, as `listPage` of the page's script."""

    def __init__(self, body: _Node, focused: str) -> None:
        self._body, self._focused = body, focused
        self._found: list[Item] = []
        self._run: list[str] = []
        self._spoken: set[_Node] = set()  # labels that already serve as a name
        self._ids = {each["id"]: each for each in body.below() if each["id"]}
        self._roles = {
            each: role
            for each in body.below()
            if each["bid"] and (each.shown or each.tag == "OPTION") and (role := _role_of(each) or _item(each))
        }
        fields = [each for each, role in self._roles.items() if role in _FIELDS]
        self._names = {each: self._field_name(each) for each in fields}

    def listed(self) -> list[Item]:
        self._walk(self._body, False)
        self._flush()
        return self._found

    def _flush(self) -> None:
        text = re.sub(r"^(\| )+|( \|)+$", "", plain("".join(self._run)))
        if text:
            self._found.append(Text(text))
        self._run = []

    def _walk(self, node: _Node, silent: bool) -> None:
        if node.type == _TEXT:
            if not silent and node not in self._spoken:
                self._run.append(node.value)
            return
        if node.type == _ELEMENT and (node.tag in _SKIPPED or not node.shown):
            return
        if node.tag == "BR":
            self._flush()
            return
        if role := self._roles.get(node):
            self._flush()
            emitted, whole = self._emit(node, role)
            if not whole:
                for child in node.children:
                    self._walk(child, silent or emitted)
            self._flush()
            return
        silent = silent or node in self._spoken
        if node.tag == "IMG" and node["alt"] and not silent:
            self._run.append(f" {node['alt']} ")
        cell = node.tag in ("TD", "TH")
        inline = cell or node.tag in _INLINE
        if not inline:
            self._flush()
        elif cell and plain("".join(self._run)):
            self._run.append(" | ")
        for child in node.children:
            self._walk(child, silent)
        if not inline:
            self._flush()

    def _emit(self, node: _Node, role: str) -> tuple[bool, bool]:
        """Lists the element; whether it did, and whether nothing below it is left to list."""
        closed = role in ("combobox", "listbox") or node.tag == "BUTTON"
        inner = [] if closed else [each for each in node.below() if each in self._roles]
        name = self._names[node] if node in self._names else self._item_name(node, role, inner)
        if role == "item" and inner and not name:
            return False, False
        options = [each for each in node.below() if each.tag == "OPTION"] if node.tag == "SELECT" else []
        self._found.append(
            Element(
                role,
                _shortened(name, _NAME_LENGTH),
                node["bid"],
                _shortened(plain(_value(node, role, options)), _VALUE_LENGTH) or None,
                tuple(self._states(node, role)),
                tuple(_label(each) for each in options if "disabled" not in each.attributes),
                _format(node),
            )
        )
        return True, not inner

    def _states(self, node: _Node, role: str) -> Iterator[str]:
        """In the order of `page.STATES`."""

        def aria(name: str) -> bool:
            return node[f"aria-{name}"] == "true"

        if aria("checked") or (role in ("checkbox", "radio", "switch") and node.checked):
            yield "checked"
        if node["aria-checked"] == "mixed":
            yield "mixed"
        if aria("selected"):
            yield "selected"
        if "aria-expanded" in node.attributes and "aria-selected" not in node.attributes:
            yield "expanded" if aria("expanded") else "collapsed"
        for state, holds in (
            ("pressed", aria("pressed")),
            ("required", "required" in node.attributes or aria("required")),
            ("disabled", "disabled" in node.attributes or aria("disabled")),
            ("readonly", "readonly" in node.attributes),
            ("multiple", node.tag == "SELECT" and "multiple" in node.attributes),
            ("multiline", node.tag == "TEXTAREA" or aria("multiline")),
            ("focused", node["bid"] == self._focused),
        ):
            if holds:
                yield state

    def _field_name(self, node: _Node) -> str:
        if given := node["aria-label"] or self._of_ids(node):
            return plain(given)
        labels = [each for each in self._body.below() if each.tag == "LABEL" and _labels(each, node)]
        if text := plain(" ".join(_label_text(each) for each in labels)):
            self._spoken.update(labels)
            return text
        if hint := plain(node["placeholder"] or node["title"]):
            return hint
        return "" if node["type"] in ("checkbox", "radio") else self._text_beside(node)

    def _of_ids(self, node: _Node) -> str:
        return " ".join(self._ids[each].text for each in node["aria-labelledby"].split() if each in self._ids)

    def _text_beside(self, element: _Node) -> str:
        """The short text beside a field that nothing else names."""
        node = element
        for level in range(3):
            parent = node.parent
            if parent is None:
                return ""
            place = parent.children.index(node)
            before = [each for each in parent.children[:place] if not _is_blank(each)]
            if before:
                return self._label_like(before[-1])
            if level == 0:
                after = [each for each in parent.children[place + 1 :] if not _is_blank(each)]
                alone = sum(each.tag in _FIELD_TAGS for each in parent.below()) == 1
                if after and alone and (name := self._label_like(after[0])):
                    return name
            if parent["id"] == "area" or sum(each.tag in _FIELD_TAGS for each in parent.below()) > 1:
                return ""
            node = parent
        return ""

    def _label_like(self, node: _Node) -> str:
        fields = node.tag in _FIELD_TAGS or any(each.tag in _FIELD_TAGS for each in node.below())
        if node in self._spoken or (node.type == _ELEMENT and (not node.shown or fields or node.tag in _SKIPPED)):
            return ""
        text = plain(node.value) if node.type == _TEXT else node.text
        if not re.match(r"[A-Z]|.*[:=]$", text) or len(text) > _LABEL_LENGTH or text[-1:] in ".!?":
            return ""
        self._spoken.add(node)
        return text

    def _item_name(self, node: _Node, role: str, inner: Iterable[_Node]) -> str:
        if given := node["aria-label"] or self._of_ids(node):
            return plain(given)
        if node.tag == "INPUT":
            standard = {"submit": "Submit", "reset": "Reset"}.get(node["type"], "")
            return plain(node.value or node["value"] or node["alt"] or node["title"] or standard)
        apart = set(inner)
        if apart:
            return plain("".join(_own_words(node, apart)))
        alternatives = [each["alt"] for each in node.below() if each.tag == "IMG" and each["alt"]]
        return node.text or plain(node["title"] or " ".join(alternatives)) or _name_from_markup(node)


def _role_of(node: _Node) -> str:
    explicit = node["role"].split()[:1]
    if explicit and explicit[0].lower() in _ROLES:
        return explicit[0].lower()
    if explicit and explicit[0] in ("presentation", "none"):
        return ""
    if node.tag == "A":
        return "link" if "href" in node.attributes else ""
    if node.tag == "SELECT":
        several = "multiple" in node.attributes or (node["size"].isdigit() and int(node["size"]) > 1)
        return "listbox" if several else "combobox"
    if node.tag == "INPUT":
        return _INPUT_ROLES.get(node["type"], "textbox")
    editable = node["contenteditable"] in ("true", "") and "contenteditable" in node.attributes
    return _TAG_ROLES.get(node.tag, "textbox" if editable else "")


def _item(node: _Node) -> str:
    """`item` for what is clicked without a role of its own."""
    classes = set(node["class"].split())
    if node.tag in _NEVER_ITEMS or node["id"] == "wrap" or node["role"] in _CONTAINERS:
        return ""
    if classes & {"ui-sortable", "ui-droppable"}:
        return ""
    focusable = node["tabindex"].lstrip("-").isdigit() and int(node["tabindex"]) >= 0
    handle = bool(classes & {"ui-sortable-handle", "ui-draggable"})
    return "item" if node.clickable or node.tag == "SUMMARY" or focusable or handle else ""


def _labels(label: _Node, node: _Node) -> bool:
    """Whether a label is that of a field."""
    if label["for"]:
        return label["for"] == node["id"]
    return next((each for each in label.below() if each.tag in ("INPUT", "SELECT", "TEXTAREA")), None) is node


def _label_text(label: _Node) -> str:
    """What a label says beside the fields in it."""
    return plain("".join(_own_words(label, {each for each in label.below() if each.tag in _FIELD_TAGS})))


def _own_words(node: _Node, apart: set[_Node]) -> Iterator[str]:
    for child in node.children:
        if child.type == _TEXT:
            yield child.value
        elif child.type == _ELEMENT and child not in apart and child.tag not in _SKIPPED and child.shown:
            yield from _own_words(child, apart)
            yield " "


def _name_from_markup(node: _Node) -> str:
    """The name of an icon that has no text: what its author called it."""
    if node["data-color"]:
        return node["data-color"]
    words = node["class"].split()
    telling = (each for each in words if re.search(r"-(up|down|next|prev|close|handle|bold|italic|underline)$", each))
    name = next(telling, "") or node["id"] or (words[0] if words else "")
    return plain(re.sub(r"[-_]+", " ", re.sub(r"^(ui|ql)-", "", name)))


def _value(node: _Node, role: str, options: Iterable[_Node]) -> str:
    if node.tag == "SELECT":
        return ", ".join(_label(each) for each in options if each.selected)
    if role not in ("textbox", "searchbox", "spinbutton", "combobox", "slider"):
        return ""
    return node.value if node.tag in ("INPUT", "TEXTAREA") else node["aria-valuenow"] or node.text


def _label(option: _Node) -> str:
    return plain(option["label"] or "".join(each.value for each in option.children if each.type == _TEXT))


def _format(node: _Node) -> str:
    if node.tag != "INPUT":
        return ""
    kind, low, high = node["type"], node["min"], node["max"]
    if kind == "range":
        return f"{low or 0} to {high or 100}"
    return f"{low} to {high}" if kind == "number" and low and high else _FORMATS.get(kind, "")


def _is_blank(node: _Node) -> bool:
    return node.tag == "BR" or (node.type == _TEXT and not node.value.strip()) or node.type not in (_ELEMENT, _TEXT)


def _shortened(text: str, length: int) -> str:
    return f"{text[: length // 3]}…{text[-(length * 2 // 3) :]}" if len(text) > length else text
