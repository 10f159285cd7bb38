"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): PEFT's layers and files, with a forward pass of our own."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch import Tensor
from torch.autograd.function import once_differentiable

from browser_control.configuration import Lora
from browser_control.errors import ConfigurationError
from browser_control.policy import head

_ADAPTER = "default"
_SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("w1", "w3"))  # names of layers with one input


class FusedLinear(Linear):
    """y = W x + s B A x with the sum inside the last matrix product, forward and backward.

    The adapter's float32 weights are rounded to the input's type where they are used. PEFT's own forward pass widens
    the input to float32 instead and adds in two more passes over the output: with bfloat16, most of a training step.
    """

    rounded: tuple[Tensor, Tensor] | None = None  # A and B in the base model's type, for inference
    siblings: "_Siblings | None" = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.disable_adapters or self.merged:
            return super().forward(x, *args, **kwargs)
        inferring = self.rounded is not None and torch.is_inference_mode_enabled()
        if self.siblings is not None:
            return self.siblings.output(self, x, inferring)
        if not inferring or self.rounded is None:
            [made] = _adapted(x, [self])
            return made
        base: Tensor = self.base_layer(x)
        down, up = self.rounded
        low = x.flatten(end_dim=-2) @ down.T
        return torch.addmm(base.flatten(end_dim=-2), low, up.T, alpha=self.scaling[_ADAPTER]).view_as(base)

    def weights(self) -> tuple[Tensor, Tensor]:
        """A, shape (rank, inputs), and B, shape (outputs, rank)."""
        return self.lora_A[_ADAPTER].get_parameter("weight"), self.lora_B[_ADAPTER].get_parameter("weight")


def _adapted(x: Tensor, layers: Sequence[FusedLinear]) -> tuple[Tensor, ...]:
    """What each of `layers`, which scale alike, makes of `x`, with gradient."""
    made: tuple[Tensor, ...] = _LowRank.apply(x, layers, *(each for layer in layers for each in layer.weights()))  # type: ignore[no-untyped-call]
    return made


class _LowRank(torch.autograd.Function):
    """Adapted layers that read the same input; what base and adapter make is added inside matrix products, both ways.

    Autograd's own rules take more kernels, and further passes over what a layer reads and makes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: Sequence[FusedLinear], *weights: Tensor) -> tuple[Tensor, ...]:
        rows = x.flatten(end_dim=-2)
        down = torch.cat(weights[::2]).to(x.dtype)  # A of all, one above another
        ups = [up.to(x.dtype) for up in weights[1::2]]
        low = rows @ down.T
        ctx.layers, ctx.ranks, ctx.scale = layers, [up.shape[1] for up in ups], layers[0].scaling[_ADAPTER]
        ctx.save_for_backward(rows, down, low, *ups)
        outputs = []
        for layer, up, part in zip(layers, ups, torch.split(low, ctx.ranks, dim=1), strict=True):
            made: Tensor = layer.get_base_layer()(x)
            made.view(-1, made.shape[-1]).addmm_(part, up.T, alpha=ctx.scale)
            outputs.append(made)  # no view of it, which nobody could change in place
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, down, low, *ups = ctx.saved_tensors
        of_low = torch.empty_like(low)
        of_x: Tensor | None = None
        of_ups = []
        parts = zip(torch.split(low, ctx.ranks, dim=1), torch.split(of_low, ctx.ranks, dim=1), strict=True)
        for layer, up, gradient, (part, of_part) in zip(ctx.layers, ups, gradients, parts, strict=True):
            gradient = gradient.flatten(end_dim=-2)
            torch.mm(gradient, up, out=of_part)
            of_ups.append(_product(gradient.T, part).mul_(ctx.scale))
            if ctx.needs_input_grad[0]:
                weight = layer.get_base_layer().weight
                of_x = gradient @ weight if of_x is None else of_x.addmm_(gradient, weight)
        of_downs = torch.split(_product(of_low.T, rows).mul_(ctx.scale), ctx.ranks)
        if of_x is not None:
            of_x = of_x.addmm_(of_low, down, alpha=ctx.scale).view(*gradients[0].shape[:-1], -1)
        return of_x, None, *(each for pair in zip(of_downs, of_ups, strict=True) for each in pair)


def _product(one: Tensor, other: Tensor) -> Tensor:
    """Their matrix product as float32: a GPU's is summed so anyway, a CPU's is rounded to their type before."""
    if one.is_cuda and one.dtype != torch.float32:
        return torch.mm(one, other, out_dtype=torch.float32)
    return (one @ other).float()


class _Siblings:
    """Layers that read the same input, such as those of queries, keys and values: it is read once for all.

    Their base weights become parts of one matrix, which inference reads as one.
    """

    def __init__(self, layers: Sequence[FusedLinear]) -> None:
        self._layers = list(layers)
        bases = [layer.get_base_layer() for layer in layers]
        self._weight = torch.cat([base.get_parameter("weight").detach() for base in bases])
        self._bias = (
            None if bases[0].bias is None else torch.cat([base.get_parameter("bias").detach() for base in bases])
        )
        self._parts = [base.get_parameter("weight").shape[0] for base in bases]
        self._down = self._weight.new_empty((sum(layer.r[_ADAPTER] for layer in layers), self._weight.shape[1]))
        for layer, base, weight in zip(layers, bases, torch.split(self._weight, self._parts), strict=True):
            base.get_parameter("weight").data = weight
            layer.siblings = self
        self._input: Tensor | None = None
        self._outputs: dict[FusedLinear, Tensor] = {}

    def output(self, layer: FusedLinear, x: Tensor, inferring: bool) -> Tensor:
        """What `layer` makes of `x`; made for all when the first of them asks."""
        if x is not self._input or layer not in self._outputs:
            every = self._made(x) if inferring else _adapted(x, self._layers)
            self._input, self._outputs = x, dict(zip(self._layers, every, strict=True))
        made = self._outputs.pop(layer)
        if not self._outputs:
            self._input = None
        return made

    def down_of(self, layer: FusedLinear) -> Tensor:
        """Where the rounded A of `layer` is kept."""
        ranks = [each.r[_ADAPTER] for each in self._layers]
        return torch.split(self._down, ranks)[self._layers.index(layer)]

    def _made(self, x: Tensor) -> tuple[Tensor, ...]:
        every = torch.nn.functional.linear(x, self._weight, self._bias)
        low = x.flatten(end_dim=-2) @ self._down.T
        parts = torch.split(every.flatten(end_dim=-2), self._parts, dim=1)
        lows = torch.split(low, [layer.r[_ADAPTER] for layer in self._layers], dim=1)
        for layer, part, each in zip(self._layers, parts, lows, strict=True):
            assert layer.rounded is not None
            part.addmm_(each, layer.rounded[1].T, alpha=layer.scaling[_ADAPTER])
        return torch.split(every, self._parts, dim=-1)


def _join(model: torch.nn.Module) -> None:
    """Makes siblings of the layers that transformers' models give the same input."""
    for module in model.modules():
        for names in _SIBLINGS:
            layers = [getattr(module, name, None) for name in names]
            bases = [layer.get_base_layer() for layer in layers if isinstance(layer, FusedLinear)]
            alike = {(base.in_features, base.bias is None, base.weight.dtype) for base in bases}
            if len(bases) == len(names) and len(alike) == 1:
                _Siblings([layer for layer in layers if isinstance(layer, FusedLinear)])


