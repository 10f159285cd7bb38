"""Which tokens may come next: a tree made from the page, whose paths are exactly the actions that the page offers.

An action is spelled in *slots*: a verb, then what the verb takes. A slot is a prefix tree over token sequences, or a
text that the policy types. Elements are spelled once, and all verbs share the tree of those they apply to, so that
`drag ELEMENT to ELEMENT` costs as many paths as there are elements, and not their square. A page that was seen lately
is not built again.

Every fixed part has one tokenization, so that the probability of an action is not split between several spellings of it
(`click` is never `c` + `lick`). What is typed is free but for quotes, backslashes and control characters; only there do
masks come from a grammar, llguidance's (Microsoft, 2024), which is compiled once and for all.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from threading import RLock

import llguidance
import llguidance.hf
import llguidance.numpy
import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from browser_control.language import actions
from browser_control.language.page import Element
from browser_control.language.tokens import plain

Mask = NDArray[np.int32]  # (vocabulary / 32,), one bit a token, the lowest bit first
_KEPT = 1024  # pages whose trees are remembered
_FRAGMENTS = 100_000  # spelled parts whose tokens are remembered


Tokens = tuple[int, ...]


class Node:
    """A place in a prefix tree, whose branches are made when somebody comes by.

    Args:
        paths: that lead here, whole, each once; or what says them, where they are not known yet.
        count: of them.
        depth: tokens on the way here.

    Attributes:
        leaves: paths that end here or below.
    """

    __slots__ = ("_branches", "_depth", "_ends", "_paths", "leaves", "mask")

    def __init__(self, paths: Sequence[Tokens] | Callable[[], Sequence[Tokens]], count: int, depth: int = 0) -> None:
        self.leaves = count
        self.mask: Mask | None = None
        self._paths = paths
        self._depth = depth
        self._branches: dict[int, Node] | None = None
        self._ends = False

    @property
    def children(self) -> "dict[int, Node]":
        return self._grown() if self._branches is None else self._branches

    @property
    def ends(self) -> bool:
        """Whether a path ends here; where there are children too, it may go on as well (`1` and `10`)."""
        self._grown()
        return self._ends

    def _grown(self) -> "dict[int, Node]":
        """The branches; two threads may come by at once, and both make the same."""
        if self._branches is None:
            paths, depth, below = self._paths, self._depth, dict[int, list[Tokens]]()
            ends = False
            for path in paths() if callable(paths) else paths:
                if len(path) == depth:
                    ends = True
                else:
                    below.setdefault(path[depth], []).append(path)
            self._ends = ends
            self._branches = {token: Node(rest, len(rest), depth + 1) for token, rest in below.items()}
        return self._branches


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A slot that takes one of several token sequences.

    Attributes:
        root: of their prefix tree.
        differs: whether the choice must be another one than that of the slot two before it, which has the same tree.
    """

    root: Node
    differs: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A slot that takes a text, ended by what closes it.

    Attributes:
        fresh: a matcher of such texts, to be copied.
    """

    fresh: llguidance.LLMatcher


Slot = Choice | Text


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """The actions of a page: first a verb (and what else tells apart what follows), then its slots."""

    first: Choice
    slots: dict[Tokens, tuple[Slot, ...]]

    def __len__(self) -> int:
        """How many actions there are, a text counted once."""
        return sum(_count(slots) for slots in self.slots.values())


def _count(slots: Sequence[Slot]) -> int:
    count = 1
    for slot in slots:
        if isinstance(slot, Choice):
            count *= slot.root.leaves - slot.differs
    return count


Barred = dict[Tokens, set[int]]  # tokens that may not follow what was said


class Matcher:
    """How far one completion has come in its tree; `barred` keeps it from where only spent actions are."""

    def __init__(self, tree: Tree, words: int, barred: Barred | None = None) -> None:
        self._tree = tree
        self._barred = barred or {}
        self._said: list[int] = []  # what was consumed, but for a text
        self._words = words
        self._slots: tuple[Slot, ...] = (tree.first,)
        self._at = 0  # the slot
        self._node = tree.first.root
        self._path: list[int] = []  # within the slot
        self._paths: list[Tokens] = []  # of the slots before
        self._text: llguidance.LLMatcher | None = None
        self.done = False
        self._settle()

    def forced(self) -> list[int]:
        """Consumes and returns the tokens that leave no choice."""
        tokens: list[int] = []
        while not self.done:
            if self._text is not None:
                forced = self._text.compute_ff_tokens()
                if not forced:
                    break
                self._text.consume_tokens(forced)
                tokens += forced
            else:
                admitted = self._admitted()
                if len(admitted) != 1:
                    break
                [token] = admitted
                tokens.append(token)
                self._take(token)
            self._settle()
        return tokens

    def mask(self) -> Mask:
        """The tokens that may come next, one bit each."""
        return masks([self])[0]

    def consume(self, token: int) -> None:
        """Raises ValueError for a token that is not admitted."""
        if self.done:
            raise ValueError(f"token {token} is not admitted here: the action is complete")
        if self._text is not None:
            if not self._text.consume_token(token):
                raise ValueError(f"token {token} is not admitted here: {self._text.get_error()}")
        elif token in self._admitted():
            self._take(token)
        else:
            raise ValueError(f"token {token} is not admitted here")
        self._settle()

    def _take(self, token: int) -> None:
        self._said.append(token)
        if token not in self._node.children:  # the choice ends here, and the token belongs to the slot after it
            self._next()
        self._node = self._node.children[token]
        self._path.append(token)

    def _admitted(self) -> Collection[int]:
        """The tokens that may come next, where no text is typed."""
        barred = self._barred.get(tuple(self._said)) if self._barred else None
        return [token for token in self._offered() if token not in barred] if barred else self._offered()

    def _offered(self) -> Collection[int]:
        """The same, spent actions among them."""
        children: Collection[int] = self._node.children
        slot = self._slots[self._at]
        taken = self._paths[-2] if isinstance(slot, Choice) and slot.differs else None
        depth, ends = len(self._path), self._node.ends
        if taken is not None and taken[:depth] == tuple(self._path):  # on the way to what must not be chosen again
            if depth == len(taken):
                ends = False
            elif self._node.children[taken[depth]].leaves == 1:
                children = [token for token in children if token != taken[depth]]
        if ends:
            following = self._slots[self._at + 1] if self._at else self._tree.slots[tuple(self._path)][0]
            assert isinstance(following, Choice) and not following.differs
            return [*children, *following.root.children]
        return children

    def _fixed_mask(self) -> Mask:
        admitted = self._admitted()
        if admitted is not self._node.children and (self._at or self._barred):
            return _bits(admitted, self._words)
        if self._node.mask is None:
            self._node.mask = _bits(admitted, self._words)
        return self._node.mask

    def _settle(self) -> None:
        """Goes on to the next slot where the one at hand is complete, and can only be that."""
        while not self.done:
            complete = not self._node.children if self._text is None else self._text.is_stopped()
            if not complete:
                return
            self._next()

    def _next(self) -> None:
        """Goes on to the next slot."""
        self._paths.append(tuple(self._path) if self._text is None else ())
        self._text = None
        if self._at == 0:
            self._slots = (self._tree.first, *self._tree.slots[self._paths[0]])
        self._at += 1
        self._path = []
        if self._at == len(self._slots):
            self.done = True
            return
        slot = self._slots[self._at]
        if isinstance(slot, Text):
            self._text = slot.fresh.deep_copy()
        else:
            self._node = slot.root


def masks(matchers: Sequence[Matcher]) -> list[Mask]:
    """`Matcher.mask` of many; those of texts on several cores."""
    words = matchers[0]._words
    texts = [(matcher._text, row) for row, matcher in enumerate(matchers) if matcher._text is not None]
    bits = np.zeros((len(texts), words), dtype=np.int32)
    if texts:
        numbered = [(text, number) for number, (text, _) in enumerate(texts)]
        llguidance.numpy.fill_next_token_bitmask_par(_executor(), numbered, bits)
    typed = {row: bits[number] for number, (_, row) in enumerate(texts)}
    return [typed[row] if row in typed else matcher._fixed_mask() for row, matcher in enumerate(matchers)]


def _bits(tokens: Iterable[int], words: int) -> Mask:
    bits = np.zeros(words, dtype=np.uint32)
    chosen = np.fromiter(tokens, dtype=np.int64)
    np.bitwise_or.at(bits, chosen >> 5, np.left_shift(np.uint32(1), (chosen & 31).astype(np.uint32)))
    return bits.view(np.int32)


@lru_cache(maxsize=1)
def _executor() -> llguidance.LLExecutor:
    return llguidance.LLExecutor()


class ActionTrees:
    """Makes trees for pages, and matchers for completions.

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
        self._known = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary)
        self._text = lru_cache(self._compile)
        self._numbers = lru_cache(self._build_numbers)
        self._long_list = lru_cache(maxsize=16)(self._build_long_list)  # pages of one form have the same lists
        self._tokens: dict[str, Tokens] = {}  # of fragments
        self._tree = lru_cache(maxsize=_KEPT)(self._build)
        self._lock = RLock()  # of the caches: trees are built ahead by another thread

    def tree(self, elements: tuple[Element, ...]) -> Tree:
        """The actions that `elements` offer; built once for equal ones. Callable from any thread."""
        with self._lock:
            self._forget()
            return self._tree(elements)

    def matcher(self, elements: tuple[Element, ...], spent: Sequence[actions.Action] = ()) -> Matcher:
        """A fresh matcher for the actions that `elements` offer, less those that are spent; one is always left."""
        tree = self.tree(elements)
        barred: Barred = {}
        for action in spent:
            if actions.is_offered(action, elements, self._verbs):
                self._bar(Matcher(tree, self._words, barred), self.encode(action, elements), barred)
        return Matcher(tree, self._words, barred)

    @staticmethod
    def _bar(matcher: Matcher, tokens: Sequence[int], barred: Barred) -> None:
        """Bars the last decision on the way to an action."""
        decision: tuple[Tokens, int] | None = None
        for position, token in enumerate(tokens):
            admitted = matcher._admitted()
            if token not in admitted:
                return  # it is barred already
            if len(admitted) > 1:
                decision = tuple(tokens[:position]), token
            matcher.consume(token)
        if decision is not None:
            barred.setdefault(decision[0], set()).add(decision[1])

    def encode(self, action: actions.Action, elements: Sequence[Element]) -> Tokens:
        """The tokens of an action as its tree spells them."""
        fragments = actions.fragments(action, elements, self._action_format)
        with self._lock:
            self._forget()
            self._learn(fragments)
            return self._join(fragments)

    def _forget(self) -> None:
        """Bounds the tokens that are kept; not while a tree is built of them."""
        if len(self._tokens) > _FRAGMENTS:
            self._tokens.clear()

    def _learn(self, fragments: Iterable[str]) -> None:
        """Tokenizes the fragments that are not known, all at once; none becomes a control token."""
        unknown = [fragment for fragment in dict.fromkeys(fragments) if fragment not in self._tokens]
        if unknown:
            self._tokens.update(zip(unknown, plain(self._tokenizer, unknown), strict=True))

    def _join(self, fragments: actions.Fragments) -> Tokens:
        return tuple(chain.from_iterable(map(self._tokens.__getitem__, fragments)))

    def _build(self, elements: tuple[Element, ...]) -> Tree:
        offers = actions.offers(elements, self._verbs, self._action_format)
        spelled = dict.fromkeys(
            place.spelled for offer in offers for place in offer.places if isinstance(place, actions.Options)
        )
        begins = [offer.begin for offer in offers]
        self._learn(chain.from_iterable(chain(begins, *spelled)))
        built = {each: Node(list(map(self._join, each)), len(each)) for each in spelled}

        def slot(place: actions.Place) -> Slot:
            if isinstance(place, actions.Options):
                return Choice(built[place.spelled], place.differs)
            if isinstance(place, actions.LongList):
                return self._long_list(place)
            return self._text(place) if isinstance(place, actions.Typed) else self._numbers(place)

        first = list(map(self._join, begins))
        slots = {begin: tuple(map(slot, offer.places)) for begin, offer in zip(first, offers, strict=True)}
        return Tree(Choice(Node(first, len(first))), slots)

    def _build_long_list(self, listed: actions.LongList) -> Choice:
        """Whose options are tokenized where an action gets to it: that takes longer than all the rest.

        Those that another list had lately are known, as of a list that is narrowed down by what is typed.
        """

        def paths() -> list[Tokens]:
            spelled = listed.spelled
            with self._lock:
                self._forget()
                self._learn(spelled)
                return [self._tokens[each] for each in spelled]

        return Choice(Node(paths, len(listed.options)))

    def _build_numbers(self, numbers: actions.Numbers) -> Choice:
        spelled = [str(number) for number in range(numbers.low, numbers.high)]
        self._learn(spelled)
        return Choice(Node([self._tokens[each] for each in spelled], len(spelled)))

    def _compile(self, typed: actions.Typed) -> Text:
        """The grammar of a typed text and what closes it, in llguidance's dialect of Lark."""
        closing = typed.closing.replace('"', '\\"')
        lark = f'start: TEXT "{closing}"\nTEXT: /{actions.typed_pattern(typed, self._max_text)}/\n'
        compiled = llguidance.LLMatcher(self._known, llguidance.LLMatcher.grammar_from_lark(lark), log_level=0)
        if compiled.is_error():
            raise ValueError(f"the grammar of a text does not compile: {compiled.get_error()}")
        return Text(compiled)
