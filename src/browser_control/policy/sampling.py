"""Sampling: a batch of prompts in, one completion each out, with everything that training needs of how it was drawn.

A *decision* is a token that was sampled; a token that the action tree forces has probability 1 and is neither sampled
nor trained.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from browser_control.language import action_tree, prompts
from browser_control.language.action_tree import Mask, Matcher
from browser_control.policy.decoding import Reader
from browser_control.policy.devices import placed

_COMPACT_BELOW = 0.75  # finished rows are dropped from the batch when so few are left: dropping copies the cache


@dataclass(frozen=True)
class Request:
    """One completion that is wanted.

    `random` draws its decisions; None takes the most probable. `temperature` is that of the draw, where it is not the
    policy's own.
    """

    prompt: prompts.Prompt
    random: np.random.Generator | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Completion:
    """What was generated, exactly.

    `decisions` are the positions in `token_ids` that were sampled, `masks` what was admitted there (None: everything),
    `log_probs` the logarithms of the probabilities they were sampled with, mask and temperature applied; `temperature`
    is that of the request.
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    decisions: tuple[int, ...]
    masks: tuple[Mask | None, ...]
    log_probs: tuple[float, ...]
    text: str
    temperature: float | None = None

    @property
    def length(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.token_ids)


@dataclass
class Row:
    """A completion under way."""

    request: Request
    prompt_ids: tuple[int, ...]
    matcher: Matcher | None
    token_ids: list[int] = field(default_factory=list)
    decisions: list[int] = field(default_factory=list)
    masks: list[Mask | None] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)  # tokens the model has not read yet
    done: bool = False

    def force(self, longest: int) -> None:
        """Appends the tokens that the action tree leaves no choice about; `longest` tokens are the end."""
        if self.matcher is not None:
            tokens = self.matcher.forced()
            self.token_ids += tokens
            self.pending += tokens
            self.done = self.matcher.done
        if len(self.token_ids) >= longest:
            self.done = True


