"""The training loop: draw groups, play them, update, log, save; and continue where a killed run stopped."""

import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from browser_control import checkpoint, grpo, progress
from browser_control.configuration import Configuration
from browser_control.errors import CheckpointDamaged, ConfigurationError, Preempted
from browser_control.metrics import Metrics
from browser_control.policy import Policy, trainable
from browser_control.preemption import Preemption
from browser_control.rollout import Environments, Episode, Start, Timing, play
from browser_control.run_directory import RunDirectory, write_json
from browser_control.warm_start import warm_start
from browser_control.web_task_sampler import WebTaskSampler

_SAMPLE_EPISODES_EVERY = 10


@dataclass
class _Played:
    """The groups of one update: those to learn from, and what playing all of them took."""

    groups: list[list[Episode]]
    episodes: list[Episode]
    zero_variance: int
    timing: Timing


@dataclass(frozen=True)
class Initial:
    """Another run's adapter to start from, and how many training seeds it has seen."""

    folder: Path
    seeds_drawn: int


class Trainer:
    """GRPO on one machine.

    Args:
        policy: the base model with a fresh adapter; a checkpoint's is read into it.
        environments: open sessions.
        configuration: of the run.
        run: where checkpoints and metrics go.
        preemption: asked between episodes and micro-batches whether to stop.
        initial: what to start from in place of a warm start, where the run has no checkpoint of its own.
    """

    def __init__(
        self,
        policy: Policy,
        environments: Environments,
        configuration: Configuration,
        run: RunDirectory,
        preemption: Preemption,
        initial: Initial | None = None,
    ) -> None:
        self.policy = policy
        self.environments = environments
        self.configuration = configuration
        self.settings = configuration.training
        self.run = run
        self.preemption = preemption
        self.initial = initial
        self.optimizer = torch.optim.AdamW(
            trainable(policy.model), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )
        self.sampler = WebTaskSampler(self.settings.web_tasks, configuration.seed)
        self.update = 0
        self.episodes = 0

    def train(self) -> None:
        """Runs until all updates are done.

        Raises:
            Preempted: the process was asked to end; a checkpoint of the last whole update was saved.
            CheckpointMismatch: the run directory holds checkpoints of another configuration.
        """
        self._announce()
        self._resume()
        metrics = Metrics(self.run, self.update)
        try:
            while self.update < self.settings.updates:
                self._one_update(metrics)
                if self.update % self.settings.checkpoint_every == 0 or self.update == self.settings.updates:
                    self._save()
        except Preempted:
            self._save()
            raise
        finally:
            metrics.close()
        write_json(
            self.run.result, {"updates": self.update, "episodes": self.episodes, "success": self.sampler.success}
        )

    def _one_update(self, metrics: Metrics) -> None:
        began = time.perf_counter()
        generated, prefilled = self.policy.generated_tokens, self.policy.prefilled_tokens
        acting = dict(self.policy.seconds)
        sampler_before = self.sampler.state()
        try:
            played = self._play_groups()
            trained = time.perf_counter()
            statistics = self._learn(played)
        except Preempted:
            self.sampler.restore(sampler_before)  # the update did not happen: the same groups will be played again
            raise
        self.update += 1
        self.episodes += len(played.episodes)
        seconds = time.perf_counter() - began
        values: dict[str, float | int | str | None] = {
            **_rates(played),
            "time/seconds": seconds,
            "time/environment": played.timing.environment,
            "time/generation": played.timing.generation,
            **{f"time/{part}": spent - acting[part] for part, spent in self.policy.seconds.items()},
            "time/training": time.perf_counter() - trained,
            "speed/episodes_per_second": len(played.episodes) / seconds,
            "speed/generated_tokens_per_second": (self.policy.generated_tokens - generated) / seconds,
            "speed/prefilled_tokens_per_second": (self.policy.prefilled_tokens - prefilled) / seconds,
            "memory/peak_bytes": _peak_memory(),
            "train/learning_rate": self._learning_rate(),
        }
        if statistics is not None:
            values |= {f"update/{name}": value for name, value in asdict(statistics).items()}
            values["speed/trained_tokens_per_second"] = statistics.tokens / (time.perf_counter() - trained)
        metrics.log(self.update, values)
        if self.update % _SAMPLE_EPISODES_EVERY == 1:
            metrics.text(self.update, "episodes", "\n\n".join(group[0].transcript() for group in played.groups[:3]))
        progress.report(
            "train",
            self.update,
            self.settings.updates,
            values["success/all"],  # type: ignore[arg-type]
            f"{len(played.groups)} of {self.settings.groups} groups differ, {seconds:.1f} s",
        )

    def _play_groups(self) -> _Played:
        """Plays groups until enough of them carry a signal, or the limit of waves is reached."""
        useful: list[list[Episode]] = []
        everything: list[Episode] = []
        timing = Timing()
        zero_variance = 0
        for _ in range(1 + self.settings.resample_limit):
            starts = [
                Start(web_task, seed, member)
                for web_task, seed in self.sampler.draw(self.settings.groups - len(useful))
                for member in range(self.settings.group_size)
            ]
            episodes, took = play(
                self.policy,
                self.environments,
                starts,
                max_turns=self.configuration.environment.max_turns,
                random_seed=self.configuration.seed,
                on_episode=lambda episode: self.preemption.check(),
            )
            everything += episodes
            timing.environment += took.environment
            timing.generation += took.generation
            timing.total += took.total
            for group in grpo.groups_of(episodes):
                self.sampler.learn(group[0].start.web_task, [episode.reward for episode in group])
                if grpo.has_signal(group):
                    useful.append(group)
                else:
                    zero_variance += 1
            if len(useful) >= self.settings.groups:
                break
        return _Played(useful, everything, zero_variance, timing)

    def _learn(self, played: _Played) -> grpo.UpdateStatistics | None:
        """One optimizer step on the groups that differ; None where none does."""
        batch = grpo.samples(played.groups)
        if not batch:
            return None
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        return grpo.update(
            self.policy,
            self.optimizer,
            batch,
            episodes=sum(len(group) for group in played.groups),
            clip=grpo.Clip(*self.settings.clip),
            max_gradient_norm=self.settings.max_gradient_norm,
            tokens_per_micro_batch=self.settings.tokens_per_micro_batch,
            before_micro_batch=self.preemption.check,
        )

    def _learning_rate(self) -> float:
        """Linear warm-up, then constant."""
        return self.settings.learning_rate * min(1.0, (self.update + 1) / (self.settings.warmup_updates + 1))

    def _resume(self) -> None:
        """Reads the newest checkpoint; else the adapter to start from; else the warm start's.

        The last is made here if the flow did not make it.
        """
        checkpoint.prune(self.run, self.settings.keep_checkpoints)
        newest = checkpoint.newest(self.run)
        if newest is not None:
            state = checkpoint.load(newest, self.policy, self.configuration, self.optimizer)
            self.update, self.episodes = state["update"], state["episodes"]
            self.sampler.restore(state["sampler"])
            print(f"continuing behind update {self.update} from {newest}", flush=True)
        elif self.initial is not None:
            _load_initial(self.initial, self.policy, self.configuration)
            self.sampler.skip(self.initial.seeds_drawn)
            print(f"starting from {self.initial.folder}, {self.initial.seeds_drawn} seeds on", flush=True)
        elif self.configuration.warm_start.demonstrations:
            if not self.run.warm_start.exists():
                state = warm_start(self.policy, self.environments, self.configuration, self.preemption)
                checkpoint.save(self.run.warm_start, self.policy, self.configuration, state)
            checkpoint.load(
                self.run.warm_start,
                self.policy,
                self.configuration,
                may_differ=("environment", "evaluation", "training"),
            )
            print(f"starting from {self.run.warm_start}", flush=True)

    def _save(self) -> None:
        state: dict[str, Any] = {"update": self.update, "episodes": self.episodes, "sampler": self.sampler.state()}
        checkpoint.save(self.run.step(self.update), self.policy, self.configuration, state, self.optimizer)
        checkpoint.prune(self.run, self.settings.keep_checkpoints)

    def _announce(self) -> None:
        count = sum(parameter.numel() for parameter in trainable(self.policy.model))
        total = sum(parameter.numel() for parameter in self.policy.model.parameters())
        print(f"training {count:,} of {total:,} parameters on {self.policy.device}", flush=True)


