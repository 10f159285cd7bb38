"""The policy: a causal language model that picks actions, and the log-probabilities it picked them with.

`Policy.act` samples one completion a prompt; `Policy.log_probs` computes, for training, the log-probability of each
decision of such completions under the very masks that were applied. A *decision* is a token that was sampled; a token
that the grammar forces has probability 1 and is neither sampled nor trained.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from browser_control import grammar, packing, prompts
from browser_control.actions import Action
from browser_control.adapter import adapt, round_for_inference
from browser_control.configuration import Configuration
from browser_control.decoding import DynamicReader, Model, Reader, StaticReader
from browser_control.errors import ConfigurationError
from browser_control.grammar import Grammar, Mask, Matcher, encode_action

_COMPACT_BELOW = 0.75  # finished rows are dropped from the batch when so few are left: dropping copies the cache


@dataclass(frozen=True)
class Request:
    """One completion that is wanted. `random` draws its decisions; None takes the most probable."""

    prompt: prompts.Prompt
    random: np.random.Generator | None = None


@dataclass(frozen=True)
class Completion:
    """What was generated, exactly.

    `decisions` are the positions in `token_ids` that were sampled, `masks` what was admitted there (None: everything),
    `log_probs` the logarithms of the probabilities they were sampled with, mask and temperature applied.
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    decisions: tuple[int, ...]
    masks: tuple[Mask | None, ...]
    log_probs: tuple[float, ...]
    text: str

    @property
    def length(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.token_ids)


@dataclass
class _Row:
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


