"""The same work as others do it: ours beside TRL's GRPOTrainer, on one machine, one model, one environment, in one run.

    python benchmarks/peers.py --model FOLDER [--output FILE]

An episode is one turn: a page, at most 16 tokens, a click. All train the same LoRA with the same optimizer on episodes
that they generate, and all use our environment service, which the peers have nothing like: the ratio is that of the
loops. Generation is transformers' own for the peers, since that is what runs on every machine (no vLLM).

| loop | one generation | pages | episodes an update |
| --- | --- | --- | --- |
| serial | one episode, as the Liquid AI cookbook plays them | one after the other | 8 |
| example | a group of 4, as TRL's BrowserGym example sets | one after the other | 32, gradients of one at a time |
| batched | all 128 episodes of an update, groups of 8 | all at once | 128, gradients of 64 at a time |
| ours | those that wait for the policy | in two halves | 128, of those groups that differ |
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from environment import service
from model import TARGETS
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from browser_control.configuration import Configuration
from browser_control.environment.client import Environments, Observation
from browser_control.language import prompts
from browser_control.policy import policy
from browser_control.preemption import Preemption
from browser_control.run_directory import RunDirectory
from browser_control.training.rollout import build_prompt, read_action
from browser_control.training.trainer import Trainer

with warnings.catch_warnings():  # what TRL's imports warn of is not ours
    warnings.simplefilter("ignore")
    from datasets import Dataset
    from datasets.table import InMemoryTable
    from trl import GRPOConfig, GRPOTrainer

TOKENS = 16
SEED = 3_000_000


@dataclass(frozen=True)
class Peer:
    """A loop of TRL's trainer."""

    group: int
    generated: int  # episodes a generation
    accumulated: int  # generations an update
    micro_batch: int
    pages_at_once: bool

    @property
    def episodes(self) -> int:
        return self.generated * self.accumulated


PEERS = {
    "serial": Peer(group=8, generated=1, accumulated=8, micro_batch=8, pages_at_once=False),
    "example": Peer(group=4, generated=4, accumulated=8, micro_batch=1, pages_at_once=False),
    "batched": Peer(group=8, generated=128, accumulated=1, micro_batch=64, pages_at_once=True),
}


def settings(model: Path, targets: Sequence[str], updates: int) -> Configuration:
    return Configuration.model_validate(
        {
            "name": "peers",
            "model": {"name": str(model), "dtype": dtype()},
            "lora": {"rank": 16, "alpha": 32, "targets": list(targets)},
            "environment": {"sessions": 64, "max_turns": 1},
            "policy": {"actions": ["click"], "max_action_tokens": TOKENS},
            "training": {
                "web_tasks": ["click-button"],
                "updates": updates,
                "groups": 16,
                "group_size": 8,
                "resample_limit": 0,
                "tokens_per_micro_batch": 65536,
                "checkpoint_every": 1_000_000,
            },
        }
    )


def dtype() -> str:
    return "bfloat16" if torch.cuda.is_available() else "float32"


def ours(configuration: Configuration, environments: Environments) -> list[float]:
    """Episodes/s of each update."""
    made = policy.load(configuration, Path(configuration.model.name))
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder))
        Trainer(made, environments, configuration, run, Preemption()).train()
        lines = run.metrics.read_text().splitlines()
    return [json.loads(line)["speed/episodes_per_second"] for line in lines]


class Play:
    """A rollout function for TRL, whose prompts are seeds here: plays one turn each and hands on the rewards."""

    def __init__(self, environments: Environments, ours: policy.Policy, web_task: str, peer: Peer) -> None:
        self._environments = environments
        self._ours = ours  # its prompts and chat template, not its generation
        self._web_task = web_task
        self._peer = peer

    def __call__(self, seeds: Sequence[str], trainer: Any) -> dict[str, Any]:
        played: dict[str, list[Any]] = {"prompt_ids": [], "completion_ids": [], "reward": []}
        for first in range(0, len(seeds), self._peer.generated):
            for name, values in self._play(seeds[first : first + self._peer.generated], trainer).items():
                played[name] += values
        return {**played, "logprobs": None}

    def _play(self, seeds: Sequence[str], trainer: Any) -> dict[str, list[Any]]:
        sessions = range(len(seeds))
        pages = self._ask(
            lambda session: self._environments.reset(session, self._web_task, int(seeds[session])), sessions
        )
        asked = [build_prompt(self._ours, page, prompts.Memory(), "") for page in pages]
        ids = [list(self._ours.prompt_ids(prompt.text)) for prompt in asked]
        completions, _ = trainer._generate_single_turn(ids, None, {}, self._peer.group)
        texts = self._ours.tokenizer.batch_decode(completions, skip_special_tokens=True)
        chosen = [browsergym_action(text, prompt) for text, prompt in zip(texts, asked, strict=True)]
        ends = self._ask(lambda session: self._environments.step(session, chosen[session]), sessions)
        return {"prompt_ids": ids, "completion_ids": completions, "reward": [end.reward for end in ends]}

    def _ask(self, ask: Callable[[int], "Future[Observation]"], sessions: Sequence[int]) -> list[Observation]:
        if self._peer.pages_at_once:
            return [answer.result() for answer in [ask(session) for session in sessions]]
        return [ask(session).result() for session in sessions]


