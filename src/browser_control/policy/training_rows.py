"""Training's reading of completions one after another in a single row, recorded as CUDA graphs.

To launch the kernels of a small model takes several times as long as they run. So the forward pass of a row and its
backward pass are recorded once for each of a few shapes, and replayed. Rows are filled with sequences that nothing
is decided in: what no attention wrote may be no number, and a gradient of 0 of it is none either.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from browser_control.policy import attention, packing
from browser_control.policy.decoding import Model
from browser_control.policy.devices import placed
from browser_control.policy.sampling import Completion

LONGEST = 16384  # tokens of a row that is filled up; activations of more take much memory, and gain nothing
WORTH_SHARING = 8192  # tokens of prompts read once, for which completions are read in the other way, padded
_STEPS = (1024, 2048)  # lengths of short rows and of long ones are multiples of them
_SHORT = 4096
_SEQUENCES, _DECISIONS, _SEQUENCE = 64, 256, 512  # least numbers, doubled until they suffice
_SHAPES = 32  # recorded at a time


class TrainingRows:
    """Reads completions, with gradient.

    Attributes:
        readings: that were begun or whose gradient was taken; what a gradient needs lasts until the next.

    Args:
        model: that is trained; a token has to see all before it, and nothing else.
        parameters: that have a gradient.
        graphs: record the passes as CUDA graphs.
    """

    def __init__(self, model: Model, parameters: Sequence[Tensor], graphs: bool) -> None:
        self._model = model
        self._parameters = list(parameters)
        self._graphs = graphs
        self._rows: OrderedDict[tuple[int, ...], _Row] = OrderedDict()
        self._pool: Any = None  # of all rows: what one of them keeps between its passes, another may overwrite
        self.readings = 0
        self._sums: list[Tensor] = []  # where gradients are summed; the same memory for each step

    def read(self, completions: Sequence[Completion]) -> Tensor:
        """The last layer's states behind which each decision was made, one after another, shape (decisions, width).

        With graphs, the gradient has to be asked for before the next call.
        """
        shape = _shape(completions)
        if not self._graphs or not torch.is_grad_enabled() or (row := self._recorded(shape)) is None:
            row = _Row(self._model, *shape)
            row.fill(completions)
            return row.forward()[: row.decisions]
        row.fill(completions)
        self.readings += 1
        hook = torch.zeros((), device=self._model.device, requires_grad=True)
        made: Tensor = _Replay.apply(hook, row, self)  # type: ignore[no-untyped-call]
        return made

    def _recorded(self, shape: tuple[int, int, int, int]) -> "_Row | None":
        """The row of a shape; None where this model's passes cannot be recorded, which is said once."""
        if shape not in self._rows:
            if shape[0] > max((each[0] for each in self._rows), default=0):
                self._rows.clear()  # a pool has no room for a larger row in that of smaller ones
                self._pool = torch.cuda.graph_pool_handle()
            if len(self._rows) == _SHAPES:
                self._rows.popitem(last=False)
            row = _Row(self._model, *shape)
            try:
                row.record(self._parameters, self._pool)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                words = (str(error).strip().splitlines() or [type(error).__name__])[0]
                print(f"training goes on without CUDA graphs, slower: they cannot be recorded ({words})", flush=True)
                self._graphs = False
                return None
            self._rows[shape] = row
        self._rows.move_to_end(shape)
        return self._rows[shape]

    def add(self, gradients: Sequence[Tensor | None]) -> None:
        """Adds to the gradients of the parameters, whose own memory `gradients` is not."""
        pairs = [(each, new) for each, new in zip(self._parameters, gradients, strict=True) if new is not None]
        if not self._sums:
            self._sums = [torch.empty_like(each) for each, _ in pairs]
        begun = [(each.grad, new) for each, new in pairs if each.grad is not None]
        fresh = [(each, sum_, new) for (each, new), sum_ in zip(pairs, self._sums, strict=True) if each.grad is None]
        if begun:
            torch._foreach_add_([each for each, _ in begun], [new for _, new in begun])
        if fresh:
            torch._foreach_copy_([sum_ for _, sum_, _ in fresh], [new for _, _, new in fresh])
            for each, sum_, _ in fresh:
                each.grad = sum_


class _Replay(torch.autograd.Function):
    """The recorded passes of a row; its gradients go to the parameters directly."""

    @staticmethod
    def forward(ctx: Any, hook: Tensor, row: "_Row", rows: TrainingRows) -> Tensor:
        ctx.row, ctx.rows, ctx.readings = row, rows, rows.readings
        return row.replay()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        if ctx.readings != ctx.rows.readings:
            raise RuntimeError(
                "other completions were read before this gradient was asked for, or it was taken already"
            )
        ctx.rows.readings += 1
        ctx.rows.add(ctx.row.replay_backward(gradients[0]))
        return None, None, None


