"""The masks of a flat list of spellings, compiled by llguidance: what the action tree is held to."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import llguidance
import llguidance.hf
import llguidance.numpy
import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from browser_control.language import actions
from browser_control.language.actions import spell
from browser_control.language.page import Element

Mask = NDArray[np.int32]  # (vocabulary / 32,), one bit a token, the lowest bit first


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
        for action, text_follows in actions.choices(elements, self._verbs):
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


def encode_action(
    action: actions.Action, elements: Sequence[Element], action_format: str, tokenizer: PreTrainedTokenizerFast
) -> list[int]:
    """The tokens of an action as the grammar spells them: a typed text is tokenized apart from what is before it."""
    if action.verb != "fill":
        return list(tokenizer.encode(spell(action, elements, action_format), add_special_tokens=False))
    opening, closing = _around_text(spell(replace(action, argument=""), elements, action_format))
    return [
        *tokenizer.encode(opening, add_special_tokens=False),
        *tokenizer.encode(action.argument + closing, add_special_tokens=False),
    ]