class Policy:
    """A base model, its adapter, its tokenizer and its grammar."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerFast, configuration: Configuration) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.settings = configuration.policy
        self.temperature = configuration.training.temperature
        self.vocabulary: int = model.get_output_embeddings().weight.shape[0]
        self.grammar = Grammar(
            tokenizer,
            self.vocabulary,
            self.settings.actions,
            self.settings.action_format,
            self.settings.max_text_characters,
        )
        self.generated_tokens = 0
        self.prefilled_tokens = 0
        self.seconds = {"grammar": 0.0, "prefill": 0.0, "decode": 0.0}  # of `act`, all in all
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._causal = Model(causal.base_model, causal.get_output_embeddings(), model.config)
        on_gpu = self.device.type == "cuda"
        static = on_gpu and self._causal.attends_fully
        self._reader: Reader = StaticReader(self._causal, graphs=True) if static else DynamicReader(self._causal)
        self._chat = _chat_pieces(tokenizer)
        self._stops = _stop_tokens(model, tokenizer)

    @property
    def device(self) -> torch.device:
        return self._causal.device

    @property
    def shares_prompts(self) -> bool:
        """Whether training reads a prompt once for all its completions."""
        return self._causal.reads_chunks

    def prompt_ids(self, text: str) -> tuple[int, ...]:
        """The tokens of a chat whose user says `text`, up to where the assistant begins."""
        before, after = self._chat
        return tuple(self.tokenizer.encode(before + text + after, add_special_tokens=False))

    def count_tokens(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    @torch.inference_mode()
    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """Generates one completion for each request; equal prompts are read once."""
        if not requests:
            return []
        with self._timed("grammar"):
            rows = [self._open(request) for request in requests]
        active = [row for row in rows if not row.done]
        if not active:  # each page offered a single action
            return [self._close(row) for row in rows]
        with self._timed("prefill"):
            round_for_inference(self.model)
            logits = self._prefill(active)
        while True:
            ready = [index for index, row in enumerate(active) if not row.pending and not row.done]
            if ready:
                self._decide([active[index] for index in ready], logits[ready])
            unfinished = [index for index, row in enumerate(active) if not row.done]
            if not unfinished:
                return [self._close(row) for row in rows]
            if len(unfinished) <= _COMPACT_BELOW * len(active):
                self._reader.keep(unfinished)
                active = [active[index] for index in unfinished]
            with self._timed("decode"):
                logits = self._read(active)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds[part] += time.perf_counter() - began

    def imitate(self, prompt: prompts.Prompt, action: Action) -> Completion:
        """The completion that says `action`, as `act` would have generated it; log-probabilities are left at 0.

        Raises:
            ValueError: the page's grammar does not admit the action.
        """
        tokens = encode_action(action, prompt.elements, self.settings.action_format, self.tokenizer)
        row = self._open(Request(prompt))
        if row.matcher is None:
            row.token_ids = [*tokens, self.tokenizer.eos_token_id]
            row.decisions = list(range(len(row.token_ids)))
            row.masks = [None] * len(row.token_ids)
        else:
            self._follow(row, row.matcher, tokens)
        row.log_probs = [0.0] * len(row.decisions)
        return self._close(row)

    def _follow(self, row: _Row, matcher: Matcher, tokens: Sequence[int]) -> None:
        """Takes `tokens` for the decisions of `row`."""
        while not row.done:
            position = len(row.token_ids)
            if row.token_ids != list(tokens[:position]) or position == len(tokens):
                break
            row.decisions.append(position)
            row.masks.append(matcher.mask())
            row.token_ids.append(tokens[position])
            matcher.consume(tokens[position])
            self._force(row)
        if row.token_ids != list(tokens) or not matcher.done:
            raise ValueError(f"not an action of this page: {self.tokenizer.decode(list(tokens))!r}")

    def log_probs(self, completions: Sequence[Completion]) -> Tensor:
        """Log-probabilities of all decisions, one after another, shape (decisions,), with gradient.

        Completions of one prompt share its reading, where the model can (`packing`). Padding is on the right, so that
        no position depends on what the batch is made of. Every completion needs a decision.
        """
        packed = packing.pack(completions, self.shares_prompts)
        output = self._causal.decoder(
            input_ids=packed.ids.to(self.device),
            attention_mask=packed.attention.to(self.device),
            position_ids=packed.positions.to(self.device),
            use_cache=False,
        )
        rows, columns = packed.where.to(self.device)
        logits = self._causal.head(output.last_hidden_state[rows, columns])
        chosen = torch.tensor(
            [completion.token_ids[position] for completion in completions for position in completion.decisions],
            device=self.device,
        )
        masks = [mask for completion in completions for mask in completion.masks]
        return self._distribution(logits, masks).gather(1, chosen[:, None]).squeeze(1)

    def _open(self, request: Request) -> _Row:
        constrained = self.settings.decoding == "constrained"
        row = _Row(
            request,
            self.prompt_ids(request.prompt.text),
            self.grammar.matcher(request.prompt.elements) if constrained else None,
        )
        self._force(row)
        return row

    def _force(self, row: _Row) -> None:
        """Appends the tokens that the grammar leaves no choice about."""
        if row.matcher is not None:
            tokens = row.matcher.forced()
            row.token_ids += tokens
            row.pending += tokens
            row.done = row.matcher.done
        if len(row.token_ids) >= self.settings.max_action_tokens:
            row.done = True

    def _prefill(self, rows: Sequence[_Row]) -> Tensor:
        """Reads the prompts with what is forced behind them; returns the logits behind each row."""
        sequences = [row.prompt_ids + tuple(row.pending) for row in rows]
        for row in rows:
            row.pending.clear()
        self.prefilled_tokens += sum(len(sequence) for sequence in set(sequences))
        return self._reader.start(sequences, self.settings.max_action_tokens)

    def _decide(self, rows: Sequence[_Row], logits: Tensor) -> None:
        """Picks the next token of each row, and appends what it forces."""
        matchers = [row.matcher for row in rows if row.matcher is not None]
        with self._timed("grammar"):
            masks: Sequence[Mask | None] = grammar.masks(matchers) if matchers else [None] * len(rows)
        log_probs = self._distribution(logits, masks)
        best = log_probs.argmax(1)
        draws = torch.tensor([row.request.random.random() if row.request.random else -1.0 for row in rows])
        cumulative = log_probs.exp().cumsum(1)
        points = draws.to(cumulative.device, cumulative.dtype)[:, None].clamp(min=0) * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, points, right=True).squeeze(1).clamp(max=self.vocabulary - 1)
        # rounding can lead to a token of probability zero; the most probable one stands in
        drawn = torch.where(log_probs.gather(1, drawn[:, None]).squeeze(1).isinf(), best, drawn)
        chosen = torch.where(draws.to(drawn.device) < 0, best, drawn)
        values = log_probs.gather(1, chosen[:, None]).squeeze(1).tolist()
        for row, mask, token, value in zip(rows, masks, chosen.tolist(), values, strict=True):
            row.decisions.append(len(row.token_ids))
            row.masks.append(mask)
            row.log_probs.append(value)
            row.token_ids.append(token)
            row.pending.append(token)
            if row.matcher is not None:
                row.matcher.consume(token)
            elif token in self._stops:
                row.done = True
            self._force(row)

    def _read(self, rows: Sequence[_Row]) -> Tensor:
        """Reads pending tokens; a row that is done reads a token that nobody looks at."""
        width = self._reader.width
        tokens = [row.pending[:width] or [self.tokenizer.eos_token_id] for row in rows]
        for row in rows:
            row.pending = row.pending[width:]
        self.generated_tokens += sum(map(len, tokens))
        return self._reader.read(tokens)

    def _distribution(self, logits: Tensor, masks: Sequence[Mask | None]) -> Tensor:
        """Log-probabilities over the vocabulary, float32, with temperature and masks applied."""
        logits = logits.float() / self.temperature
        if any(mask is not None for mask in masks):
            packed = [_everything(self.vocabulary) if mask is None else mask for mask in masks]
            admitted = _unpack(torch.from_numpy(np.stack(packed)).to(logits.device))
            logits = logits.masked_fill(~admitted[:, : self.vocabulary], float("-inf"))
        return logits.log_softmax(1)

    def _close(self, row: _Row) -> Completion:
        tokens = [token for token in row.token_ids if token not in self._stops]
        return Completion(
            prompt_ids=row.prompt_ids,
            token_ids=tuple(row.token_ids),
            decisions=tuple(row.decisions),
            masks=tuple(row.masks),
            log_probs=tuple(row.log_probs),
            text=str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip(),
        )


def load(configuration: Configuration, folder: Path) -> Policy:
    """The policy with a fresh adapter, its weights drawn from `configuration.seed`.

    Args:
        configuration: of the run.
        folder: of the base model, in Hugging Face's layout.

    Raises:
        ConfigurationError: an adapter's target matches no linear layer, no GPU where one is asked for, or a model
            whose logits are more than its head applied to its last hidden state.
    """
    torch.manual_seed(configuration.seed)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, configuration.model.dtype))
    model.to(_device(configuration.model.device)).eval()  # dropout off: the policy trained is the policy that acted
    _check_head(model)
    _fuse_norms(model)
    if configuration.lora is not None:
        model = adapt(model, configuration.lora)
    return Policy(model, tokenizer, configuration)


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("model.device is cuda, but PyTorch finds no GPU; set model.device=cpu to go without")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


@torch.no_grad()
def _fuse_norms(model: torch.nn.Module) -> None:
    """Puts PyTorch's own layer, one kernel on a GPU, where the model's RMS norm computes the same in seven."""
    for name, module in list(model.named_modules()):
        eps = getattr(module, "variance_epsilon", None)
        if not type(module).__name__.endswith("RMSNorm") or eps is None:
            continue
        weight = module.get_parameter("weight")
        fused = torch.nn.RMSNorm(weight.shape[0], eps=eps, device=weight.device, dtype=weight.dtype)
        fused.weight = weight
        sample = torch.linspace(-2, 2, weight.shape[0], device=weight.device, dtype=weight.dtype)
        if torch.allclose(fused(sample).float(), module(sample).float(), atol=1e-2, rtol=1e-2):
            model.set_submodule(name, fused)


@torch.inference_mode()
def _check_head(model: Any) -> None:
    """Refuses models that scale or cap their logits behind the head, since `Policy` applies the head itself."""
    ids = torch.arange(8, device=model.device)[None]
    expected = model(input_ids=ids).logits
    found = model.get_output_embeddings()(model.base_model(input_ids=ids).last_hidden_state)
    if not torch.allclose(expected.float(), found.float(), atol=1e-2, rtol=1e-2):
        raise ConfigurationError(
            f"models of type {model.config.model_type!r} are not supported: logits are post-processed"
        )


def _unpack(masks: Tensor) -> Tensor:
    """Bits as booleans, shape (masks, 32 * words); the lowest bit comes first."""
    if masks.device.type == "cpu":
        return torch.from_numpy(np.unpackbits(masks.numpy().view(np.uint8), axis=1, bitorder="little")).bool()
    bits = torch.arange(32, device=masks.device, dtype=torch.int32)
    return (masks[:, :, None] >> bits & 1).bool().flatten(1)


def _everything(vocabulary: int) -> Mask:
    return np.full((vocabulary + 31) // 32, -1, dtype=np.int32)


def _stop_tokens(model: Any, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """Tokens that end a free completion: whatever the model or its tokenizer calls the end, and a line break."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    listed = configured if isinstance(configured, list) else [configured]
    newline = tokenizer.encode("\n", add_special_tokens=False)
    return frozenset(
        token
        for token in [*listed, tokenizer.eos_token_id, *(newline if len(newline) == 1 else [])]
        if token is not None
    )


def _chat_pieces(tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    """What the tokenizer's chat template puts before and behind the user's words; plain text where it has none."""
    marker = "\x00"
    if not tokenizer.chat_template:
        return f"{prompts.SYSTEM}\n\n", "\nAction: "
    chat = [{"role": "system", "content": prompts.SYSTEM}, {"role": "user", "content": marker}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    before, _, after = str(text).partition(marker)
    return before, after
