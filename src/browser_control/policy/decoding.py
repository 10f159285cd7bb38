"""Reading tokens with a model, step by step, and keeping what was read.

Three readers of one behaviour. `DynamicReader` grows its cache with what is read, drops rows that are done, and reads
several forced tokens at once. `tree_reader.TreeReader` does so too, and reads nothing twice: best on a CPU, where
arithmetic is scarce. `StaticReader` keeps a cache of fixed size, so that the step is recorded once as a CUDA graph and
replayed without launch overhead: on a GPU the hundreds of small kernels of a decode step cost more to launch than to
run.
"""

import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import StaticLayer, StaticSlidingWindowLayer

from browser_control.policy import attention
from browser_control.policy.devices import placed

_ROWS = 32  # of the smallest static batch: below, a step takes no less time
_WIDTH = 512  # static caches are a multiple of it long: few shapes, since recording one takes as long as many steps
_WIDE = 8  # tokens a row of a wide step
_SHAPES = 16  # of static batches that are kept, and of packed prompts
_PACKED = 16_384  # tokens of prompts that are read at once, at most, where there are several
_SEQUENCES = 64  # prompts that are read at once, at most
_SHORTEST = 512  # tokens of the smallest shape of packed prompts
_WORTH_A_CALL = 16_384  # tokens of padding that take as long as another call of the model
_WORTH_A_CALL_OF_CPU = 16  # the same where nothing is launched: another reading of the weights


class Reader(Protocol):
    """Reads for a batch of completions, one a row.

    Attributes:
        width: tokens a row that are read at once, at most.
        drops_freely: whether to go on with fewer rows costs nothing.
    """

    @property
    def width(self) -> int: ...

    @property
    def drops_freely(self) -> bool: ...

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

    def forget(self) -> None:
        """Takes nothing over from an earlier batch: the weights are others, or numbers shall not depend on it."""


@dataclass
class Model:
    """A causal language model as its two parts.

    Attributes:
        head: an output layer, and what is behind it; `weight` is the layer's.
        config: of the language model, not of a multimodal one around it.
        sees_windows: whether its layers, some of which have windows, say theirs to our attention (`find_windows`).
    """

    decoder: Any
    head: Any
    config: Any
    sees_windows: bool = False

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

    def find_windows(self) -> None:
        """Has windows read fast where each layer's is as the configuration says, and there is nothing but attention."""
        window = getattr(self.config, "sliding_window", None)
        kinds = self._kinds or ["sliding_attention"] * self.config.num_hidden_layers
        if self.attends_fully or window is None or set(kinds) - {"sliding_attention", "full_attention"}:
            return
        expected = [window if kind == "sliding_attention" else None for kind in kinds]
        self.sees_windows = attention.install(self.decoder) and attention.windows(self.decoder) == expected

    @property
    def steps_fixed(self) -> bool:
        """Whether `StaticReader` reads it."""
        return self.attends_fully or self.sees_windows

    @property
    def packs(self) -> bool:
        """Whether prompts one after another in a row, and several tokens at a step, are harmless to it."""
        return self.reads_chunks or self.sees_windows

    @property
    def hindrance(self) -> str:
        """Which property of the architecture keeps it from the fastest way of reading; empty where none does."""
        if self.packs:
            return ""
        counts = Counter(kind for kind in self._kinds if kind != "full_attention")
        layers = self.config.num_hidden_layers
        if counts:
            return ", ".join(f"{count} of {layers} layers are {kind}" for kind, count in sorted(counts.items()))
        return f"attention has a window of {self.config.sliding_window} tokens"

    @property
    def _kinds(self) -> list[str]:
        return list(getattr(self.config, "layer_types", None) or ())


class DynamicReader:
    """Grows with what is read."""

    drops_freely = False

    def __init__(self, model: Model) -> None:
        self.width = sys.maxsize if model.reads_chunks else 1
        self._model = model

    def start(self, sequences: Sequence[tuple[int, ...]], longest: int) -> Tensor:
        prefilled = _prefill(self._model, list(dict.fromkeys(sequences)))
        number = {sequence: index for index, sequence in enumerate(prefilled.sequences)}
        spread = torch.tensor([number[sequence] for sequence in sequences], device=self._model.device)
        self._cache = prefilled.cache
        self._cache.reorder_cache(spread)
        self._attention = prefilled.attention[spread]
        return prefilled.logits[spread]

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

    def forget(self) -> None:
        """Each batch begins anew anyway."""