def fused(model: torch.nn.Module) -> list[FusedLinear]:
    """The layers of `model` that have an adapter."""
    return [module for module in model.modules() if isinstance(module, FusedLinear)]


def round_for_inference(layers: Sequence[FusedLinear]) -> bool:
    """Has inference read rounded copies of the adapter as it is now, which stay where they are in memory.

    Returns whether they may be others than before; on a GPU, which would have to be waited for, always true.
    """
    fresh = any(layer.rounded is None for layer in layers)
    for layer in layers:
        if layer.rounded is None:
            dtype = layer.get_base_layer().get_parameter("weight").dtype
            down, up = (torch.empty_like(weight, dtype=dtype) for weight in layer.weights())
            if layer.siblings is not None:
                down = layer.siblings.down_of(layer)
            layer.rounded = (down, up)
    exact = [weight for layer in layers for weight in layer.weights()]
    rounded = [weight for layer in layers for weight in layer.rounded or ()]
    if not fresh and all(
        old.device.type == "cpu" and old.equal(new.to(old.dtype)) for old, new in zip(rounded, exact, strict=True)
    ):
        return False
    torch._foreach_copy_(rounded, exact)
    return True


def adapt(model: Any, lora: Lora) -> Any:
    """`model` with a fresh adapter on all layers that `lora.targets` name, and nothing else to train.

    Of a multimodal model only the language model is adapted: nothing else is read, or has a gradient.

    Raises:
        ConfigurationError: a target names no linear layer, or one that PEFT refuses (`out_proj` of Mamba's).
    """
    places = {name: name.rpartition(".")[2] for name, module in _language(model) if isinstance(module, torch.nn.Linear)}
    linear = set(places.values())
    if unmatched := [target for target in lora.targets if target not in linear]:
        raise ConfigurationError(
            f"lora.targets: no linear layer of this model is called {unmatched[0]!r}; there are "
            + ", ".join(sorted(linear - {"lm_head"}))
        )
    targets = list(lora.targets)
    if head.is_wrapped(model):
        targets = [name for name, last in places.items() if last in targets]
    wanted = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, task_type="CAUSAL_LM")
    wanted._register_custom_module({torch.nn.Linear: FusedLinear})
    with warnings.catch_warnings():  # peft 0.21 reads an attribute that transformers 5.23 renamed
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        try:
            adapted = get_peft_model(model, wanted, autocast_adapter_dtype=True).eval()
        except ValueError as error:
            raise ConfigurationError(f"lora.targets: {str(error).splitlines()[0]}") from error
    _join(adapted)
    return adapted


def _language(model: Any) -> Iterator[tuple[str, Any]]:
    """The modules of a model by name, without the eyes and ears of a multimodal one."""
    within = {id(module) for module in head.decoder(model).modules()} | {id(model.get_output_embeddings())}
    for name, module in model.named_modules():
        if id(module) in within or not head.is_wrapped(model):
            yield name, module
