"""The actions that a page offers, as a grammar in llama.cpp's GBNF (its grammars/README.md).

Two things that the action tree of our own policy knows are left to whoever reads the answer: that nothing is dragged to
itself, and that a point lies within its element.
"""

import re
from functools import lru_cache

from browser_control.language import actions
from browser_control.language.page import Element

# a class, a count, what GBNF writes as a regular expression does, and anything else, which is a literal there
_REGEX = re.compile(r"(?P<kept>\[(?:\\.|[^\]\\])*\]|\{[\d,]+\}|[()|?])|\\?(?P<literal>.)", re.DOTALL)


@lru_cache(maxsize=1024)  # members of an episode see a page again and again
def grammar(elements: tuple[Element, ...], verbs: tuple[str, ...], max_text: int) -> str:
    """A grammar of one answer: any action that `elements` offer, as the policy spells it."""
    offers = actions.offers(elements, verbs, actions.LABEL_FORMAT)
    return "root ::= " + " |\n  ".join(_offer(offer, max_text) for offer in offers) + "\n"


def _offer(offer: actions.Offer, max_text: int) -> str:
    return " ".join([_literal("".join(offer.begin)), *(_place(place, max_text) for place in offer.places)])


def _place(place: actions.Place, max_text: int) -> str:
    if isinstance(place, actions.LongList):
        return "(" + " | ".join(map(_literal, place.spelled)) + ")"
    if isinstance(place, actions.Options):
        return "(" + " | ".join(_literal("".join(fragments)) for fragments in place.spelled) + ")"
    if isinstance(place, actions.Numbers):
        sign = '"-"? ' if place.low < 0 else ""
        return f"{sign}[0-9]{{1,{len(str(place.high - 1))}}}"
    return f"({_pattern(actions.typed_pattern(place, max_text))}) {_literal(place.closing)}"


def _pattern(regex: str) -> str:
    return " ".join(each["kept"] or _literal(each["literal"]) for each in _REGEX.finditer(regex)).replace(" {", "{")


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