class Sampler:
    """Generates completions.

    Args:
        reader: reads tokens with the model.
        device: of the model.
        stops: tokens that end a free completion.
        filler: token that a row reads which has nothing to read.
        longest: tokens after which a completion is cut.
        temperature: of a draw, and of the log-probabilities that are kept, where its request names no other.
        vocabulary: width of the model's logits.
    """

    def __init__(
        self,
        reader: Reader,
        device: torch.device,
        stops: frozenset[int],
        filler: int,
        longest: int,
        temperature: float,
        vocabulary: int,
    ) -> None:
        self.reader = reader
        self._device = device
        self._stops = stops
        self._filler = filler
        self._longest = longest
        self._temperature = temperature
        self._vocabulary = vocabulary
        self.generated_tokens = 0
        self.prefilled_tokens = 0
        self.profile = False  # whether the GPU is waited for, so that each part's seconds are its own
        self.seconds = {"actions": 0.0, "prefill": 0.0, "decode": 0.0}  # all in all

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        if self.profile and self._device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds[part] += time.perf_counter() - began

    def generate(self, active: Sequence[Row]) -> None:
        """Goes on with rows that are not done until all are; equal prompts are read once."""
        with self.timed("prefill"):
            logits = self._prefill(active)
        while True:
            ready = [index for index, row in enumerate(active) if not row.pending and not row.done]
            if ready:
                asked = logits if len(ready) == len(active) else logits[self._placed(ready)]
                self._decide([active[index] for index in ready], asked)
            unfinished = [index for index, row in enumerate(active) if not row.done]
            if not unfinished:
                return
            if len(unfinished) <= (1.0 if self.reader.drops_freely else _COMPACT_BELOW) * len(active):
                self.reader.keep(unfinished)
                active = [active[index] for index in unfinished]
            with self.timed("decode"):
                logits = self._read(active)

    def _placed(self, numbers: Sequence[int]) -> Tensor:
        return placed(torch.tensor(numbers), self._device)

    def _prefill(self, rows: Sequence[Row]) -> Tensor:
        """Reads the prompts with what is forced after them; returns the logits after each row."""
        sequences = [row.prompt_ids + tuple(row.pending) for row in rows]
        for row in rows:
            row.pending.clear()
        self.prefilled_tokens += sum(len(sequence) for sequence in set(sequences))
        return self.reader.start(sequences, self._longest)

    def _decide(self, rows: Sequence[Row], logits: Tensor) -> None:
        """Picks the next token of each row, and appends what it forces."""
        matchers = [row.matcher for row in rows if row.matcher is not None]
        with self.timed("actions"):
            masks: Sequence[Mask | None] = action_tree.masks(matchers) if matchers else [None] * len(rows)
        log_probs = distribution(logits, masks, [row.request.temperature or self._temperature for row in rows])
        best = log_probs.argmax(1)
        draws = torch.tensor([row.request.random.random() if row.request.random else -1.0 for row in rows])
        draws = placed(draws, log_probs.device)
        cumulative = log_probs.exp().cumsum(1)
        points = draws[:, None].clamp(min=0) * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, points, right=True).squeeze(1).clamp(max=self._vocabulary - 1)
        # rounding can lead to a token of probability zero; the most probable one stands in
        drawn = torch.where(log_probs.gather(1, drawn[:, None]).squeeze(1).isinf(), best, drawn)
        chosen = torch.where(draws < 0, best, drawn)
        values = log_probs.gather(1, chosen[:, None]).squeeze(1)
        tokens, values = torch.stack((chosen.double(), values.double())).tolist()  # both exact: one wait for the GPU
        for row, mask, token, value in zip(rows, masks, map(int, tokens), values, strict=True):
            row.decisions.append(len(row.token_ids))
            row.masks.append(mask)
            row.log_probs.append(value)
            row.token_ids.append(token)
            row.pending.append(token)
            if row.matcher is not None:
                row.matcher.consume(token)
            elif token in self._stops:
                row.done = True
            row.force(self._longest)

    def _read(self, rows: Sequence[Row]) -> Tensor:
        """Reads pending tokens; a row that is done reads a token that nobody looks at."""
        width = self.reader.width
        tokens = [row.pending[:width] or [self._filler] for row in rows]
        for row in rows:
            row.pending = row.pending[width:]
        self.generated_tokens += sum(map(len, tokens))
        return self.reader.read(tokens)


def distribution(logits: Tensor, masks: Sequence[Mask | None], temperatures: Sequence[float]) -> Tensor:
    """Log-probabilities in float32, each row's temperature and mask applied; as `logits`, shape (rows, vocabulary)."""
    vocabulary = logits.shape[1]
    logits = logits.float() / _divisor(temperatures, logits.device)
    if any(mask is not None for mask in masks):
        packed = [_everything(vocabulary) if mask is None else mask for mask in masks]
        admitted = _unpack(placed(torch.from_numpy(np.stack(packed)), logits.device))
        logits = logits.masked_fill(~admitted[:, :vocabulary], float("-inf"))
    return logits.log_softmax(1)


def _divisor(temperatures: Sequence[float], device: torch.device) -> float | Tensor:
    if len(set(temperatures)) == 1:
        return temperatures[0]
    return placed(torch.tensor(temperatures, dtype=torch.float32), device)[:, None]


def entropies(log_probs: Tensor) -> Tensor:
    """Entropy of each row in nats, shape (rows,); what is not admitted has probability 0 and takes no part."""
    return -(log_probs.exp() * log_probs.masked_fill(log_probs.isinf(), 0.0)).sum(1)


def _unpack(masks: Tensor) -> Tensor:
    """Bits as booleans, shape (masks, 32 * words); the lowest bit comes first."""
    if masks.device.type == "cpu":
        return torch.from_numpy(np.unpackbits(masks.numpy().view(np.uint8), axis=1, bitorder="little")).bool()
    bits = torch.arange(32, device=masks.device, dtype=torch.int32)
    return (masks[:, :, None] >> bits & 1).bool().flatten(1)


def _everything(vocabulary: int) -> Mask:
    return np.full((vocabulary + 31) // 32, -1, dtype=np.int32)
