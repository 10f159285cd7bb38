"""Tiny random models of many architectures: exact against the plain model, or refused in one sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import PAGE, make_configuration, save_tokenizer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from browser_control.errors import ConfigurationError
from browser_control.language import prompts
from browser_control.policy import self_check
from browser_control.policy.decoding import StaticReader
from browser_control.policy.policy import Policy, load, trainable
from browser_control.policy.sampling import Completion, Request, distribution

pytestmark = pytest.mark.filterwarnings("ignore")  # of experimental kernels, and of tiny shapes

SHAPE: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "max_position_embeddings": 1024,
}
WINDOW = {"sliding_window": 16}  # shorter than any prompt
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_ssm": 64,
    "mamba_d_state": 8,
    "mamba_expand": 2,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 16,
}
HYBRID = {"layer_types": ["mamba", "attention"], **MAMBA}
KINDS = {"layer_types": ["sliding_attention", "full_attention"], **WINDOW}
GEMMA4 = {**KINDS, "vocab_size_per_layer_input": 320, "hidden_size_per_layer_input": 8}
EYES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def wrapped(**text: Any) -> dict[str, Any]:
    return {"text_config": {**SHAPE, **text}, "vision_config": EYES, "bos_token_id": 0, "eos_token_id": 0}


EXACT: dict[str, dict[str, Any]] = {
    **{
        name: SHAPE
        for name in [
            "llama",
            "qwen2",
            "qwen3",
            "smollm3",
            "gemma",
            "phi3",
            "olmo2",
            "ernie4_5",
            "helium",
            "stablelm",
            "gpt2",
            "gpt_neox",
            "mistral",
        ]
    },
    "opt": {**SHAPE, "word_embed_proj_dim": 32, "ffn_dim": 48},
    "granite": {**SHAPE, "logits_scaling": 6.0, "embedding_multiplier": 3.0},
    "cohere": {**SHAPE, "logit_scale": 0.25},
    "gemma2": {**SHAPE, **KINDS, "final_logit_softcapping": 3.0},
    "gemma3_text": {**SHAPE, **KINDS},
    "gemma4_text": {**SHAPE, **GEMMA4, "final_logit_softcapping": 3.0},
    "gemma3": wrapped(**KINDS),
    "gemma4": wrapped(**GEMMA4),
    "qwen3_5_text": {**SHAPE, **LINEAR},
    "qwen3_5": wrapped(**LINEAR),
    "qwen3_next": {**SHAPE, **LINEAR, **EXPERTS, "shared_expert_intermediate_size": 16},
    "granitemoehybrid": {**SHAPE, **HYBRID, **EXPERTS, "shared_intermediate_size": 16, "logits_scaling": 6.0},
    "falcon_h1": {**SHAPE, **MAMBA, "lm_head_multiplier": 0.5},
    "bamba": {**SHAPE, **MAMBA, "attn_layer_indices": [1]},
    "olmo3": {**SHAPE, **KINDS},
    "exaone4": {**SHAPE, **KINDS},
    "ministral": {**SHAPE, **KINDS},
    "gpt_oss": {**SHAPE, **KINDS, **EXPERTS},
    "jamba": {**SHAPE, "mamba_dt_rank": 4, "attn_layer_period": 2, "attn_layer_offset": 1, **EXPERTS},
    "lfm3": {**SHAPE, "layer_types": ["conv", "full_attention"]},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "recurrent_gemma": ({**SHAPE, "lru_width": 32, "num_hidden_layers": 3}, "cannot be read step by step"),
    "rwkv": ({**SHAPE, "attention_hidden_size": 32}, "cannot be read step by step"),
}
BEHIND = {
    "granite": (1 / 6, None),
    "granitemoehybrid": (1 / 6, None),
    "cohere": (0.25, None),
    "falcon_h1": (0.5, None),
    "gemma2": (None, 3.0),
    "gemma4_text": (None, 3.0),
}
# Read as fast as those that see everything before a token.
WINDOWED = {"mistral", "gemma3_text", "gemma3", "gemma4_text", "gemma4", "olmo3", "exaone4", "ministral"}

_HALF, _WINDOW = "1 of 2 layers are", "attention has a window of 4096 tokens"
# What keeps a family from reading several tokens a step on a CPU.
SLOW = {
    "mistral": _WINDOW,
    **dict.fromkeys(
        ["gemma2", "gemma3_text", "gemma4_text", "gemma3", "gemma4", "olmo3", "exaone4", "ministral", "gpt_oss"],
        f"{_HALF} sliding_attention",
    ),
    **dict.fromkeys(
        ["qwen3_5_text", "qwen3_5", "qwen3_next", "granitemoehybrid", "bamba", "jamba"], f"{_HALF} linear_attention"
    ),
    "falcon_h1": "2 of 2 layers are hybrid",
    "lfm3": f"{_HALF} conv",
}
ON_A_CPU = "fast for a CPU, which has no graphs: several tokens a step"
GRAPHS = "fast: CUDA graphs, several tokens a step, prompts in rows"
READS = {"lfm3": f"half fast: CUDA graphs, but one token a step and prompts side by side, for {SLOW['lfm3']}"}


@pytest.fixture(scope="module")
def tokenizer_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return folder


@pytest.fixture
def family(tokenizer_files: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes the folder of a tiny random model of an architecture."""

    def make(architecture: str, settings: dict[str, Any]) -> Path:
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(CONFIG_MAPPING[architecture](**settings))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.2)  # so that logits differ, and what was before matters
        model.save_pretrained(tmp_path)
        for path in tokenizer_files.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        return tmp_path

    return make