def _load_initial(initial: Initial, policy: Policy, configuration: Configuration) -> None:
    """Reads another run's adapter; the optimizer starts anew, since its moments belong to other gradients."""
    try:
        checkpoint.load(initial.folder, policy, configuration, may_differ=checkpoint.ANOTHER_RUN)
    except CheckpointDamaged as error:
        raise ConfigurationError(str(error)) from error


def _rates(played: _Played) -> dict[str, float | int | str | None]:
    """Success by web task and over all, and how the episodes went."""
    scored = [episode for episode in played.episodes if episode.reward is not None]
    turns = [turn for episode in scored for turn in episode.turns]
    groups = played.zero_variance + len(played.groups)
    by_web_task: dict[str, list[bool]] = {}
    for episode in scored:
        by_web_task.setdefault(episode.start.web_task, []).append(episode.success)
    return {
        "success/all": _mean([episode.success for episode in scored]),
        **{f"success/{web_task}": _mean(values) for web_task, values in sorted(by_web_task.items())},
        "rollout/episodes": len(played.episodes),
        "rollout/unscorable": 1 - len(scored) / len(played.episodes),
        "rollout/valid_actions": _mean([turn.valid for turn in turns]),
        "rollout/turns": len(turns) / max(1, len(scored)),
        "rollout/zero_variance_groups": played.zero_variance / groups,
    }


def _mean(values: list[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _peak_memory() -> int:
    """Bytes: of the GPU where there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
