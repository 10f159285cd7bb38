"""Attention as sampling needs it: prompts one after another in a row, and few new tokens against a long cache.

Transformers calls the function of a model's attention by name, so that any model whose attention goes that way is
served. What is neither packed nor a step is left to its own `sdpa`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from browser_control.policy.tree import Part

_NAME = "browser_control"
_FEW = 16  # new tokens a row, up to which query heads are folded into rows
_HALF = (torch.bfloat16, torch.float16)  # what the kernel for sequences of different lengths takes
_AMPERE = (8, 0)  # the first GPUs that have it


@dataclass(frozen=True)
class _Packing:
    """Sequences in one row: `ends`, int32, shape (sequences + 1,), begins with 0; `longest` bounds their lengths."""

    ends: Tensor
    longest: int


@dataclass(frozen=True)
class _Stepping:
    """The same number of new tokens for each row, against a cache that rows fill from their first column on.

    Attributes:
        ends: of the rows' new tokens, one row after another, begins with 0; int32, shape (rows + 1,).
        begins: of the rows' columns, likewise.
        used: columns that a row has filled, its new tokens among them, int32, shape (rows,).
        columns: of a row.
        flashes: whether the kernel for different lengths serves; else the mask says what is seen.
    """

    ends: Tensor
    begins: Tensor
    used: Tensor
    columns: int
    flashes: bool


_branching: ContextVar[Sequence[Part] | None] = ContextVar("branching", default=None)
_packing: ContextVar[_Packing | None] = ContextVar("packing", default=None)
_stepping: ContextVar[_Stepping | None] = ContextVar("stepping", default=None)
_noted: ContextVar[list[int | None] | None] = ContextVar("noted", default=None)  # windows, layer by layer


def install(model: Any) -> bool:
    """Has `model`, a decoder, attend by `attend`; False where its attention is no `sdpa` that could be replaced."""
    implementation = getattr(model.config, "_attn_implementation", None)
    if implementation != "sdpa":
        return bool(implementation == _NAME)
    AttentionInterface.register(_NAME, attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    try:
        model.set_attn_implementation(_NAME)
    except ValueError:  # its attention is its own
        return False
    return bool(model.config._attn_implementation == _NAME)


@torch.no_grad()
def windows(model: Any) -> list[int | None]:
    """How many tokens a token sees in each layer of `model`, a decoder that attends by `attend`; None: all before it.

    Found by reading a few tokens, so that no list of models is kept here. Empty where that fails.
    """
    found: list[int | None] = []
    token = _noted.set(found)
    try:
        model(input_ids=torch.arange(2, device=next(model.parameters()).device)[None], use_cache=False)
    except (AttributeError, TypeError, ValueError, LookupError, RuntimeError):
        return []
    finally:
        _noted.reset(token)
    return found


@contextmanager
def branching(parts: Sequence[Part]) -> Iterator[None]:
    """Within, the queries are those of one row, in parts; what they see are places among the keys."""
    token = _branching.set(parts)
    try:
        yield
    finally:
        _branching.reset(token)


@contextmanager
def packed(ends: Tensor, longest: int) -> Iterator[None]:
    """Within, each row of queries is several sequences, none of which sees another."""
    token = _packing.set(_Packing(ends, longest))
    try:
        yield
    finally:
        _packing.reset(token)


@contextmanager
def stepping(ends: Tensor, begins: Tensor, used: Tensor, columns: int, flashes: bool) -> Iterator[None]:
    """Within, each row has some new tokens against its cache (`_Stepping`); without `flashes` the mask says so."""
    token = _stepping.set(_Stepping(ends, begins, used, columns, flashes))
    try:
        yield
    finally:
        _stepping.reset(token)


def flashes(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there is a kernel for sequences of different lengths."""
    return device.type == "cuda" and dtype in _HALF and torch.cuda.get_device_capability(device) >= _AMPERE


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface.

    Args:
        query: shape (rows, heads, new tokens, width).
        key: shape (rows, key heads, tokens, width); `value` too.
        attention_mask: shape (rows, 1, new tokens, tokens); ignored where sequences are packed or branch, and in steps
            that the kernel for different lengths serves.
        sliding_window: tokens that a token sees, itself among them; None: all before it.

    Returns:
        Shape (rows, new tokens, heads, width).
    """
    if (noted := _noted.get()) is not None:
        noted.append(sliding_window)
    if (parts := _branching.get()) is not None:
        return _branched(query, key, value, scaling, parts), None
    packing = _packing.get()
    if packing is not None:
        return _packed(query, key, value, scaling, packing, sliding_window), None
    steps = _stepping.get()
    if steps is not None and steps.flashes:
        return _stepped(query, key, value, scaling, steps, sliding_window), None
    if steps is not None and sliding_window is not None:
        assert attention_mask is not None
        attention_mask = _narrowed(attention_mask, sliding_window)
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and attention_mask is not None and query.shape[2] <= _FEW:
        seen = attention_mask[:, :, None].expand(-1, -1, groups, -1, -1).flatten(2, 3)
        return _folded(query, key, value, seen, scaling, groups), None
    made: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **more
    )
    return made


def _branched(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, parts: Sequence[Part]) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    made = []
    for part in parts:
        keys, values = (each[0].transpose(0, 1)[part.seen].transpose(0, 1)[None] for each in (key, value))
        asked = query[:, :, part.begin : part.end]
        made.append(_folded(asked, keys, values, part.folded(groups, query.dtype)[None, None], scaling, groups))
    return made[0] if len(made) == 1 else torch.cat(made, dim=1)


def _before(window: int | None) -> int:
    """Tokens before itself that a token sees, as the kernel takes it."""
    return -1 if window is None else window - 1


def _narrowed(mask: Tensor, window: int) -> Tensor:
    """A mask of rows that see their columns from the first on, less what is further back than the window."""
    last = (mask == 0).sum(-1, keepdim=True) - 1
    columns = torch.arange(mask.shape[-1], device=mask.device)
    return mask.masked_fill(columns <= last - window, float("-inf"))


def _packed(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, packing: _Packing, window: int | None
) -> Tensor:
    ends, longest = packing.ends, packing.longest
    grouped = query.shape[1] != key.shape[1]
    if flashes(query.device, query.dtype):
        one, two, three = (each.transpose(1, 2)[0] for each in (query, key, value))
        made: Tensor = varlen_attn(  # type: ignore[assignment]
            one,
            two,
            three,
            ends,
            ends,
            longest,
            longest,
            scale=scaling,
            window_size=(_before(window), 0),
            enable_gqa=grouped,
        )
        return made[None]
    place = torch.arange(query.shape[2], device=query.device)
    sequence = torch.searchsorted(ends[1:].long(), place, right=True)
    seen = (sequence[:, None] == sequence) & (place[:, None] >= place)
    if window is not None:
        seen &= place[:, None] - place < window
    out = scaled_dot_product_attention(query, key, value, seen, scale=scaling, enable_gqa=grouped)
    return out.transpose(1, 2)


def _stepped(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, steps: _Stepping, window: int | None
) -> Tensor:
    rows, _, new, _ = query.shape
    one, two, three = (each.transpose(1, 2).flatten(0, 1) for each in (query, key, value))
    made: Tensor = varlen_attn(  # type: ignore[assignment]
        one,
        two,
        three,
        steps.ends,
        steps.begins,
        new,
        steps.columns,
        scale=scaling,
        window_size=(_before(window), 0),
        enable_gqa=query.shape[1] != key.shape[1],
        seqused_k=steps.used,
    )
    return made.view(rows, new, *made.shape[1:])


def _folded(query: Tensor, key: Tensor, value: Tensor, seen: Tensor, scaling: float | None, groups: int) -> Tensor:
    """The query heads of one key head as further rows of queries: keys and values are read where they are.

    To repeat them for each query head, as is usual, costs more than all else of a step. `seen` is the mask of the
    rows of queries.
    """
    rows, heads, new, width = query.shape
    folded = query.reshape(rows, heads // groups, groups * new, width)
    out = scaled_dot_product_attention(folded, key, value, seen, scale=scaling)
    return out.reshape(rows, heads, new, -1).transpose(1, 2).contiguous()
