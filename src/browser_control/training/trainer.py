"""The training loop: draw groups, play them, update, log, save; and continue where a killed run stopped."""

import resource
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from browser_control import progress
from browser_control.configuration import TRAINING_SEEDS, Configuration
from browser_control.errors import CheckpointDamaged, ConfigurationError, EnvironmentLost, Preempted, TrainingFailed
from browser_control.integrity import verify_folder, write_sealed
from browser_control.policy.policy import Policy, adamw, trainable
from browser_control.preemption import Preemption
from browser_control.run_directory import RunDirectory
from browser_control.training import checkpoint, grpo, schedule
from browser_control.training.held_out import Draws, may_be_trained
from browser_control.training.metrics import Metrics, Unlogged
from browser_control.training.parallel import ALONE, Alone, interleave
from browser_control.training.rollout import Environments, Episode, Start, play
from browser_control.training.warm_start import warm_start
from browser_control.training.web_task_sampler import WebTaskSampler

_SAMPLE_EPISODES_EVERY = 10
FAILURES = 3  # updates in a row that came to nothing, which end training


class _NothingScorable(Exception):
    """The environment failed in every episode of an update; the message is why in the first of them."""


@dataclass(frozen=True)
class _Share:
    """The groups that one process played, and what that took: seconds by part, tokens by what was done with them."""

    groups: list[list[Episode]]
    seconds: dict[str, float]
    tokens: dict[str, int]