def policy(folder: Path, targets: tuple[str, ...]) -> Policy:
    lora = {"rank": 4, "alpha": 8, "targets": targets} if targets else None
    return load(make_configuration(lora=lora), folder)


def plain_log_probs(model: Any, completions: list[Completion]) -> torch.Tensor:
    """What the architecture's own forward pass says of each decision, a completion at a time."""
    values = []
    with torch.no_grad():
        for each in completions:
            logits = model(input_ids=torch.tensor([each.prompt_ids + each.token_ids])).logits[0]
            for decision, mask in zip(each.decisions, each.masks, strict=True):
                row = distribution(logits[[len(each.prompt_ids) + decision - 1]], [mask], [1.0])
                values.append(row[0, each.token_ids[decision]])
    return torch.stack(values)


@pytest.mark.parametrize("architecture", EXACT)
def test_a_family_is_exact(architecture: str, family: Callable[..., Path]) -> None:
    folder = family(architecture, EXACT[architecture])
    plain: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    layers = [name for name, each in plain.named_modules() if isinstance(each, torch.nn.Linear)]
    linear = {name.rpartition(".")[2] for name in layers if "vision" not in name}
    targets = tuple(sorted(linear & {"q_proj", "down_proj", "query_key_value", "qkv_proj", "in_proj_qkv", "fc1"}))
    made = policy(folder, targets)
    pages = (PAGE, 'button "a much longer label than others have" [7]\nbutton "b" [8]')
    asked = [prompts.build(page, "Choose yes") for page in pages]
    completions = made.act([Request(asked[index % 2], np.random.default_rng(index)) for index in range(6)])
    expected = plain_log_probs(plain, completions)
    sampled = torch.tensor([value for each in completions for value in each.log_probs])
    trained = made.log_probs(completions)
    assert expected.min() < -0.05
    torch.testing.assert_close(sampled, expected, atol=5e-5, rtol=0)
    torch.testing.assert_close(trained, expected, atol=5e-5, rtol=0)
    assert made.reading == (f"slow: one token a step, for {SLOW[architecture]}" if architecture in SLOW else ON_A_CPU)
    made._causal.find_windows()
    assert made._causal.sees_windows == (architecture in WINDOWED)
    if made._causal.steps_fixed:
        made.sampler.reader = StaticReader(made._causal, graphs=False)  # what a GPU uses, there with graphs
        again = made.act([Request(asked[index % 2], np.random.default_rng(index)) for index in range(6)])
        assert [each.token_ids for each in again] == [each.token_ids for each in completions]
        sampled = torch.tensor([value for each in again for value in each.log_probs])
        torch.testing.assert_close(sampled, expected, atol=5e-5, rtol=0)
        assert made.reading == READS.get(architecture, GRAPHS)
        self_check.check(made)
    trained.sum().backward()
    for parameter in trainable(made.model):
        assert parameter.grad is not None  # nothing is trained that nobody reads
    behind = made._causal.head.behind
    assert (behind.scale, behind.cap) == BEHIND.get(architecture, (None, None))


@pytest.mark.parametrize("architecture", REFUSED)
def test_a_family_is_refused_in_one_sentence(architecture: str, family: Callable[..., Path]) -> None:
    settings, words = REFUSED[architecture]
    with pytest.raises(ConfigurationError, match=words) as raised:
        policy(family(architecture, settings), ())
    assert "\n" not in str(raised.value)


def test_windows_that_are_not_the_configurations_are_found_and_read_step_by_step(family: Callable[..., Path]) -> None:
    made = policy(family("gemma3_text", EXACT["gemma3_text"]), ())
    made._causal.find_windows()
    assert made.window == WINDOW["sliding_window"]
    made.sampler.reader = StaticReader(made._causal, graphs=False)
    made._causal.decoder.layers[0].self_attn.sliding_window = None  # the model's own masks have it still
    with pytest.raises(ConfigurationError, match="log-probabilities of the sampler differ"):
        self_check.check(made)
    assert made.read_plainly()
    self_check.check(made)
    assert not made.read_plainly()
    made._causal.find_windows()
    assert not made._causal.sees_windows
    assert made.reading == f"slow: one token a step, for {SLOW['gemma3_text']}"
