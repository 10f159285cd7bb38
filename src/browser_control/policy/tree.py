"""Sequences as a tree of tokens: what any of them begin with alike is one node.

    a b c d        a - b - c - d
    a b c e                  | e
    a b f                | f

Laid in one row, each token sees the nodes above it and no other, at the position that it has in its sequence. So a row
holds no token twice and no padding. Attention works on parts of a row, since what a part sees is little.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

ROW = 512  # tokens of a row, where nothing else is said: enough for the processor, and few enough for its caches
_PART = 128  # and of a part
_SEEN = 1024  # tokens that a part of several branches sees, at most
NO_MASK = torch.ones((1, 1, 1, 1), dtype=torch.bool)  # keeps transformers from making one


@dataclass(frozen=True)
class Branch:
    """The nodes of a sequence up to a token, and how many of the last of them are new."""

    path: np.ndarray
    new: int


@dataclass(frozen=True)
class Part:
    """Neighbours in a row, and what they see.

    Attributes:
        begin, end: of them in the row.
        seen: nodes that any of them sees, shape (seen,).
        mask: 0 where a token sees a node and -inf elsewhere, float32, shape (end - begin, seen).
    """

    begin: int
    end: int
    seen: Tensor
    mask: Tensor
    _folded: dict[tuple[int, torch.dtype], Tensor] = field(default_factory=dict)

    def folded(self, groups: int, dtype: torch.dtype) -> Tensor:
        """The mask of `groups` query heads one above another, shape (groups * tokens, seen); made once."""
        if (groups, dtype) not in self._folded:
            self._folded[groups, dtype] = self.mask.to(dtype).repeat(groups, 1)
        return self._folded[groups, dtype]


class Tree:
    """Nodes by number; each has a larger one than those above it."""

    def __init__(self) -> None:
        self._below: dict[tuple[int, int], int] = {}
        self.tokens: list[int] = []
        self.depths: list[int] = []

    def __len__(self) -> int:
        return len(self.tokens)

    def known(self, sequence: Sequence[int]) -> int:
        """How many tokens at the beginning of a sequence are nodes already."""
        node = -1
        for count, token in enumerate(sequence):
            below = self._below.get((node, token))
            if below is None:
                return count
            node = below
        return len(sequence)

    def add(self, sequence: Sequence[int], behind: np.ndarray | None = None) -> Branch:
        """The branch of a sequence, or of what goes on `behind` a path."""
        path = [] if behind is None else behind.tolist()
        before = len(self)
        node = path[-1] if path else -1
        for token in sequence:
            below = self._below.get((node, token))
            if below is None:
                below = len(self)
                self._below[node, token] = below
                self.tokens.append(token)
                self.depths.append(len(path))
            node = below
            path.append(node)
        return Branch(np.array(path, dtype=np.int64), len(self) - before)


def rows(branches: Sequence[Branch], longest: int = ROW) -> Iterator[list[Part]]:
    """The new nodes of branches, in order, as rows of parts.

    Args:
        branches: whose new nodes follow one another without a gap.
        longest: tokens of a row, at most.
    """
    row: list[Part] = []
    for pieces in _joined([piece for branch in branches for piece in _pieces(branch)]):
        begin = row[-1].end if row else 0
        new = sum(piece.new for piece in pieces)
        if row and begin + new > longest:
            yield row
            row, begin = [], 0
        row.append(_part(pieces, begin, begin + new))
    if row:
        yield row


def _pieces(branch: Branch) -> Iterator[Branch]:
    """The new nodes of a branch, no more than a part takes at a time."""
    for left in range(branch.new, 0, -_PART):
        new = min(left, _PART)
        yield Branch(branch.path[: len(branch.path) - left + new], new)


def _joined(pieces: Sequence[Branch]) -> Iterator[list[Branch]]:
    """Neighbours, as far as a part takes them."""
    joined: list[Branch] = []
    new = seen = 0
    for piece in pieces:
        more = len(piece.path) - (_alike(joined[-1].path, piece.path) if joined else 0)
        if joined and (new + piece.new > _PART or seen + more > _SEEN):
            yield joined
            joined, new, seen, more = [], 0, 0, len(piece.path)
        joined.append(piece)
        new, seen = new + piece.new, seen + more
    if joined:
        yield joined


def _alike(one: np.ndarray, other: np.ndarray) -> int:
    """How many nodes two paths have in common: paths that parted do not meet again."""
    shorter = min(len(one), len(other))
    return int(np.count_nonzero(one[:shorter] == other[:shorter]))


def _part(pieces: Sequence[Branch], begin: int, end: int) -> Part:
    seen = np.unique(np.concatenate([piece.path for piece in pieces]))
    mask = np.full((end - begin, len(seen)), -np.inf, dtype=np.float32)
    row = 0
    for piece in pieces:
        columns = np.searchsorted(seen, piece.path)
        above = len(piece.path) - piece.new
        for own in range(piece.new):
            mask[row, columns[: above + own + 1]] = 0.0
            row += 1
    return Part(begin, end, torch.from_numpy(seen), torch.from_numpy(mask))