@dataclass
class _Played:
    """The groups of one update: those that differ, those that do not, and what playing all of them took.

    Processes work at the same time: the slowest counts for each part.
    """

    groups: list[list[Episode]] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)
    silent: list[list[Episode]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: Counter[str] = field(default_factory=Counter)

    def took(self, shares: Sequence[_Share]) -> None:
        for part in shares[0].seconds:
            slowest = max(share.seconds[part] for share in shares)
            self.seconds[part] = self.seconds.get(part, 0.0) + slowest
        for share in shares:
            self.tokens.update(share.tokens)


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
        processes: that train together, each with a policy and sessions of its own.
        initial: what to start from in place of a warm start, where the run has no checkpoint of its own.
    """

    def __init__(
        self,
        policy: Policy,
        environments: Environments,
        configuration: Configuration,
        run: RunDirectory,
        preemption: Preemption,
        processes: Alone = ALONE,
        initial: Initial | None = None,
    ) -> None:
        self.policy = policy
        self.environments = environments
        self.configuration = configuration
        self.settings = configuration.training
        self.run = run
        self.preemption = preemption
        self.processes = processes
        self.initial = initial
        self.optimizer = adamw(policy.model, self.settings.learning_rate, self.settings.weight_decay)
        self.sampler = WebTaskSampler(self.settings.web_tasks, configuration.seed)
        self.update = 0
        self.episodes = 0
        self.written: tuple[Path, int] | None = None  # the newest whole checkpoint, and the seeds drawn by then
        self.pages = Draws(environments, TRAINING_SEEDS)
        self._failures = 0  # updates in a row that came to nothing
        self._ahead = ThreadPoolExecutor(1, "ahead")
        self._looking: Future[object] | None = None  # for the first pages of the next update

    def train(self) -> None:
        """Runs until all updates are done.

        Raises:
            Preempted: the process was asked to end; a checkpoint of the last whole update was saved.
            CheckpointMismatch: the run directory holds checkpoints of another configuration.
            EnvironmentLost: the environment is gone; a checkpoint of the last whole update was saved.
            TrainingFailed: several updates in a row came to nothing; a checkpoint of the one before was saved.
        """
        self._announce()
        self._resume()
        metrics = Metrics(self.run, self.update) if self.processes.rank == 0 else Unlogged()
        try:
            while self.update < self.settings.updates:
                self._one_update(metrics)
                if self.update % self.settings.checkpoint_every == 0 or self.update == self.settings.updates:
                    self._save()
        except (Preempted, EnvironmentLost, TrainingFailed):
            self._save()
            raise
        finally:
            self._ahead.shutdown(cancel_futures=True)
            metrics.close()
        result = {"updates": self.update, "episodes": self.episodes, "success": self.sampler.success}
        self.processes.once(partial(write_sealed, self.run.result, result))

    def _one_update(self, metrics: Metrics | Unlogged) -> None:
        began = time.perf_counter()
        sampler_before = self.sampler.state()
        try:
            played = self._play_groups()
            trained = time.perf_counter()
            if not any(episode.reward is not None for episode in played.episodes):
                raise _NothingScorable(next((episode.failure for episode in played.episodes), "there was none"))
            self._look_ahead()
            statistics = self._learn(played)
        except (Preempted, EnvironmentLost):
            self.sampler.restore(sampler_before)  # the update did not happen: the same groups will be played again
            raise
        except _NothingScorable as failure:
            self.sampler.restore(sampler_before)
            self._came_to_nothing(f"no episode could be scored: {failure}")
            time.sleep(self._failures)  # a service that starts again is there by then
            return
        if statistics is not None and not statistics.stepped:
            self._came_to_nothing("its gradient is not finite; lower training.learning_rate if that goes on")
            return
        self._failures = 0
        rate = schedule.learning_rate(self.settings, self.update)
        self.update += 1
        self.episodes += len(played.episodes)
        seconds = time.perf_counter() - began
        values: dict[str, float | int | str | None] = {
            **_rates(played),
            "time/seconds": seconds,
            **{f"time/{part}": spent for part, spent in played.seconds.items()},
            "time/training": time.perf_counter() - trained,
            "speed/episodes_per_second": len(played.episodes) / seconds,
            **{f"speed/{what}_tokens_per_second": count / seconds for what, count in played.tokens.items()},
            "memory/peak_bytes": _peak_memory(),
            "train/learning_rate": rate,
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
            values["strict/all"],  # type: ignore[arg-type]
            f"{len(played.groups)} of {self.settings.groups} groups differ, {seconds:.1f} s",
        )

    def _came_to_nothing(self, words: str) -> None:
        """Takes note of an update that does not count; raises TrainingFailed if there were several in a row."""
        self._failures += 1
        print(f"update {self.update + 1} does not count: {words}", flush=True)
        if self._failures == FAILURES:
            raise TrainingFailed(f"{FAILURES} updates in a row came to nothing: {words}")

    def _look_ahead(self) -> None:
        """Looks for the first pages of the next update, while this one is trained on."""
        if self.update + 1 < self.settings.updates:
            self.pages.forget()
            groups = self.processes.share(self.sampler.peek(self.settings.groups))
            self._looking = self._ahead.submit(self.pages.find, groups)

    def _play_groups(self) -> _Played:
        """Plays groups until enough of them carry a signal, or the limit of waves is reached."""
        played = _Played()
        self.policy.forget()  # an update that is played again after a restart has the same numbers
        for _ in range(1 + self.settings.resample_limit):
            drawn = self.sampler.draw(self.settings.groups - len(played.groups))
            shares = self.processes.together(partial(self._play, self.processes.share(drawn)))
            played.took(shares)
            for group in interleave(share.groups for share in shares):
                played.episodes += group
                longest = max(len(episode.turns) for episode in group)
                self.sampler.learn(group[0].start.web_task, [episode.reward for episode in group], longest)
                if grpo.has_signal(group):
                    played.groups.append(group)
                else:
                    played.silent.append(group)
            if len(played.groups) >= self.settings.groups:
                break
        return played

    def _play(self, drawn: Sequence[tuple[str, int]]) -> _Share:
        """Plays the groups of these web tasks and seeds."""
        acting, tokens = dict(self.policy.sampler.seconds), self._tokens()
        began = time.perf_counter()
        if self._looking is not None:
            self._looking.result()
            self._looking = None
        drawn = self.pages.find(drawn)
        looked = time.perf_counter() - began
        episodes, timing = play(
            self.policy,
            self.environments,
            [start for web_task, seed in drawn for start in self._group(web_task, seed)],
            max_turns=schedule.max_turns(self.settings, self.configuration.environment.max_turns, self.update),
            random_seed=self.configuration.seed,
            reward=self.settings.reward,
            in_step=self.policy.device.type == "cpu",
            all_at_once=self.policy.device.type == "cpu",
            side_by_side=self.policy.device.type == "cpu",
            on_episode=lambda episode: self.preemption.check(),
        )
        for episode in episodes:
            if episode.page and not may_be_trained(episode.start.web_task, episode.page):
                episode.reward, episode.failure = None, "its page is held out, though not a moment before"
        seconds = {part: spent - acting[part] for part, spent in self.policy.sampler.seconds.items()}
        return _Share(
            grpo.groups_of(episodes),
            {"environment": timing.environment + looked, "generation": timing.generation, **seconds},
            {what: count - tokens[what] for what, count in self._tokens().items()},
        )

    def _group(self, web_task: str, seed: int) -> list[Start]:
        temperature = self.settings.silent_temperature if self.sampler.silent(web_task) else None
        return [Start(web_task, seed, member, temperature) for member in range(self.settings.group_size)]

    def _tokens(self) -> dict[str, int]:
        return {"generated": self.policy.sampler.generated_tokens, "prefilled": self.policy.sampler.prefilled_tokens}

    def _learn(self, played: _Played) -> grpo.UpdateStatistics | None:
        """One optimizer step on the groups that differ; None where none does, and nothing else is to be learnt."""
        counting = [*played.groups, *played.silent] if self.settings.entropy else played.groups
        batch = grpo.samples(counting, self.settings.baseline, self.settings.imitation)
        if not batch:
            return None
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.learning_rate(self.settings, self.update)
        return grpo.update(
            self.policy,
            self.optimizer,
            batch,
            episodes=self.settings.groups * self.settings.group_size,
            clip=grpo.Clip(*self.settings.clip),
            entropy=self.settings.entropy,
            max_gradient_norm=self.settings.max_gradient_norm,
            tokens_per_micro_batch=self.settings.tokens_per_micro_batch,
            before_micro_batch=self.preemption.check,
            processes=self.processes,
        )

    def _resume(self) -> None:
        """Reads the newest checkpoint; else the adapter to start from; else the warm start's.

        The last is made here if the flow did not make it.
        """
        newest = self.processes.once(self._newest)
        if newest is not None:
            state = checkpoint.load(newest, self.policy, self.configuration, self.optimizer)
            self.update, self.episodes = state["update"], state["episodes"]
            self.sampler.restore(state["sampler"])
            self.written = newest, self.sampler.drawn
            print(f"continuing behind update {self.update} from {newest}", flush=True)
        elif self.initial is not None:
            _load_initial(self.initial, self.policy, self.configuration)
            self.sampler.skip(self.initial.seeds_drawn)
            print(f"starting from {self.initial.folder}, {self.initial.seeds_drawn} seeds on", flush=True)
        elif self.configuration.warm_start.demonstrates:
            self.processes.once(self._warm_start)
            checkpoint.load(
                self.run.warm_start,
                self.policy,
                self.configuration,
                may_differ=(*checkpoint.MAY_DIFFER, "training"),
            )
            print(f"starting from {self.run.warm_start}", flush=True)

    def _newest(self) -> Path | None:
        newest = checkpoint.newest(self.run)
        if newest is not None:
            checkpoint.discard_after(self.run, newest)
        checkpoint.prune(self.run, self.settings.keep_checkpoints)
        return newest

    def _warm_start(self) -> None:
        if not _is_whole(self.run.warm_start):
            state = warm_start(self.policy, self.environments, self.configuration, self.preemption, self.run.kept)
            checkpoint.save(self.run.warm_start, self.policy, self.configuration, state)

    def _save(self) -> None:
        if len(set(self.processes.together(self._fingerprint))) > 1:
            raise RuntimeError("the processes hold different weights, which the same gradients cannot have led to")
        self.processes.once(self._write)

    def _fingerprint(self) -> float:
        return sum(parameter.detach().double().sum().item() for parameter in trainable(self.policy.model))

    def _write(self) -> None:
        written = self.run.step(self.update), self.sampler.drawn
        if written == self.written:  # seeds are drawn, and the update is the same, where gradients were not finite
            return  # asked to end right after a checkpoint: to replace it by itself could only lose it
        state: dict[str, Any] = {"update": self.update, "episodes": self.episodes, "sampler": self.sampler.state()}
        checkpoint.save(self.run.step(self.update), self.policy, self.configuration, state, self.optimizer)
        self.written = written
        checkpoint.prune(self.run, self.settings.keep_checkpoints)

    def _announce(self) -> None:
        count = sum(parameter.numel() for parameter in trainable(self.policy.model))
        total = sum(parameter.numel() for parameter in self.policy.model.parameters())
        print(f"training {count:,} of {total:,} parameters on {self.policy.device}", flush=True)


def _is_whole(warm_started: Path) -> bool:
    """Whether the warm start is there; one that is damaged is made again, in its place."""
    if not warm_started.exists():
        return False
    try:
        verify_folder(warm_started)
    except CheckpointDamaged as error:
        print(f"{error}; it is made again", flush=True)
        return False
    return True


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
    groups = len(played.silent) + len(played.groups)
    by_web_task: dict[str, list[Episode]] = {}
    for episode in scored:
        by_web_task.setdefault(episode.start.web_task, []).append(episode)
    by_web_task = {"all": scored, **dict(sorted(by_web_task.items()))}
    return {
        **{f"strict/{name}": _mean([each.strict for each in episodes]) for name, episodes in by_web_task.items()},
        **{f"success/{name}": _mean([each.success for each in episodes]) for name, episodes in by_web_task.items()},
        "rollout/episodes": len(played.episodes),
        "rollout/unscorable": 1 - len(scored) / len(played.episodes),
        "rollout/valid_actions": _mean([turn.valid for turn in turns]),
        "rollout/turns": len(turns) / max(1, len(scored)),
        "rollout/zero_variance_groups": len(played.silent) / groups,
    }


def _mean(values: list[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _peak_memory() -> int:
    """Bytes: of the GPU where there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
