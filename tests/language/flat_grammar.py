"""The masks of a flat list of spellings, compiled by llguidance: what the action tree is held to."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import llguidance
import llguidance.hf
import llguidance.numpy
import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from browser_control.language.actions import FOCUS_KEYS, KEYS, VERBS, Action
from browser_control.language.page import Element

Mask = NDArray[np.int32]  # (vocabulary / 32,), one bit a token, the lowest bit first
LISTED = tuple(verb for verb in VERBS if verb not in ("click-at", "drag-by"))  # whose actions can all be listed
TEXT_ROLES = ("textbox", "searchbox", "spinbutton")


def choices(elements: Sequence[Element], verbs: Sequence[str]) -> list[tuple[Action, bool]]:
    """Every action that `elements` offer, one by one; a flag tells that a text follows."""
    offered = list(_choices(elements, verbs))
    return offered or [(Action("wait"), False)]


def _choices(elements: Sequence[Element], verbs: Sequence[str]) -> Iterator[tuple[Action, bool]]:
    usable = [element for element in elements if "disabled" not in element.states]
    writable = [each for each in usable if each.role in TEXT_ROLES and "readonly" not in each.states]
    for verb in verbs:
        match verb:
            case "click" | "hover":
                yield from ((Action(verb, element.bid), False) for element in usable)
            case "alt-click":
                yield from ((Action(verb, element.bid), False) for element in usable if element.role == "link")
            case "fill":
                yield from ((Action(verb, element.bid), True) for element in writable)
            case "paste":
                yield from ((Action(verb, element.bid), False) for element in writable)
            case "clear":
                yield from ((Action(verb, element.bid), False) for element in writable if element.value)
            case "copy":
                fields = [element for element in elements if element.role in TEXT_ROLES and element.value]
                yield from ((Action(verb, element.bid), False) for element in fields)
            case "select" | "toggle":
                for element in usable:
                    if verb == "select" or "multiple" in element.states:
                        yield from ((Action(verb, element.bid, option), False) for option in element.options)
            case "press":
                for element in usable:
                    if element.role in TEXT_ROLES:
                        yield from ((Action(verb, element.bid, key), False) for key in KEYS)
            case "drag":
                for one in usable:
                    yield from ((Action(verb, one.bid, to.bid), False) for to in usable if one.bid != to.bid)
            case "scroll":
                yield from ((Action(verb, "", direction), False) for direction in ("down", "up"))
            case "scroll-in":
                for element in elements:
                    if "scrollable" in element.states:
                        yield from ((Action(verb, element.bid, e), False) for e in ("up", "down", "top", "bottom"))
            case "key":
                yield from ((Action(verb, "", key), False) for key in FOCUS_KEYS)
            case "type":
                yield Action(verb), True
            case "back":
                yield Action(verb), False


def spell(action: Action, elements: Sequence[Element], action_format: str) -> str:
    return action.spell(elements) if action_format == "label" else action.to_browsergym()


class Matcher:
    """How far one completion has come in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher, words: int) -> None:
        self._matcher = matcher
        self._words = words

    def forced(self) -> list[int]:
        """Consumes and returns the tokens that leave no choice."""
        tokens: list[int] = self._matcher.compute_ff_tokens()
        if tokens:
            self._matcher.consume_tokens(tokens)
        return tokens

    def mask(self) -> Mask:
        """The tokens that may come next, one bit each."""
        return masks([self])[0]

    def consume(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            raise ValueError(f"token {token} is not admitted here: {self._matcher.get_error()}")

    @property
    def done(self) -> bool:
        return bool(self._matcher.is_stopped())


def masks(matchers: Sequence[Matcher]) -> list[Mask]:
    """`Matcher.mask` of many, on several cores."""
    bits = np.zeros((len(matchers), matchers[0]._words), dtype=np.int32)
    numbered = [(matcher._matcher, row) for row, matcher in enumerate(matchers)]
    llguidance.numpy.fill_next_token_bitmask_par(_executor(), numbered, bits)
    return list(bits)


@lru_cache(maxsize=1)
def _executor() -> llguidance.LLExecutor:
    return llguidance.LLExecutor()


class Grammar:
    """Makes matchers for pages; a page that was seen lately is not compiled again.

    Args:
        tokenizer: the policy's.
        vocabulary: width of the model's logits, at least the tokenizer's.
        verbs: of the actions to offer.
        action_format: `label`, the policy's own spelling, or `bid`, BrowserGym's.
        max_text: characters that may be typed into a text field by one action.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        vocabulary: int,
        verbs: Sequence[str],
        action_format: str,
        max_text: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._words = (vocabulary + 31) // 32
        self._verbs = tuple(verbs)
        self._action_format = action_format
        self._max_text = max_text
        self._llguidance = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary)
        self._compiled = lru_cache(maxsize=1024)(self._compile)

    def matcher(self, elements: tuple[Element, ...]) -> Matcher:
        """A fresh matcher for the actions that `elements` offer."""
        return Matcher(self._compiled(elements).deep_copy(), self._words)

    def _compile(self, elements: tuple[Element, ...]) -> llguidance.LLMatcher:
        compiled = llguidance.LLMatcher(
            self._llguidance, llguidance.LLMatcher.grammar_from_lark(self._lark(elements)), log_level=0
        )
        if compiled.is_error():
            raise ValueError(f"the page's grammar does not compile: {compiled.get_error()}")
        return compiled

    def _lark(self, elements: tuple[Element, ...]) -> str:
        """The grammar in llguidance's dialect of Lark; `<[7]>` is the token 7."""
        spellings = []
        for action, text_follows in choices(elements, self._verbs):
            spelled = spell(action, elements, self._action_format)
            if text_follows:
                opening, closing = _around_text(spelled)
                spellings.append(f"{self._tokens(opening)} TEXT {self._literal(closing)}")
            else:
                spellings.append(self._tokens(spelled))
        excluded = '"' if self._action_format == "label" else "'"
        return f"start: {' | '.join(spellings)}\nTEXT: /[^{excluded}\\\\\\x00-\\x1f\\x7f]{{1,{self._max_text}}}/\n"

    def _tokens(self, text: str) -> str:
        return " ".join(f"<[{token}]>" for token in self._tokenizer.encode(text, add_special_tokens=False))

    @staticmethod
    def _literal(text: str) -> str:
        return '"' + text.replace('"', '\\"') + '"'


def _around_text(spelled: str) -> tuple[str, str]:
    """What stands before and behind the empty text of a `fill`."""
    for empty, quote, tail in (('""', '"', '"'), ("'')", "'", "')")):
        if spelled.endswith(empty):
            return spelled.removesuffix(empty) + quote, tail
    raise ValueError(f"{spelled!r} holds no text")