class StaticReader:
    """Reads with steps of fixed shape; rows that are done read on, and nobody looks.

    There are two steps for each shape, of one token a row and of several: most tokens of an action are forced, so that
    a wide step takes many rows to their next decision at once. Prompts are read one after another in a single row,
    where the model can; else side by side, those of very different lengths apart.

    Args:
        model: whose weights may change in place between batches.
        graphs: record the steps as CUDA graphs.
    """

    drops_freely = False

    def __init__(self, model: Model, graphs: bool) -> None:
        self._model = model
        self._graphs = graphs
        self._steps: OrderedDict[tuple[int, int], _Steps] = OrderedDict()
        self._installed = attention.install(model.decoder)
        self._prompts = _Prompts(model, graphs) if model.packs and self._installed else None

    @property
    def packs(self) -> bool:
        """Whether prompts are read one after another in a row."""
        return self._prompts is not None

    @property
    def width(self) -> int:
        return self._current.width

    def start(self, sequences: Sequence[tuple[int, ...]], longest: int) -> Tensor:
        different = list(dict.fromkeys(sequences))
        parts = _together(different) if self._prompts else _alike(different)
        number = {sequence: index for index, sequence in enumerate(chain.from_iterable(parts))}
        spread = np.array([number[sequence] for sequence in sequences])
        self._rows = np.arange(len(sequences))
        self._current = self._fitting(len(sequences), max(map(len, different)) + longest)
        self._current.begin()
        logits, first = [], 0
        for part in parts:
            prefilled = self._prompts.read(part) if self._prompts else _prefill(self._model, part)
            rows = np.flatnonzero((first <= spread) & (spread < first + len(part)))
            self._current.take(prefilled, rows, spread[rows] - first)
            logits.append(prefilled.logits)
            first += len(part)
        return torch.cat(logits)[placed(torch.from_numpy(spread), self._model.device)]

    def _fitting(self, rows: int, tokens: int) -> "_Steps":
        """Steps for so many rows that hold so many tokens each; those that are there already, if they do."""
        smallest = (_at_least(_ROWS, rows), -(-(tokens + 1) // _WIDTH) * _WIDTH)
        shape = min((each for each in self._steps if each[0] == smallest[0] and each >= smallest), default=smallest)
        if shape not in self._steps:
            if len(self._steps) == _SHAPES:  # a graph and its cache take memory: those that rest longest go
                self._steps.popitem(last=False)
            width = _WIDE if self._model.packs else 1
            self._steps[shape] = _Steps(self._model, *shape, width, self._graphs, self._installed)
        self._steps.move_to_end(shape)
        return self._steps[shape]

    def read(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        return self._current.run(self._rows, tokens)[placed(torch.from_numpy(self._rows), self._model.device)]

    def keep(self, rows: Sequence[int]) -> None:
        self._rows = self._rows[np.array(rows)]

    def forget(self) -> None:
        """Each batch begins anew anyway."""


@dataclass
class _Prefilled:
    """Sequences that were read, left-padded; logits are those behind each."""

    sequences: list[tuple[int, ...]]
    logits: Tensor
    cache: Any
    attention: Tensor

    def fill(self, cache: Any, to: Tensor, of: Tensor) -> None:
        """Copies the sequences `of` into the rows `to`, from their first column on."""
        columns = self.attention.shape[1]
        begins = columns - self.attention[of].sum(1, keepdim=True)
        taken = (begins + torch.arange(columns, device=to.device)).clamp(max=columns - 1)
        for ours, theirs in zip(cache.layers, self.cache.layers, strict=True):
            if hasattr(ours, "conv_states"):
                ours.conv_states[0][to] = theirs.conv_states[0][of]
            else:
                for place, source in ((ours.slots[0], theirs.keys), (ours.slots[1], theirs.values)):
                    place[to, :columns] = source.transpose(1, 2)[of[:, None], taken]


@dataclass
class _Packed:
    """Sequences that were read one after another in a row; logits are those behind each.

    Attributes:
        keys: of each layer, shape (1, heads, tokens, width); `values` too. The next reading overwrites them.
    """

    sequences: list[tuple[int, ...]]
    logits: Tensor
    keys: Sequence[Tensor]
    values: Sequence[Tensor]

    def fill(self, cache: Any, to: Tensor, of: Tensor) -> None:
        """As `_Prefilled.fill`."""
        lengths = np.array([len(sequence) for sequence in self.sequences])
        begins = placed(torch.from_numpy(lengths.cumsum() - lengths), to.device)[of][:, None]
        columns = int(lengths.max())
        tokens = (begins + torch.arange(columns, device=to.device)).clamp(max=self.keys[0].shape[2] - 1).flatten()
        for ours, keys, values in zip(cache.layers, self.keys, self.values, strict=True):
            for place, source in ((ours.slots[0], keys), (ours.slots[1], values)):
                taken = source[0].transpose(0, 1).index_select(0, tokens)
                place[to, :columns] = taken.view(len(to), columns, *taken.shape[1:])


class _Prompts:
    """Reads prompts one after another in a single row, without padding between them.

    Rows come in few lengths, each recorded once as a CUDA graph.
    """

    def __init__(self, model: Model, graphs: bool) -> None:
        self._model = model
        self._graphs = graphs
        self._rows: OrderedDict[tuple[int, int], _Row] = OrderedDict()
        self._pool: Any = torch.cuda.graph_pool_handle() if graphs else None

    def read(self, sequences: list[tuple[int, ...]]) -> _Packed:
        """Reads sequences of one part; what it returns lasts until the next."""
        return self._row(sequences).read(sequences)

    def _row(self, part: Sequence[tuple[int, ...]]) -> "_Row":
        shape = (_at_least(_SHORTEST, sum(map(len, part)), halves=True), _at_least(_SHORTEST, max(map(len, part))))
        if shape not in self._rows:
            if len(self._rows) == _SHAPES:
                self._rows.popitem(last=False)
            self._rows[shape] = _Row(self._model, *shape, pool=self._pool)
            if self._graphs:
                self._rows[shape].record()
        self._rows.move_to_end(shape)
        return self._rows[shape]


class _Row:
    """A row of packed prompts of one length; what is behind the last of them belongs to none, and is not looked at."""

    def __init__(self, model: Model, length: int, longest: int, pool: Any) -> None:
        device = model.device
        self._model = model
        self._longest = longest
        self._pool = pool
        self._inputs = torch.zeros((2, length), dtype=torch.long, device=device)  # ids and positions
        self._ends = torch.zeros(_SEQUENCES + 1, dtype=torch.int32, device=device)
        self._mask = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=device)  # keeps transformers from making one
        self._graph: torch.cuda.CUDAGraph | None = None

    def read(self, sequences: list[tuple[int, ...]]) -> _Packed:
        inputs = np.zeros(self._inputs.shape, dtype=np.int64)
        ends = np.zeros(_SEQUENCES + 1, dtype=np.int32)
        ends[1:] = sum(map(len, sequences))
        for number, (sequence, end) in enumerate(zip(sequences, accumulate(map(len, sequences)), strict=True), start=1):
            inputs[0, end - len(sequence) : end] = sequence
            inputs[1, end - len(sequence) : end] = np.arange(len(sequence))
            ends[number] = end
        self._inputs.copy_(placed(torch.from_numpy(inputs), self._inputs.device))
        self._ends.copy_(placed(torch.from_numpy(ends), self._ends.device))
        if self._graph is None:
            self.forward()
        else:
            self._graph.replay()
        return _Packed(sequences, self._logits[: len(sequences)].clone(), self._keys, self._values)

    def forward(self) -> None:
        # windows are the attention's: a cache that knew of them would forget what is before the last
        cache: Any = DynamicCache() if self._model.sees_windows else DynamicCache(config=self._model.config)
        with attention.packed(self._ends, self._longest):
            output = self._model.decoder(
                input_ids=self._inputs[:1],
                attention_mask=self._mask,
                position_ids=self._inputs[1:],
                past_key_values=cache,
                use_cache=True,
            )
        self._keys = [layer.keys for layer in cache.layers]
        self._values = [layer.values for layer in cache.layers]
        self._logits = self._model.head(output.last_hidden_state[0, (self._ends[1:].long() - 1).clamp(min=0)])

    def record(self) -> None:
        self._graph = _recorded(self.forward, self._pool)


class _Slots(StaticLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, each row's own from its first column on.

    Args:
        steps: that say where new tokens go.

    Attributes:
        slots: keys and values, shape (rows, columns, heads, width).
    """

    def __init__(self, steps: "_Steps", columns: int) -> None:
        super().__init__(columns)
        self._steps = steps

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.slots = [
            each.new_zeros((each.shape[0], self.max_cache_len, each.shape[1], each.shape[3]))
            for each in (key_states, value_states)
        ]
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        for slots, new in zip(self.slots, (key_states, value_states), strict=True):
            slots.flatten(0, 1).index_copy_(0, self._steps.places, new.transpose(1, 2).flatten(0, 1))
        keys, values = (each.transpose(1, 2) for each in self.slots)
        return keys, values


class _Steps:
    """Steps of fixed shapes on one cache: the cache, the inputs and the outputs stay where they are in memory.

    Attributes:
        rows: of the batch.
        width: tokens a row of the wide step.
        places: where in the cache a step's tokens go, all rows' columns one after another.
    """

    places: Tensor

    def __init__(self, model: Model, rows: int, columns: int, width: int, graph: bool, installed: bool) -> None:
        self.rows = rows
        self.width = width
        device = model.device
        self._model = model
        self._columns = columns
        self._dtype = next(model.decoder.parameters()).dtype
        self._flashes = installed and attention.flashes(device, self._dtype)
        self._used = torch.zeros(rows, dtype=torch.int32, device=device)  # columns of each row that are its own
        self._begins = torch.arange(rows + 1, device=device) * columns
        self._cache: Any = StaticCache(config=model.config, max_cache_len=columns)
        layers = self._cache.layers
        kinds = (StaticLayer, StaticSlidingWindowLayer) if model.sees_windows else (StaticLayer,)
        layers[:] = [_Slots(self, columns) if type(layer) in kinds else layer for layer in layers]
        self._steps = {each: _Step(self, each) for each in sorted({1, width})}
        for step in self._steps.values():
            step.forward()  # makes the cache's tensors
            if graph:
                step.record()

    def begin(self) -> None:
        """Begins a batch; rows of which it takes over nothing attend to nothing of it."""
        self._used.zero_()

    def take(self, prefilled: "_Prefilled | _Packed", rows: np.ndarray, which: np.ndarray) -> None:
        """Takes over what was read: row by row the sequence of that number."""
        lengths = np.array([len(sequence) for sequence in prefilled.sequences], dtype=np.int32)
        to, of, used = (placed(torch.from_numpy(each), self._used.device) for each in (rows, which, lengths[which]))
        prefilled.fill(self._cache, to, of)
        self._used[to] = used

    def run(self, rows: np.ndarray, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Reads up to `width` tokens for each of `rows`; the logits, of all rows, are overwritten by the next step."""
        return self._steps[1 if max(map(len, tokens)) <= 1 else self.width].run(rows, tokens)


class _Step:
    """The step of one width."""

    def __init__(self, steps: _Steps, width: int) -> None:
        self._all = steps
        self._width = width
        device = steps._used.device
        self._inputs = torch.zeros((2, steps.rows, width), dtype=torch.long, device=device)  # ids, and what is one
        self._ends = torch.arange(steps.rows + 1, dtype=torch.int32, device=device) * width
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits = torch.empty(0)

    def run(self, rows: np.ndarray, tokens: Sequence[Sequence[int]]) -> Tensor:
        inputs = np.zeros(self._inputs.shape, dtype=np.int64)
        for row, each in zip(rows, tokens, strict=True):
            inputs[0, row, self._width - len(each) :] = each
            inputs[1, row, self._width - len(each) :] = 1
        self._inputs.copy_(placed(torch.from_numpy(inputs), self._inputs.device))
        if self._graph is None:
            self.forward()
        else:
            self._graph.replay()
        return self._logits

    def forward(self) -> None:
        """Tokens are padded on the left, so that the last column is behind each row's last token.

        What is padded goes to a row's last column, which is nobody's; a row that is done may read on until it is there.
        """
        every, (ids, fed) = self._all, self._inputs
        last = every._columns - 1
        positions = (every._used[:, None] + fed.cumsum(1) - 1).clamp(min=0, max=last)
        columns = torch.where(fed.bool(), positions, last)
        every.places = (every._begins[:-1, None] + columns).flatten()
        every._used.add_(fed.sum(1)).clamp_(max=last)
        mask = self._mask(columns)
        with attention.stepping(self._ends, every._begins.int(), every._used, every._columns, every._flashes):
            output = every._model.decoder(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=every._cache,
                use_cache=True,
            )
        self._logits = every._model.head(output.last_hidden_state[:, -1])

    def _mask(self, columns: Tensor) -> Tensor:
        """What tokens at `columns` see, shape (rows, 1, width, columns); of one element where nobody asks."""
        every = self._all
        if every._flashes:
            return torch.zeros((1, 1, 1, 1), dtype=every._dtype, device=columns.device)
        seen = torch.arange(every._columns, device=columns.device) <= columns[:, :, None]
        return torch.zeros(seen.shape, dtype=every._dtype, device=seen.device).masked_fill_(~seen, float("-inf"))[
            :, None
        ]

    def record(self) -> None:
        self._graph = _recorded(self.forward)


def _recorded(forward: Callable[[], None], pool: Any = None) -> torch.cuda.CUDAGraph:
    """Warms up on a side stream, as CUDA graphs demand, and records."""
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        forward()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        forward()
    return graph


def _alike(sequences: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """The sequences in parts of like lengths, where what padding costs is worth another call of the model."""
    ordered = sorted(sequences, key=len)
    longest = len(ordered[-1])
    saved, cut = max(((longest - len(ordered[index - 1])) * index, index) for index in range(1, len(ordered) + 1))
    if saved < _WORTH_A_CALL:
        return [sequences]
    return [*_alike(ordered[:cut]), *_alike(ordered[cut:])]


def _together(sequences: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """The sequences in parts of as many as are read in one row."""
    parts: list[list[tuple[int, ...]]] = [[]]
    tokens = 0
    for sequence in sequences:
        if parts[-1] and (tokens + len(sequence) > _PACKED or len(parts[-1]) == _SEQUENCES):
            parts.append([])
            tokens = 0
        parts[-1].append(sequence)
        tokens += len(sequence)
    return parts


def _prefill(model: Model, sequences: list[tuple[int, ...]]) -> _Prefilled:
    """Reads them side by side; what all of them begin with, as the chat before the page, is read once."""
    cache = DynamicCache(config=model.config)
    shared = _shared(sequences) if model.reads_chunks else 0
    if shared * (len(sequences) - 1) < (_WORTH_A_CALL_OF_CPU if model.device.type == "cpu" else _WORTH_A_CALL):
        shared = 0
    before = torch.ones((len(sequences), shared), dtype=torch.long, device=model.device)
    if shared:
        model.decoder(input_ids=_ids(sequences[0][:shared], model.device), past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(sequences))
    ids, rest = _padded([sequence[shared:] for sequence in sequences], model.device)
    seen = torch.cat([before, rest], dim=1)
    output = model.decoder(
        input_ids=ids,
        attention_mask=seen,
        position_ids=(seen.cumsum(1) - 1).clamp(min=0)[:, shared:],
        past_key_values=cache,
        use_cache=True,
    )
    return _Prefilled(sequences, model.head(output.last_hidden_state[:, -1]), output.past_key_values, seen)


def _shared(sequences: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all begin with, less what would leave one of them nothing else."""
    first, last = min(sequences), max(sequences)  # the two that differ soonest
    count = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return min(count, *(len(sequence) - 1 for sequence in sequences))


def _ids(tokens: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([tokens], dtype=torch.long, device=device)


def _padded(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids, padded on the left, and their attention mask; both (sequences, longest)."""
    width = max(len(sequence) for sequence in sequences)
    both = np.zeros((2, len(sequences), width), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        both[0, row, width - len(sequence) :] = sequence
        both[1, row, width - len(sequence) :] = 1
    ids, attention = torch.from_numpy(both).to(device)
    return ids, attention


def _at_least(smallest: int, count: int, halves: bool = False) -> int:
    """The smallest of `smallest`, twice that, and so on that holds `count`; with `halves`, or three halves of one."""
    while smallest < count:
        if halves and smallest * 3 // 2 >= count:
            return smallest * 3 // 2
        smallest *= 2
    return smallest