class _Row:
    """Passes over a row of one shape.

    Attributes:
        decisions: how many of its places are in use.
    """

    def __init__(self, model: Model, tokens: int, longest: int, sequences: int, decisions: int) -> None:
        device = model.device
        self._model = model
        self._longest = longest
        self._inputs = torch.zeros((2, tokens), dtype=torch.long, device=device)  # ids and positions
        self._ends = torch.zeros(sequences + 1, dtype=torch.int32, device=device)
        self._before = torch.zeros(decisions, dtype=torch.long, device=device)  # the column before each
        self._no_mask = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=device)  # keeps transformers from making one
        self.decisions = 0
        self._forward_graph: Any = None
        self._backward_graph: Any = None

    def fill(self, completions: Sequence[Completion]) -> None:
        """Takes what is to be read."""
        tokens, sequences = self._inputs.shape[1], self._ends.shape[0] - 1
        lengths = [packing.length([each]) for each in completions]
        left = tokens - sum(lengths)
        fillers = [min(self._longest, left - begin) for begin in range(0, left, self._longest)]
        ends = list(accumulate(chain(lengths, fillers)))
        ends += [tokens] * (sequences - len(ends))
        inputs = np.zeros((2, tokens), dtype=np.int64)
        before = np.zeros(self._before.shape, dtype=np.int64)
        number = 0
        for completion, end, length in zip(completions, ends, lengths, strict=False):
            begin = end - length
            inputs[0, begin:end] = (completion.prompt_ids + completion.token_ids)[:length]
            count = len(completion.decisions)
            before[number : number + count] = begin + len(completion.prompt_ids) - 1 + np.array(completion.decisions)
            number += count
        begins = np.array([0, *ends[:-1]])
        inputs[1] = np.arange(tokens) - np.repeat(begins, np.diff([0, *ends]))
        device = self._inputs.device
        self._inputs.copy_(placed(torch.from_numpy(inputs), device))
        self._ends[1:].copy_(placed(torch.tensor(ends, dtype=torch.int32), device))
        self._before.copy_(placed(torch.from_numpy(before), device))
        self.decisions = number

    def forward(self) -> Tensor:
        """States at all places, in use or not."""
        with attention.packed(self._ends, self._longest):
            output = self._model.decoder(
                input_ids=self._inputs[:1],
                attention_mask=self._no_mask,
                position_ids=self._inputs[1:],
                use_cache=False,
            )
        states: Tensor = output.last_hidden_state[0, self._before]
        return states

    def record(self, parameters: Sequence[Tensor], pool: Any) -> None:
        """Warms up on a side stream, as CUDA graphs demand, and records both passes."""
        begins = range(0, self._inputs.shape[1], self._longest)
        ends = [min(begin + self._longest, self._inputs.shape[1]) for begin in begins]
        ends += ends[-1:] * (self._ends.shape[0] - 1 - len(ends))
        self._ends[1:].copy_(torch.tensor(ends, dtype=torch.int32))
        with torch.enable_grad(), _replaced(self._model.decoder, parameters) as leaves:
            stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                found = self.forward()
                self._weights = torch.zeros_like(found)
                torch.autograd.grad(found, leaves, self._weights, allow_unused=True)
                del found  # with it go the leaves' nodes, which are of this stream
            torch.cuda.current_stream().wait_stream(stream)
            self._forward_graph, self._backward_graph = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._forward_graph, pool=pool):
                found = self.forward()
            with torch.cuda.graph(self._backward_graph, pool=pool):
                self._gradients = torch.autograd.grad(found, leaves, self._weights, allow_unused=True)
        self._found = found.detach()

    def replay(self) -> Tensor:
        self._forward_graph.replay()
        return self._found[: self.decisions].clone()

    def replay_backward(self, weights: Tensor) -> Sequence[Tensor | None]:
        """Gradients of the parameters, until the next replay of any row."""
        self._weights.zero_()
        self._weights[: self.decisions].copy_(weights)
        self._backward_graph.replay()
        return self._gradients


@contextmanager
def _replaced(module: torch.nn.Module, parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Within, the module has others in the place of its parameters, of the same memory: leaves that nobody knows.

    Where a gradient of the parameters themselves is under way, it belongs to another stream, which no recording bears.
    """
    stand_ins = {id(each): torch.nn.Parameter(each.detach()) for each in parameters}
    places = [
        (owner, name, each)
        for owner in module.modules()
        for name, each in owner._parameters.items()
        if id(each) in stand_ins
    ]
    try:
        for owner, name, each in places:
            owner._parameters[name] = stand_ins[id(each)]
        yield list(stand_ins.values())
    finally:
        for owner, name, each in places:
            owner._parameters[name] = each


def _shape(completions: Sequence[Completion]) -> tuple[int, int, int, int]:
    """Tokens of a row, of its longest sequence at most, sequences and decisions, of which there are few values."""
    lengths = [packing.length([each]) for each in completions]
    longest = _at_least(_SEQUENCE, max(lengths))
    step = _STEPS[sum(lengths) > _SHORT]
    tokens = -(-sum(lengths) // step) * step
    sequences = _at_least(_SEQUENCES, len(lengths) + -(-step // longest))
    return tokens, longest, sequences, _at_least(_DECISIONS, sum(len(each.decisions) for each in completions))


def _at_least(least: int, wanted: int) -> int:
    while least < wanted:
        least *= 2
    return least
