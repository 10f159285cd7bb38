"""Reading as a tree of tokens: what was read once under the same weights is not read again (`tree`).

Pages of a web task begin alike, so do the pages before and after an action, and the members of a group say the same
for a while. On a CPU, where arithmetic is scarce, that is a large part of all tokens.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from browser_control.policy import attention, tree
from browser_control.policy.decoding import Model

_BYTES = 1 << 29  # of keys and values that are kept from batch to batch; a larger batch takes what it needs


class TreeReader:
    """Grows with what is read, and keeps it until it is told to `forget`, or there is no room.

    Args:
        model: on a CPU; sees all before a token and nothing else, and attends by `attention.attend`.
    """

    width = sys.maxsize
    drops_freely = True

    def __init__(self, model: Model) -> None:
        self._model = model
        self._usual = max(_BYTES // _bytes(model), 1)
        self.forget()

    def forget(self) -> None:
        self._tree = tree.Tree()
        self._rows: list[np.ndarray] = []
        self._kept: _Kept | None = None

    def start(self, sequences: Sequence[tuple[int, ...]], longest: int) -> Tensor:
        wanted = sum(len(each) - self._tree.known(each) for each in set(sequences)) + len(sequences) * longest
        if self._kept is None or len(self._tree) + wanted > self._kept.room:
            self.forget()
            wanted = sum(map(len, set(sequences))) + len(sequences) * longest
            self._kept = _Kept(self._model, max(wanted, self._usual))
        return self._read([(None, sequence) for sequence in sequences])

    def read(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        return self._read(list(zip(self._rows, tokens, strict=True)))

    def keep(self, rows: Sequence[int]) -> None:
        self._rows = [self._rows[row] for row in rows]

    def _read(self, wanted: Sequence[tuple[np.ndarray | None, Sequence[int]]]) -> Tensor:
        """Reads what is not known of tokens behind paths; the logits behind each."""
        assert self._kept is not None
        branches = [self._tree.add(tokens, behind) for behind, tokens in wanted]
        try:
            for parts in tree.rows(branches):
                self._kept.read(self._tree, parts)
        except BaseException:  # what is in the tree was not all read
            self.forget()
            raise
        self._rows = [branch.path for branch in branches]
        ends, place = np.unique([path[-1] for path in self._rows], return_inverse=True)
        logits: Tensor = self._model.head(self._kept.states[torch.from_numpy(ends)])
        return logits if len(ends) == len(place) and (place[1:] > place[:-1]).all() else logits[torch.from_numpy(place)]


class _Kept:
    """What was read: keys and values of each layer, and the last layer's states, node by node.

    Attributes:
        room: nodes that there is memory for; what is not yet used takes none.
        states: shape (room, width).
    """

    def __init__(self, model: Model, room: int) -> None:
        self.room = room
        self.states = torch.empty((room, model.head.weight.shape[1]), dtype=model.head.weight.dtype)
        self._model = model
        self._used = 0
        self._cache: Any = DynamicCache()
        self._cache.layers = [_Layer(self) for _ in range(model.config.num_hidden_layers)]
        self._cache.layer_class_to_replicate = None

    @property
    def new(self) -> slice:
        """The nodes that are being read."""
        return self._new

    def read(self, nodes: tree.Tree, parts: Sequence[tree.Part]) -> None:
        """Reads the next nodes."""
        self._new = slice(self._used, self._used + parts[-1].end)
        ids, positions = (torch.tensor([each[self._new]]) for each in (nodes.tokens, nodes.depths))
        with attention.branching(parts):
            output = self._model.decoder(
                input_ids=ids,
                attention_mask=tree.NO_MASK,
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
            )
        self.states[self._new] = output.last_hidden_state[0]
        self._used = self._new.stop


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, shape (room, heads, width)."""

    def __init__(self, kept: _Kept) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept = kept

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self._pools = [
                each.new_empty((self._kept.room, each.shape[1], each.shape[3])) for each in (key_states, value_states)
            ]
            self.is_initialized = True
        for pool, new in zip(self._pools, (key_states, value_states), strict=True):
            pool[self._kept.new] = new[0].transpose(0, 1)
        keys, values = (pool.transpose(0, 1)[None] for pool in self._pools)
        return keys, values

    def get_seq_length(self) -> int:
        return 0  # positions are given


def _bytes(model: Model) -> int:
    """Of a token's keys and values, about: as many heads as there are for keys."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size: int = model.head.weight.element_size()
    return int(2 * config.num_hidden_layers * heads * width * size)
