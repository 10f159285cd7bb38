"""The policy: a causal language model that picks actions, and the log-probabilities it picked them with.

`Policy.act` samples one completion a prompt; `Policy.log_probs` computes, for training, the log-probability of each
decision of such completions under the very masks that were applied.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from browser_control import drivers, gpus
from browser_control.configuration import Configuration
from browser_control.errors import ConfigurationError, ModelUnavailable
from browser_control.language import prompts
from browser_control.language.action_tree import ActionTrees, Matcher
from browser_control.language.actions import Action
from browser_control.language.tokens import plain
from browser_control.policy import attention, chat, head, packing, self_check, tokenization, training_rows, tree
from browser_control.policy.adapter import adapt, fused, round_for_inference
from browser_control.policy.decoding import DynamicReader, Model, Reader, StaticReader
from browser_control.policy.devices import placed
from browser_control.policy.identity import Base, identify
from browser_control.policy.sampling import Completion, Request, Row, Sampler, distribution, entropies
from browser_control.policy.training_rows import TrainingRows
from browser_control.policy.tree_reader import TreeReader

_PROMPTS = 8192  # whose tokens are kept
_LINE = 1024  # characters of a text whose number of tokens is kept


class Policy:
    """A base model, its adapter, its tokenizer and the actions that pages offer it.

    Attributes:
        branches: whether what sequences begin with alike is read once (`tree`), in sampling and in training.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerFast,
        configuration: Configuration,
        base: Base,
        behind: head.Behind = head.PLAIN,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.base = base
        self.settings = configuration.policy
        self.temperature = configuration.training.temperature
        self.vocabulary: int = model.get_output_embeddings().weight.shape[0]
        around = chat.pieces(tokenizer)
        if around.dated:
            print(f"the model's chat template writes the date: it is always {chat.TODAY}", flush=True)
        self._before = tuple(tokenizer.encode(around.before, add_special_tokens=False))  # the start of a text
        tokenization.read_as_it_stands(tokenizer)
        self._after = tuple(tokenizer.encode(around.after, add_special_tokens=False))
        self.actions = ActionTrees(
            tokenizer,
            self.vocabulary,
            self.settings.actions,
            self.settings.action_format,
            self.settings.max_text_characters,
        )
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        outputs = causal.get_output_embeddings()
        self._causal = Model(
            head.decoder(causal),
            head.Head(outputs, behind),
            head.text_config(causal),
        )
        if self.device.type == "cuda":
            self._causal.find_windows()
        static = self.device.type == "cuda" and self._causal.steps_fixed
        if static:
            torch.backends.cuda.enable_cudnn_sdp(
                False
            )  # it plans anew for each shape, which takes longer than it saves
        self.branches = (
            self.device.type == "cpu" and self._causal.reads_chunks and attention.install(self._causal.decoder)
        )
        reader: Reader = StaticReader(self._causal, graphs=True) if static else self._growing()
        self._rows = self._training_rows(graphs=True) if static and self._causal.reads_chunks else None
        self._adapted = fused(model)
        self._stops = chat.stop_tokens(model, tokenizer)
        # pages are seen again and again: by the members of a group, and turn after turn
        self._prompts: OrderedDict[str, tuple[int, ...]] = OrderedDict()  # their tokens
        self._reading = RLock()  # of the prompts: they are read ahead by another thread
        self._counts = lru_cache(maxsize=65_536)(self._count_tokens)
        self.sampler = self._sampler(reader, self.settings.max_action_tokens)

    def _growing(self) -> Reader:
        return TreeReader(self._causal) if self.branches else DynamicReader(self._causal)

    def forget(self) -> None:
        """Has the next batch read anew what an earlier one read, so that its numbers do not depend on which that was.

        Where the weights changed since, that is done anyway.
        """
        self.sampler.reader.forget()

    @property
    def window(self) -> int | None:
        """Tokens that a token sees in some layers, where prompts reach that far and windows are read fast."""
        if not self._causal.sees_windows or self._causal.config.sliding_window >= self.settings.max_prompt_tokens:
            return None
        return int(self._causal.config.sliding_window)

    def read_plainly(self) -> bool:
        """Reads as any model can be read, windows step by step and no trees; False where that was so already."""
        special = self.branches or self._causal.sees_windows
        self._causal.sees_windows = self.branches = False
        if special:
            print("the model is read plainly: read faster, it would say something else", flush=True)
            self.sampler.reader = DynamicReader(self._causal)
        return special

    def _sampler(self, reader: Reader, longest: int) -> Sampler:
        return Sampler(
            reader,
            self.device,
            self._stops,
            self.tokenizer.eos_token_id,
            longest,
            self.temperature,
            self.vocabulary,
        )

    def _training_rows(self, graphs: bool) -> TrainingRows | None:
        """For completions that share their prompt with no other; None where attention knows no such rows."""
        dtype = self._causal.head.weight.dtype
        if not attention.install(self._causal.decoder) or (graphs and not attention.flashes(self.device, dtype)):
            return None
        read = [each for each in self._causal.decoder.parameters() if each.requires_grad]
        return TrainingRows(self._causal, read, graphs) if read else None

    @property
    def device(self) -> torch.device:
        return self._causal.device

    @property
    def reading(self) -> str:
        """How fast the sampler reads on this device, and what of the architecture makes it slow, if anything does."""
        hindrance, reader = self._causal.hindrance, self.sampler.reader
        if not isinstance(reader, StaticReader):
            if hindrance:
                return f"slow: one token a step, for {hindrance}"
            return "fast for a CPU, which has no graphs: several tokens a step"
        if hindrance:
            return f"half fast: CUDA graphs, but one token a step and prompts side by side, for {hindrance}"
        if not reader.packs:
            return "half fast: CUDA graphs, several tokens a step, but prompts side by side, for attention is no sdpa"
        return "fast: CUDA graphs, several tokens a step, prompts in rows"

    @property
    def shares_prompts(self) -> bool:
        """Whether training reads a prompt once for all its completions."""
        return self._causal.reads_chunks

    @property
    def row_tokens(self) -> int | None:
        """Tokens of completions with prompts of their own that training reads best at a time; None: as many as fit."""
        return None if self._rows is None else training_rows.LONGEST

    def rows(self, completions: Sequence[Completion]) -> list[list[int]]:
        """Indices of the completions that training reads together: those of one prompt, where that is worth it."""
        laid = packing.rows(completions, self.shares_prompts)
        if self._rows is None or packing.saved(completions, laid) >= training_rows.WORTH_SHARING:
            return laid
        return [[index] for index in range(len(completions))]

    def prompt_ids(self, text: str) -> tuple[int, ...]:
        """The tokens of a chat whose user says `text`, up to where the assistant begins."""
        with self._reading:
            self._read_prompts([text])
            return self._prompts[text]

    def _read_prompts(self, texts: Sequence[str]) -> None:
        """Tokenizes those that are not known, all at once."""
        with self._reading:
            new = [text for text in dict.fromkeys(texts) if text not in self._prompts]
            for _ in range(len(self._prompts) + len(new) - _PROMPTS):
                if self._prompts:
                    self._prompts.popitem(last=False)
            new = [text for text in dict.fromkeys(texts) if text not in self._prompts]
            if new:
                for text, ids in zip(new, plain(self.tokenizer, new), strict=True):
                    self._prompts[text] = (*self._before, *ids, *self._after)

    def count_tokens(self, text: str) -> int:
        """The tokens of a part of a prompt; of a line, which is asked for again and again, remembered."""
        return self._counts(text) if len(text) <= _LINE else self._count_tokens(text)

    def _count_tokens(self, text: str) -> int:
        return len(plain(self.tokenizer, [text])[0])

    def prepare(self, request: Request) -> None:
        """Tokenizes a prompt and builds the actions of its page before it is asked about; callable from any thread."""
        self._read_prompts([request.prompt.text])
        if self.settings.decoding == "constrained":
            self.actions.tree(request.prompt.elements)

    @torch.inference_mode()
    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """Generates one completion for each request."""
        constrained = self.settings.decoding == "constrained"
        return self._act(requests, self.sampler, self.settings.max_action_tokens, constrained)

    @torch.inference_mode()
    def talk(self, requests: Sequence[Request], longest: int) -> list[Completion]:
        """Completions as `act` makes them, but free, cut after `longest` tokens, and not counted."""
        return self._act(requests, self._sampler(self.sampler.reader, longest), longest, constrained=False)

    def _act(self, requests: Sequence[Request], sampler: Sampler, longest: int, constrained: bool) -> list[Completion]:
        with sampler.timed("actions"):
            self._read_prompts([request.prompt.text for request in requests])
            rows = [self._open(request, longest, constrained) for request in requests]
        if active := [row for row in rows if not row.done]:  # else each page offered a single action
            if not self._adapted or round_for_inference(self._adapted):  # else the weights are as they were
                sampler.reader.forget()
            sampler.generate(active)
        return [self._close(row) for row in rows]

    def imitate(self, prompt: prompts.Prompt, action: Action) -> Completion:
        """The completion that says `action`, as `act` would have generated it; log-probabilities are left at 0.

        Raises:
            ValueError: the page does not offer the action, or is too long for the prompt to show its element.
        """
        if not {element.bid for element in prompt.elements}.issuperset(action.bids):
            raise ValueError(f"no element of the prompt is what {action} is about")
        said = self.actions.encode(action, prompt.elements)
        row = self._open(
            Request(prompt), self.settings.max_action_tokens, constrained=self.settings.decoding == "constrained"
        )
        if row.matcher is None:
            row.token_ids = [*said, self.tokenizer.eos_token_id]
            row.decisions = list(range(len(row.token_ids)))
            row.masks = [None] * len(row.token_ids)
        else:
            self._follow(row, row.matcher, said)
        row.log_probs = [0.0] * len(row.decisions)
        return self._close(row)

    def _follow(self, row: Row, matcher: Matcher, said: Sequence[int]) -> None:
        """Takes the tokens `said` for the decisions of `row`."""
        while not row.done:
            position = len(row.token_ids)
            if row.token_ids != list(said[:position]) or position == len(said):
                break
            row.decisions.append(position)
            row.masks.append(matcher.mask())
            row.token_ids.append(said[position])
            matcher.consume(said[position])
            row.force(self.settings.max_action_tokens)
        if row.token_ids != list(said) or not matcher.done:
            raise ValueError(f"not an action of this page: {self.tokenizer.decode(list(said))!r}")

    def log_probs(self, completions: Sequence[Completion], share: bool | None = None) -> Tensor:
        """Log-probabilities of all decisions, one after another, shape (decisions,), with gradient.

        Completions of one prompt share its reading, where the model can (`packing`). Padding is on the right, so that
        no position depends on what the batch is made of. Every completion needs a decision. On a GPU the gradient has
        to be asked for before the next call (`training_rows`).

        Args:
            share: whether completions of one prompt are read together, where there are two ways; None: as `rows` says.
        """
        return self._of_decisions(self._logits(completions, share), completions)[0]

    def log_probs_and_entropies(
        self, completions: Sequence[Completion], share: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same, and the entropy in nats of what each decision was drawn from, both with gradient."""
        return self._of_decisions(self._logits(completions, share), completions, with_entropies=True)

    def _logits(self, completions: Sequence[Completion], share: bool | None) -> Tensor:
        """Those of all decisions, shape (decisions, vocabulary)."""
        if self._rows is None:
            hidden = self._padded(completions)
        else:
            laid = self.rows(completions) if share is None else packing.rows(completions, share)
            alone = [row[0] for row in laid if len(row) == 1]
            shared = [index for row in laid if len(row) > 1 for index in row]
            found = [
                read([completions[index] for index in indices])
                for indices, read in ((alone, self._rows.read), (shared, self._padded))
                if indices
            ]
            hidden = torch.cat(found)[_places(completions, alone + shared, self.device)]
        logits: Tensor = self._causal.head(hidden)
        return logits

    def _padded(self, completions: Sequence[Completion]) -> Tensor:
        """The last layer's states behind which each decision was made, shape (decisions, width)."""
        if self.branches:
            return self._branched(completions)
        packed = packing.pack(completions, self.shares_prompts, self.device)
        output = self._causal.decoder(
            input_ids=packed.ids, attention_mask=packed.attention, position_ids=packed.positions, use_cache=False
        )
        rows, columns = packed.where
        hidden: Tensor = output.last_hidden_state[rows, columns]
        return hidden

    def _branched(self, completions: Sequence[Completion]) -> Tensor:
        """The same, with what completions begin with alike read once."""
        nodes = tree.Tree()
        branches = [nodes.add(packing.read(each)) for each in completions]
        [parts] = tree.rows(branches, longest=len(nodes))
        before = [
            branch.path[len(each.prompt_ids) - 1 + np.array(each.decisions)]
            for each, branch in zip(completions, branches, strict=True)
        ]
        with attention.branching(parts):
            output = self._causal.decoder(
                input_ids=torch.tensor([nodes.tokens]),
                attention_mask=tree.NO_MASK,
                position_ids=torch.tensor([nodes.depths]),
                use_cache=False,
            )
        # unlike an index, which several threads add up in any order, so that the gradient would differ from run to run
        hidden: Tensor = output.last_hidden_state[0].index_select(0, torch.from_numpy(np.concatenate(before)))
        return hidden

    def plain_log_probs(self, completions: Sequence[Completion]) -> Tensor:
        """The same as the model alone computes them: its own forward pass, one completion at a time, nothing else."""
        logits = []
        for completion in completions:
            ids = torch.tensor([completion.prompt_ids + completion.token_ids], device=self.device)
            before = torch.tensor(completion.decisions, device=self.device) + len(completion.prompt_ids) - 1
            logits.append(self.model(input_ids=ids, use_cache=False).logits[0, before])
        return self._of_decisions(torch.cat(logits), completions)[0]

    def _of_decisions(
        self, logits: Tensor, completions: Sequence[Completion], with_entropies: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of what was decided, at the temperature it was sampled at; entropies, or nothing."""
        said = [completion.token_ids[position] for completion in completions for position in completion.decisions]
        chosen = placed(torch.tensor(said), self.device)
        masks = [mask for completion in completions for mask in completion.masks]
        temperatures = [each.temperature or self.temperature for each in completions for _ in each.decisions]
        found = distribution(logits, masks, temperatures)
        return found.gather(1, chosen[:, None]).squeeze(1), entropies(found) if with_entropies else chosen.new_empty(0)

    def _open(self, request: Request, longest: int, constrained: bool) -> Row:
        row = Row(
            request,
            self.prompt_ids(request.prompt.text),
            self.actions.matcher(request.prompt.elements, request.prompt.spent) if constrained else None,
        )
        row.force(longest)
        return row

    def _close(self, row: Row) -> Completion:
        said = [token for token in row.token_ids if token not in self._stops]
        return Completion(
            prompt_ids=row.prompt_ids,
            token_ids=tuple(row.token_ids),
            decisions=tuple(row.decisions),
            masks=tuple(row.masks),
            log_probs=tuple(row.log_probs),
            text=self._text(said),
            temperature=row.request.temperature,
        )

    def _text(self, said: Sequence[int]) -> str:
        """What the tokens say, with the spaces that are there: some tokenizers would tidy up before a full stop."""
        text = self.tokenizer.decode(list(said), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text).strip()


def load(configuration: Configuration, folder: Path) -> Policy:
    """The policy with a fresh adapter, its weights drawn from `configuration.seed`.

    Args:
        configuration: of the run.
        folder: of the base model, in Hugging Face's layout.

    Raises:
        ModelUnavailable: the folder's model is incomplete or damaged, or not one that transformers knows.
        ConfigurationError: an adapter's target matches no linear layer, no GPU where one is asked for, a model
            whose logits are more than its head's, scaled or capped, or whose log-probabilities differ between sampler,
            trainer and the model alone, or a tokenizer or a chat template that does not repeat text as it is.
    """
    torch.manual_seed(configuration.seed)
    model, tokenizer = _read(folder, getattr(torch, configuration.model.dtype))
    model.to(_device(configuration.model.device)).eval()  # dropout off: the policy trained is the policy that acted
    with self_check.refusing(model.config.model_type):
        behind = head.infer(model)
    _fuse_norms(model)
    if configuration.lora is not None:
        model = adapt(model, configuration.lora)
    elif head.is_wrapped(model):  # what only sees or hears is not read, and has no gradient
        model.requires_grad_(False)
        head.decoder(model).requires_grad_(True)
        model.get_output_embeddings().requires_grad_(True)
    named = configuration.model
    made = Policy(model, tokenizer, configuration, identify(named.name, named.revision, folder, tokenizer), behind)
    try:
        self_check.check(made)
    except ConfigurationError:
        if not made.read_plainly():
            raise
        self_check.check(made)
    return made


def _read(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Model and tokenizer of a folder.

    Raises:
        ModelUnavailable: transformers cannot read them, a weight is in no file, or a token has no embedding.
    """
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        pair: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelUnavailable(f"the model in {folder} cannot be loaded: {words}") from error
    model, found = pair
    if missing := sorted(found["missing_keys"]):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelUnavailable(f"the model in {folder} is incomplete: no file has the weight {missing[0]}{more}")
    largest, rows = max(tokenizer.get_vocab().values()), model.get_input_embeddings().weight.shape[0]
    if largest >= rows:
        raise ModelUnavailable(
            f"the tokenizer in {folder} is larger than the model: its last token is number {largest}, and the model"
            f" has embeddings for {rows}; use the tokenizer that belongs to the model"
        )
    return model, tokenizer


def _places(completions: Sequence[Completion], order: Sequence[int], device: torch.device) -> Tensor:
    """Where the decisions of the completions are in those of the completions in another order."""
    counts = np.array([len(completion.decisions) for completion in completions])
    begins = np.empty_like(counts)
    begins[list(order)] = counts[list(order)].cumsum() - counts[list(order)]
    first = np.repeat(begins - (counts.cumsum() - counts), counts)
    return placed(torch.from_numpy(first + np.arange(counts.sum())), device)


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def adamw(model: torch.nn.Module, learning_rate: float, weight_decay: float = 0.0) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) over all that is trained; in one kernel on a GPU."""
    parameters = trainable(model)
    fused = True if parameters[0].is_cuda else None
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=fused)


def _device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("model.device is cuda, but PyTorch finds no GPU; set model.device=cpu to go without")
    if wanted == "auto" and not torch.cuda.is_available() and (found := gpus.visible()):
        drivers.refuse(found)
        raise ConfigurationError(
            f"this machine has a GPU ({', '.join(found)}), but PyTorch {torch.__version__} finds none: see what"
            " `nvidia-smi` and `browser-control doctor` say, or set model.device=cpu to go without"
        )
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
