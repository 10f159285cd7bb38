"""Speed of the model alone on one GPU: a decode step and a training step, ours beside the libraries' own.

    python benchmarks/model.py --tokenizer FOLDER [--architecture lfm2] [--rows 64] [--output FILE]

The model has LFM2-350M's shape (354,483,968 parameters) and random weights; any tokenizer of at most 65,536 tokens
serves. Medians of repeated runs after a warm-up, in this process, one after another.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft.tuners.lora import Linear
from transformers import AutoTokenizer, Lfm2Config, Lfm2ForCausalLM

from browser_control.configuration import Configuration
from browser_control.language import prompts
from browser_control.policy import policy as policies
from browser_control.policy.adapter import FusedLinear
from browser_control.policy.decoding import DynamicReader, StaticReader
from browser_control.policy.sampling import Completion, Request

TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "in_proj", "w1", "w2", "w3")
PARAMETERS = 354_483_968
PROMPT_TOKENS, NEW_TOKENS = 300, 16


def lfm2_350m() -> Lfm2Config:
    """The configuration that LiquidAI publishes for LFM2-350M."""
    return Lfm2Config(
        vocab_size=65536,
        hidden_size=1024,
        intermediate_size=6656,
        num_hidden_layers=16,
        num_attention_heads=16,
        num_key_value_heads=8,
        max_position_embeddings=128_000,
        conv_bias=False,
        conv_L_cache=3,
        block_multiple_of=256,
        block_ffn_dim_multiplier=1.0,
        block_auto_adjust_ff_dim=True,
        full_attn_idxs=[2, 5, 8, 10, 12, 14],
        tie_word_embeddings=True,
    )


def save_random(tokenizer: Path, folder: Path) -> None:
    """A folder that loads as LFM2-350M with random weights."""
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    model = Lfm2ForCausalLM(lfm2_350m()).to(torch.bfloat16)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == PARAMETERS, f"{count:,} parameters are not LFM2-350M"
    model.save_pretrained(folder)


def settings(folder: Path) -> Configuration:
    return Configuration.model_validate(
        {
            "name": "benchmark",
            "model": {"name": str(folder), "dtype": "bfloat16"},
            "lora": {"rank": 16, "alpha": 32, "targets": TARGETS},
            "training": {"web_tasks": ["click-button"], "updates": 1},
        }
    )


def median_seconds(work: Callable[[], object], repeats: int = 7) -> float:
    work()
    work()
    seconds = []
    for _ in range(repeats):
        _synchronize()
        began = time.perf_counter()
        work()
        _synchronize()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def decode(policy: policies.Policy, rows: int) -> dict[str, float]:
    """Milliseconds a token of a batch, behind prompts of 300 tokens."""
    generator = np.random.default_rng(0)
    sequences = [tuple(generator.integers(10, 1000, PROMPT_TOKENS).tolist()) for _ in range(rows)]
    found: dict[str, float] = {}
    readers = {
        "graph": StaticReader(policy._causal, graphs=torch.cuda.is_available()),
        "dynamic": DynamicReader(policy._causal),
    }
    with torch.inference_mode():
        for name, reader in readers.items():

            def start(reader: Any = reader) -> None:
                reader.start(sequences, NEW_TOKENS)

            def read(reader: Any = reader) -> None:
                reader.start(sequences, NEW_TOKENS)
                for _ in range(NEW_TOKENS):
                    reader.read([[5]] * rows)

            found[f"prefill_ms_{name}"] = 1000 * median_seconds(start)
            found[f"decode_ms_{name}"] = (1000 * median_seconds(read) - found[f"prefill_ms_{name}"]) / NEW_TOKENS
        ids = torch.tensor(sequences, device=policy.device)

        def generate(new: int) -> object:
            return policy.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=True,
                pad_token_id=0,
            )

        one, many = (median_seconds(lambda new=new: generate(new), 3) for new in (1, 1 + NEW_TOKENS))
        found["decode_ms_generate"] = 1000 * (many - one) / NEW_TOKENS
    return found


def train(policy: policies.Policy, rows: int) -> dict[str, float]:
    """Tokens a second of forward and backward pass, log-probabilities at the decisions only."""
    prompt = prompts.build('button "ok" [3]\nbutton "no" [4]', "go " * (PROMPT_TOKENS - 120))
    completions = policy.act([Request(prompt, np.random.default_rng(row)) for row in range(rows)])
    tokens = sum(completion.length for completion in completions)

    def step() -> None:
        for parameter in policies.trainable(policy.model):
            parameter.grad = None
        policy.log_probs(completions).sum().backward()  # type: ignore[no-untyped-call]

    torch.cuda.reset_peak_memory_stats()
    ours = median_seconds(step)
    peak = torch.cuda.max_memory_allocated()
    fused = FusedLinear.forward
    try:
        FusedLinear.forward = Linear.forward  # type: ignore[method-assign, assignment]
        theirs = median_seconds(step)
    finally:
        FusedLinear.forward = fused  # type: ignore[method-assign]
    return {
        "tokens": tokens,
        "longest": max(map(_length, completions)),
        "train_tokens_per_second": tokens / ours,
        "train_tokens_per_second_peft": tokens / theirs,
        "train_peak_bytes": peak,
    }


def _length(completion: Completion) -> int:
    return completion.length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="only write the random model there")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.save:
        save_random(arguments.tokenizer, arguments.save)
        return
    with tempfile.TemporaryDirectory() as folder:
        save_random(arguments.tokenizer, Path(folder))
        policy = policies.load(settings(Path(folder)), Path(folder))
    found = decode(policy, arguments.rows) | train(policy, arguments.rows)
    found["trained_parameters"] = sum(parameter.numel() for parameter in policies.trainable(policy.model))
    print(json.dumps(found, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
