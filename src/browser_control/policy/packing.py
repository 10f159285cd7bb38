"""Completions behind the prompt they share, in one row, so that the prompt is read once.

    prompt  a b c | d e | f g h

Each completion sees the prompt and itself, at the positions that it has behind the prompt alone, so that its
log-probabilities are those of a row of its own. The members of a GRPO group share their first prompt: with eight of
them, most of a step's tokens are the same prompt again. What stands behind a completion's last decision is not read.

A convolution sees its neighbours in the row, whoever they are: such models read one completion a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_LONGEST = 4096  # tokens of a row that holds several completions: its attention mask grows with their square


class Completion(Protocol):
    """What is needed of `policy.Completion`."""

    @property
    def prompt_ids(self) -> tuple[int, ...]: ...

    @property
    def token_ids(self) -> tuple[int, ...]: ...

    @property
    def decisions(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Packed:
    """Rows of tokens, padded on the right.

    Attributes:
        ids, positions: shape (rows, width).
        attention: what each token sees, shape (rows, 1, width, width); or which are no padding, shape (rows, width).
        where: row and column behind which each decision was made, completion by completion, shape (2, decisions).
    """

    ids: Tensor
    positions: Tensor
    attention: Tensor
    where: Tensor


def rows(completions: Sequence[Completion], share: bool) -> list[list[int]]:
    """Indices of the completions of each row: those of one prompt together, if they may `share` it."""
    if not share:
        return [[index] for index in range(len(completions))]
    made: list[list[int]] = []
    open_rows: dict[tuple[int, ...], tuple[list[int], int]] = {}
    for index, completion in enumerate(completions):
        row, length = open_rows.get(completion.prompt_ids, ([], len(completion.prompt_ids)))
        length += _read(completion)
        if not row or length > _LONGEST:
            row, length = [], len(completion.prompt_ids) + _read(completion)
            made.append(row)
        row.append(index)
        open_rows[completion.prompt_ids] = row, length
    return made


def saved(completions: Sequence[Completion], rows: Sequence[Sequence[int]]) -> int:
    """Tokens that are not read again, since rows share their prompt."""
    return sum(len(completions[row[0]].prompt_ids) * (len(row) - 1) for row in rows)


def length(completions: Sequence[Completion]) -> int:
    """Tokens of a row that holds these completions of one prompt."""
    return len(completions[0].prompt_ids) + sum(map(_read, completions))


def pack(completions: Sequence[Completion], share: bool, device: torch.device | None = None) -> Packed:
    """Lays out `rows(completions, share)`; masks are made on the `device`, since they grow with the square of a row."""
    laid = rows(completions, share)
    width = max(length([completions[index] for index in row]) for row in laid)
    ids = torch.zeros((len(laid), width), dtype=torch.long)
    positions = torch.zeros_like(ids)
    part = torch.full_like(ids, -1)  # 0 for the prompt, n for the n-th completion of the row, -1 for padding
    where: dict[int, list[tuple[int, int]]] = {}
    for number, row in enumerate(laid):
        prompt = completions[row[0]].prompt_ids
        ids[number, : len(prompt)] = torch.tensor(prompt)
        positions[number, : len(prompt)] = torch.arange(len(prompt))
        part[number, : len(prompt)] = 0
        end = len(prompt)
        for place, index in enumerate(row, start=1):
            completion, start = completions[index], end
            end += _read(completion)
            ids[number, start:end] = torch.tensor(completion.token_ids[: end - start], dtype=torch.long)
            positions[number, start:end] = len(prompt) + torch.arange(end - start)
            part[number, start:end] = place
            before = [start + decision - 1 if decision else len(prompt) - 1 for decision in completion.decisions]
            where[index] = [(number, column) for column in before]
    ordered = [place for index in range(len(completions)) for place in where[index]]
    part = part.to(device)
    attention = _visible(part) if share else (part >= 0).long()
    return Packed(ids.to(device), positions.to(device), attention, torch.tensor(ordered).T.to(device))


def read(completion: Completion) -> tuple[int, ...]:
    """The tokens that are read of a completion and its prompt."""
    return completion.prompt_ids + completion.token_ids[: _read(completion)]


def _read(completion: Completion) -> int:
    """Tokens of a completion that something is decided behind."""
    return completion.decisions[-1]


def _visible(part: Tensor) -> Tensor:
    """A token sees the prompt and its own completion up to itself; padding sees itself, since a softmax needs one."""
    causal = torch.ones(part.shape[1], part.shape[1], dtype=torch.bool, device=part.device).tril()
    seen, by = part[:, None, :], part[:, :, None]
    visible = causal & ((seen == 0) | (seen == by)) & (by >= 0)
    return (visible | torch.eye(part.shape[1], dtype=torch.bool, device=part.device))[:, None]