def handed_on(completions: Sequence[str], reward: list[float], **named: Any) -> list[float]:
    """The reward that the environment gave."""
    return reward


def browsergym_action(text: str, prompt: prompts.Prompt) -> str:
    """What the model said, or, where that is no action of the page, a click on its first element.

    A model with random weights says nothing valid; the page is to have its work all the same.
    """
    try:
        return read_action(text, prompt, "label").to_browsergym()
    except ValueError:
        return f"click('{prompt.elements[0].bid}')"


def seeds(count: int) -> Dataset:
    """Prompts that are seeds; named by hand, since the library cannot name a table on every version of Python."""
    table = InMemoryTable.from_pydict({"prompt": [str(SEED + number) for number in range(count)]})
    return Dataset(table, fingerprint="seeds")


class Clock(TrainerCallback):
    """Seconds of each update."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_train_begin(self, *arguments: Any, **named: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, *arguments: Any, **named: Any) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._began)
        self._began = now


def theirs(configuration: Configuration, environments: Environments, peer: Peer) -> list[float]:
    """Episodes/s of each update."""
    folder = Path(configuration.model.name)
    lora, updates = configuration.lora, configuration.training.updates
    assert lora is not None
    clock = Clock()
    with tempfile.TemporaryDirectory() as output:
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, configuration.model.dtype)),
            args=GRPOConfig(
                output_dir=output,
                max_steps=updates,
                num_generations=peer.group,
                per_device_train_batch_size=peer.micro_batch,
                gradient_accumulation_steps=peer.episodes // peer.micro_batch,
                max_completion_length=TOKENS,
                learning_rate=configuration.training.learning_rate,
                loss_type="dr_grpo",
                scale_rewards="none",
                beta=0.0,
                bf16=False,
                activation_checkpointing=False,
                use_cpu=not torch.cuda.is_available(),
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            reward_funcs=handed_on,
            train_dataset=seeds(100_000),
            processing_class=AutoTokenizer.from_pretrained(folder),
            peft_config=LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets)),
            rollout_func=Play(environments, policy.load(configuration, folder), "click-button", peer),
            callbacks=[clock],
        )
        trainer.train()
    return [peer.episodes / seconds for seconds in clock.seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FOLDER", help="as benchmarks/model.py --save makes"
    )
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), help="linear layers to adapt")
    parser.add_argument("--loops", nargs="+", choices=["ours", *PEERS], default=["ours", *PEERS])
    parser.add_argument("--updates", type=int, default=6, help="of each loop; the first warms up and does not count")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    configuration = settings(options.model, options.targets, options.updates)
    found = {}
    sessions = max(peer.generated for peer in PEERS.values())
    with service("--sessions", str(sessions)) as (url, _):
        for name in options.loops:
            held = configuration.environment.sessions if name == "ours" else PEERS[name].generated
            with Environments([url], held) as environments:
                if name == "ours":
                    rates = ours(configuration, environments)
                else:
                    rates = theirs(configuration, environments, PEERS[name])
            found[name] = {
                "episodes_per_second": statistics.median(rates[1:]),
                "updates": [round(rate, 2) for rate in rates],
            }
            print(json.dumps({name: found[name]}), flush=True)
    if "ours" in found:
        best = found["ours"]["episodes_per_second"]
        ratios = {name: round(best / each["episodes_per_second"], 1) for name, each in found.items() if name != "ours"}
        found["times_ours"] = ratios
        print(json.dumps({"times_ours": ratios}))
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
