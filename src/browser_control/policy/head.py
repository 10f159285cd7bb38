"""From hidden states to logits: the model's output layer, and the one factor or cap that some models apply behind it.

Granite divides its logits (`logits_scaling`), Cohere multiplies them (`logit_scale`), Gemma-2 caps them
(`final_logit_softcapping`). What a model does is found by comparing its logits with those of its output layer alone,
so that no list of models is kept here; the configuration is asked for the exact value.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from browser_control.errors import ConfigurationError


@dataclass(frozen=True)
class Behind:
    """What a model applies to the output of its last layer: y = x * scale, or y = cap * tanh(x / cap)."""

    scale: float | None = None
    cap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        if self.scale is not None:
            return logits * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


PLAIN = Behind()


class Head(torch.nn.Module):
    """An output layer in float32, and what is behind it.

    Rounded to bfloat16, logits of 20 are 0.06 off, which sampling and training would be in different directions.
    """

    def __init__(self, linear: Any, behind: Behind) -> None:
        super().__init__()
        self.linear = linear
        self.behind = behind
        self._frozen: Tensor | None = None  # the layer's weight in float32, where it is not trained

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.linear.weight
        return weight

    def forward(self, hidden: Tensor) -> Tensor:
        if hidden.dtype == torch.float32 or type(self.linear) is not torch.nn.Linear:
            return self.behind(self.linear(hidden))
        bias = None if self.linear.bias is None else self.linear.bias.float()
        return self.behind(linear(hidden.float(), self._exact(), bias))

    def _exact(self) -> Tensor:
        if self.weight.requires_grad:
            return self.weight.float()
        if self._frozen is None:
            with torch.inference_mode(False):  # training reads it too
                self._frozen = self.weight.detach().float()
        return self._frozen


def decoder(model: Any) -> Any:
    """What makes hidden states of tokens: all but the head, and without the eyes and ears of a multimodal model."""
    return model.get_decoder() if is_wrapped(model) else model.base_model


def is_wrapped(model: Any) -> bool:
    """Whether the language model is a part of a multimodal one."""
    return text_config(model) is not model.config


def text_config(model: Any) -> Any:
    """The configuration of the language model, which a multimodal one wraps."""
    return model.config.get_text_config()


@torch.inference_mode()
def infer(model: Any) -> Behind:
    """What `model` applies behind its output layer.

    Raises:
        ConfigurationError: it has no output layer of its own, or does more than scale or cap what that says.
    """
    if model.get_output_embeddings() is None:
        raise ConfigurationError(f"models of type {model.config.model_type!r} are not supported: there is no head")
    ids = torch.arange(8, device=model.device)[None]
    expected = model(input_ids=ids, use_cache=False).logits.float()
    found = model.get_output_embeddings()(decoder(model)(input_ids=ids, use_cache=False).last_hidden_state).float()
    candidates = list(_candidates(text_config(model), expected, found))
    errors = [(behind(found) - expected).abs().mean().item() for behind in candidates]
    near = 1.5 * min(errors) + 1e-7 * expected.abs().mean().item()
    behind = next((each for each, error in zip(candidates, errors, strict=True) if error <= near), PLAIN)
    if torch.allclose(expected, behind(found), atol=1e-2, rtol=1e-2):
        return behind
    raise ConfigurationError(
        f"models of type {model.config.model_type!r} are not supported: logits are post-processed, and not by one"
        " factor or one soft cap"
    )


def _candidates(config: Any, expected: Tensor, found: Tensor) -> Iterator[Behind]:
    """Nothing, what the configuration has a number for, and the factor that fits best."""
    yield PLAIN
    numbers = {name: float(value) for name, value in config.to_dict().items() if type(value) in (int, float) and value}
    yield from (Behind(cap=value) for name, value in numbers.items() if "cap" in name and "attn" not in name)
    for value in (value for name, value in numbers.items() if "logit" in name or "head_mult" in name):
        yield from (Behind(scale=value), Behind(scale=1 / value))
    yield Behind(scale=(expected * found).sum().item() / max((found * found).sum().item(), 1e-20))
