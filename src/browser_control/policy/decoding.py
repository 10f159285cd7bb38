"""Reading tokens with a model, step by step, and keeping what was read.

Two readers of one behaviour. `DynamicReader` grows its cache with what is read, drops rows that are done, and reads
several forced tokens at once: best where arithmetic is scarce. `StaticReader` keeps a cache of fixed size, so that the
step is recorded once as a CUDA graph and replayed without launch overhead: on a GPU the hundreds of small kernels of
a decode step cost more to launch than to run.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, StaticCache

_ROWS = 32  # of the smallest static batch: below, a step takes no less time
_WIDTH = 128  # static caches are a multiple of it long


class Reader(Protocol):
    """Reads for a batch of completions, one a row.

    Attributes:
        width: tokens a row that are read at once, at most.
    """

    width: int

    def start(self, sequences: Sequence[tuple[int, ...]], longest: int) -> Tensor:
        """Begins a batch: reads each sequence, equal ones once.

        Args:
            sequences: token ids of the rows.
            longest: tokens that may follow, at most.

        Returns:
            Logits behind each row, shape (rows, vocabulary).
        """

    def read(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Reads at least one and at most `width` tokens for each row; returns the logits behind the last."""

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with these rows only, in this order."""


@dataclass
class Model:
    """A causal language model as its two parts.

    Attributes:
        head: an output layer, and what is behind it; `weight` is the layer's.
        config: of the language model, not of a multimodal one around it.
    """

    decoder: Any
    head: Any
    config: Any

    @property
    def device(self) -> torch.device:
        device: torch.device = self.head.weight.device
        return device

    @property
    def reads_chunks(self) -> bool:
        """Whether padding between tokens is harmless: not to convolutions, which see their neighbours."""
        return self.attends_fully and not any("conv" in kind for kind in self._kinds)

    @property
    def attends_fully(self) -> bool:
        """Whether a token sees all before it, so that a mask of ours says all: not where attention has a window."""
        if not self._kinds:
            return getattr(self.config, "sliding_window", None) is None
        return all("conv" in kind or kind == "full_attention" for kind in self._kinds)

    @property
    def _kinds(self) -> list[str]:
        return list(getattr(self.config, "layer_types", None) or ())


class DynamicReader:
    """Grows with what is read."""

    def __init__(self, model: Model) -> None:
        self.width = sys.maxsize if model.reads_chunks else 1
        self._model = model

    def start(self, sequences: Sequence[tuple[int, ...]], longest: int) -> Tensor:
        prefilled = _prefill(self._model, sequences)
        self._cache = prefilled.cache
        self._cache.reorder_cache(prefilled.spread)
        self._attention = prefilled.attention[prefilled.spread]
        return prefilled.logits[prefilled.spread]

    def read(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        ids, fed = _padded(tokens, self._model.device)
        positions = (self._attention.sum(1, keepdim=True) + fed.cumsum(1) - 1).clamp(min=0)
        self._attention = torch.cat([self._attention, fed], dim=1)
        output = self._model.decoder(
            input_ids=ids,
            attention_mask=self._attention,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        logits: Tensor = self._model.head(output.last_hidden_state[:, -1])
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        selected = torch.tensor(rows, device=self._model.device)
        self._cache.reorder_cache(selected)
        self._attention = self._attention[selected]


class StaticReader:
    """Reads one token a row with a step of fixed shape; rows that are done read on, and nobody looks.

    Args:
        model: whose weights may change in place between batches.
        graphs: record the step as a CUDA graph.
    """

    width = 1

    def __init__(self, model: Model, graphs: bool) -> None:
        self._model = model
        self._graphs = graphs
        self._steps: dict[tuple[int, int], _Step] = {}

    def start(self, sequences: Sequence[tuple[int, ...]], longest: int) -> Tensor:
        prefilled = _prefill(self._model, sequences)
        self._rows = list(range(len(sequences)))
        read = prefilled.attention.shape[1]
        shape = (_at_least(_ROWS, len(sequences)), -(-(read + longest) // _WIDTH) * _WIDTH)
        if shape not in self._steps:
            self._steps[shape] = _Step(self._model, *shape, graph=self._graphs)
        self._step = self._steps[shape]
        self._step.begin(prefilled)
        return prefilled.logits[prefilled.spread]

    def read(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        ids = [0] * self._step.rows
        for row, [token] in zip(self._rows, tokens, strict=True):
            ids[row] = token
        return self._step.run(ids)[self._rows]

    def keep(self, rows: Sequence[int]) -> None:
        self._rows = [self._rows[row] for row in rows]


@dataclass
class _Prefilled:
    """Sequences that were read, left-padded, each once; `spread` says which of them each row continues."""

    logits: Tensor
    cache: Any
    attention: Tensor
    spread: Tensor


class _Step:
    """One decode step of fixed shape: the cache, the inputs and the output stay where they are in memory."""

    def __init__(self, model: Model, rows: int, length: int, graph: bool) -> None:
        self.rows = rows
        device = model.device
        self._model = model
        self._ids = torch.zeros((rows, 1), dtype=torch.long, device=device)
        self._positions = torch.zeros((rows, 1), dtype=torch.long, device=device)
        self._end = torch.zeros(1, dtype=torch.long, device=device)  # where in the cache the next token goes
        self._mask = torch.zeros((rows, 1, 1, length), dtype=torch.bool, device=device)
        self._cache: Any = StaticCache(config=model.config, max_cache_len=length)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits = self._forward()  # makes the cache's tensors
        if graph:
            self._record()

    def begin(self, prefilled: _Prefilled) -> None:
        """Takes over what was read."""
        rows, width = len(prefilled.spread), prefilled.attention.shape[1]
        for ours, theirs in zip(self._cache.layers, prefilled.cache.layers, strict=True):
            if hasattr(ours, "conv_states"):
                ours.conv_states[0][:rows] = theirs.conv_states[0][prefilled.spread]
            else:
                ours.keys[:rows, :, :width] = theirs.keys[prefilled.spread]
                ours.values[:rows, :, :width] = theirs.values[prefilled.spread]
                ours.cumulative_length.fill_(width)
        attention = prefilled.attention[prefilled.spread]
        self._mask.zero_()
        self._mask[:rows, 0, 0, :width] = attention.bool()
        self._positions.zero_()
        self._positions[:rows, 0] = attention.sum(1)
        self._end.fill_(width)

    def run(self, ids: Sequence[int]) -> Tensor:
        """Reads one token a row; the logits are overwritten by the next step."""
        self._ids.copy_(torch.tensor(ids)[:, None])
        if self._graph is None:
            self._logits = self._forward()
        else:
            self._graph.replay()
        return self._logits

    def _forward(self) -> Tensor:
        self._mask.index_fill_(3, self._end, True)
        output = self._model.decoder(
            input_ids=self._ids,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._end += 1
        self._positions += 1
        logits: Tensor = self._model.head(output.last_hidden_state[:, -1])
        return logits

    def _record(self) -> None:
        """Warms up on a side stream, as CUDA graphs demand, and records the step."""
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._forward()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = self._forward()


def _prefill(model: Model, sequences: Sequence[tuple[int, ...]]) -> _Prefilled:
    unique = list(dict.fromkeys(sequences))
    ids, attention = _padded(unique, model.device)
    output = model.decoder(
        input_ids=ids,
        attention_mask=attention,
        position_ids=(attention.cumsum(1) - 1).clamp(min=0),
        past_key_values=DynamicCache(config=model.config),
        use_cache=True,
    )
    number = {sequence: index for index, sequence in enumerate(unique)}
    spread = torch.tensor([number[sequence] for sequence in sequences], device=model.device)
    return _Prefilled(model.head(output.last_hidden_state[:, -1]), output.past_key_values, attention, spread)


def _padded(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids, padded on the left, and their attention mask; both (sequences, longest)."""
    width = max(len(sequence) for sequence in sequences)
    ids = torch.zeros((len(sequences), width), dtype=torch.long)
    attention = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, width - len(sequence) :] = torch.tensor(sequence, dtype=torch.long)
        attention[row, width - len(sequence) :] = 1
    return ids.to(device), attention.to(device)


def _at_least(smallest: int, count: int) -> int:
    """The smallest of `smallest`, twice that, and so on that holds `count`."""
    while smallest < count:
        smallest *= 2
    return smallest
