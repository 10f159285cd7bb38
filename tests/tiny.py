"""Tiny models of each architecture, and an environment that needs no browser."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from browser_control.configuration import Configuration
from browser_control.environment.client import Observation
from browser_control.errors import EnvironmentFailure

TARGETS = {
    "llama": ("q_proj", "v_proj", "down_proj"),
    "lfm2": ("q_proj", "in_proj", "w1"),
    "mistral": ("q_proj", "v_proj", "down_proj"),
}
PAGE = '"Choose."\nbutton "yes" [11]\nbutton "no" [12]\ntextbox "Name" [13]'


def make_configuration(architecture: str = "llama", **sections: Any) -> Configuration:
    return Configuration.model_validate(
        {
            "name": "tiny",
            "model": sections.pop("model", {"name": "unused", "device": "cpu"}),
            "lora": {"rank": 4, "alpha": 8, "targets": TARGETS[architecture]},
            "environment": {"sessions": 8, "max_turns": 3},
            "policy": {"max_text_characters": 8, **sections.pop("policy", {})},
            "training": {
                "web_tasks": ["click-button"],
                "updates": 4,
                "groups": 2,
                "group_size": 4,
                "learning_rate": 0.01,
                "checkpoint_every": 1,
                **sections.pop("training", {}),
            },
            **sections,
        }
    )


def save_tokenizer(folder: Path) -> int:
    """Makes a byte-level tokenizer; returns how many tokens it has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["click button fill textbox with select Goal: Choose yes no Name"] * 20, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.save_pretrained(folder)
    return len(fast)


def save_model(architecture: str, folder: Path) -> None:
    tokens = save_tokenizer(folder)
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": tokens,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    if architecture == "llama":
        model: Any = LlamaForCausalLM(LlamaConfig(**shape))
    elif architecture == "mistral":
        model = MistralForCausalLM(MistralConfig(**shape, sliding_window=16))  # shorter than any prompt
    else:
        layers = ["conv", "full_attention", "conv"]
        model = Lfm2ForCausalLM(Lfm2Config(**shape, layer_types=layers, block_auto_adjust_ff_dim=False))
    model.save_pretrained(folder)


class PaperEnvironments:
    """A seam where a browser would be: pages are text, `reward` says what an episode is worth once it is over.

    Args:
        sessions: how many episodes at a time.
        reward: of the actions taken so far, or None while the episode goes on; may raise EnvironmentFailure.
        page: text of the page of a seed.
        goal: of every page.
    """

    def __init__(
        self,
        sessions: int,
        reward: Callable[[list[str]], float | None],
        page: Callable[[int], str] = lambda seed: f'"Page {seed}."\n{PAGE}',
        goal: str = "Choose yes",
    ) -> None:
        self._taken: list[list[str]] = [[] for _ in range(sessions)]
        self._seeds = [0] * sessions
        self._reward = reward
        self._page = page
        self._goal = goal
        self.started: list[tuple[str, int]] = []

    def __len__(self) -> int:
        return len(self._taken)

    def reset(self, session: int, web_task: str, seed: int) -> "Future[Observation]":
        self._taken[session] = []
        self._seeds[session] = seed
        self.started.append((web_task, seed))
        return self._answer(session, None)

    def step(self, session: int, action: str) -> "Future[Observation]":
        self._taken[session].append(action)
        answer: Future[Observation] = Future()
        try:
            return self._answer(session, self._reward(self._taken[session]))
        except EnvironmentFailure as error:
            answer.set_exception(error)
            return answer

    def _answer(self, session: int, reward: float | None) -> "Future[Observation]":
        answer: Future[Observation] = Future()
        text = self._page(self._seeds[session])
        done = reward is not None
        answer.set_result(Observation(self._goal, text, "", reward or 0.0, done, False, 0.0, done and bool(reward)))
        return answer
