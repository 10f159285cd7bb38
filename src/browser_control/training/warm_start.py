"""Behaviour cloning on solvers' demonstrations, for web tasks in which an untrained policy finds no reward.

GRPO learns from differences in reward; where every episode fails, there are none. A short warm start is enough for it
to take over from.
"""

import random
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice
from math import isfinite, nan
from pathlib import Path

import torch
from torch import Tensor

from browser_control import progress
from browser_control.configuration import Configuration, WarmStart
from browser_control.errors import ConfigurationError, TrainingFailed
from browser_control.language import kept
from browser_control.policy.devices import Fetched
from browser_control.policy.policy import Policy, adamw, trainable
from browser_control.policy.sampling import Completion
from browser_control.preemption import Preemption
from browser_control.solvers import prerequisites
from browser_control.training.demonstrations import Corrections, Demonstration, collect, correct, shuffled
from browser_control.training.grpo import Sample, clipped_step, micro_batches, rows
from browser_control.training.kept import demonstrations as demonstrations_of
from browser_control.training.rollout import Environments

FAILURES = 3  # in a row that end a run


def warm_start(
    policy: Policy,
    environments: Environments,
    configuration: Configuration,
    preemption: Preemption,
    copy: Path | None = None,
) -> dict[str, object]:
    """Collects demonstrations and trains on them; returns what is worth keeping of it.

    Args:
        copy: the run's own of the episodes of `warm_start.kept`, where there are any.

    Raises:
        ConfigurationError: no solver for a web task, no demonstration succeeded, or nothing that was kept is one.
        RecordDamaged: the copy is not what was written.
    """
    settings, began = configuration.warm_start, time.perf_counter()
    demonstrations, files = _kept(policy, copy) if settings.kept and copy is not None else ([], [])
    if settings.demonstrations:
        every = list(islice(cycle(settings.web_tasks), settings.demonstrations))
        if not (won := _demonstrate(policy, environments, configuration, preemption, every, 0)):
            raise ConfigurationError("no demonstration succeeded; look at environment.max_turns and policy.actions")
        demonstrations += won
    steps = _learn(policy, demonstrations, configuration, preemption, 0)
    takeovers: list[dict[str, dict[str, int]]] = []
    found: Corrections | None = None
    for number in range(settings.dagger_rounds):
        web_tasks = spread(settings, settings.dagger_episodes, found)
        found = _correct(policy, environments, configuration, preemption, number, web_tasks)
        solved = Counter(each.web_task for each in found.demonstrations)
        takeovers.append(
            {each: {"played": count, "solved": solved[each]} for each, count in sorted(found.taken_over.items())}
        )
        new = found.demonstrations
        if settings.dagger_demonstrations:
            begin = number * settings.dagger_demonstrations
            web_tasks = spread(settings, settings.dagger_demonstrations, found, begin)
            first = settings.demonstrations + settings.dagger_rounds * settings.dagger_episodes + begin
            new = new + _demonstrate(policy, environments, configuration, preemption, web_tasks, first)
        before, demonstrations = demonstrations, demonstrations + new
        if number + 1 < settings.dagger_rounds:
            learned = replayed(before, settings.dagger_replay, configuration.seed, number) + new
        else:
            learned = demonstrations
        steps += _learn(policy, learned, configuration, preemption, number + 1)
    return {
        "demonstrations": len(demonstrations),
        **({"kept": files} if files else {}),
        "steps": steps,
        "takeovers": takeovers,
        "seconds": round(time.perf_counter() - began, 2),
    }


def spread(settings: WarmStart, count: int, before: Corrections | None, begin: int = 0) -> list[str]:
    """The web tasks of `count` episodes: in turn, but for `dagger_focus`, which goes where there is most to learn.

    That share is dealt out by the rate at which the policy failed in the round before times the rate at which its
    solver went on from there: what no solver mends teaches little. Largest remainders first.

    Args:
        begin: of the turn, in episodes.
    """
    turn = cycle(settings.web_tasks)
    begin %= len(settings.web_tasks)
    focused = round(settings.dagger_focus * count)
    rates = _mended(before) if before else {}
    if not focused or not any(rates.values()):
        return list(islice(turn, begin, begin + count))
    shares = {each: focused * rate / sum(rates.values()) for each, rate in rates.items()}
    counts = Counter({each: int(share) for each, share in shares.items()})
    by_remainder = sorted(shares, key=lambda each: (int(shares[each]) - shares[each], each))
    counts.update(by_remainder[: focused - counts.total()])
    counts.update(islice(turn, begin, begin + count - focused))
    return [each for each in dict.fromkeys(settings.web_tasks) for _ in range(counts[each])]


def _mended(before: Corrections) -> dict[str, float]:
    """Of each web task the share of its episodes that the policy lost and its solver would win from there.

    By Laplace's rule of succession: a few that were not mended do not leave a web task out for good.
    """
    return {
        each: before.failed[each] / played * (before.mended[each] + 1) / (before.failed[each] + 2)
        for each, played in before.played.items()
    }


def replayed(before: Sequence[Demonstration], share: float, seed: int, number: int) -> list[Demonstration]:
    """The share of earlier demonstrations that round `number` of DAgger clones again, drawn by lot, in their order."""
    drawn = random.Random(f"{seed} {number} replay").sample(range(len(before)), round(share * len(before)))
    return [before[index] for index in sorted(drawn)]


def _learn(
    policy: Policy,
    demonstrations: Sequence[Demonstration],
    configuration: Configuration,
    preemption: Preemption,
    number: int,
) -> int:
    """Behaviour cloning on these demonstrations, with an optimizer of its own; returns the steps.

    Args:
        number: of the round; 0 is before all rounds of DAgger.
    """
    settings = configuration.warm_start
    optimizer = adamw(policy.model, settings.learning_rate)
    batches = [
        completions[first : first + settings.batch_size]
        for epoch in range(settings.epochs)
        for completions in [shuffled(demonstrations, configuration.seed, number * settings.epochs + epoch)]
        for first in range(0, len(completions), settings.batch_size)
    ]
    began, failures = time.perf_counter(), 0
    losses: list[Fetched] = []  # not yet looked at: a step is begun before the one before it is waited for

    def look(step: int) -> None:
        nonlocal failures
        loss = losses.pop(0).item()
        failures = 0 if isfinite(loss) else failures + 1
        if failures:
            print(f"step {step} changes nothing: its gradient is not finite", flush=True)
        if failures == FAILURES:
            raise TrainingFailed(f"the gradients of {FAILURES} steps were not finite; lower warm_start.learning_rate")
        progress.report("warm start: learning", step, len(batches), message=f"loss {loss:.3f}")

    for step, batch in enumerate(batches, start=1):
        preemption.check()
        _set_learning_rate(optimizer, settings, step, len(batches))
        losses.append(Fetched(clone(policy, optimizer, batch, configuration)))
        if step > 1:
            look(step - 1)
    if losses:
        look(len(batches))
    print(f"warm start: {len(batches)} steps in {time.perf_counter() - began:.0f} s", flush=True)
    return len(batches)


def clone(
    policy: Policy, optimizer: torch.optim.Optimizer, batch: Sequence[Completion], configuration: Configuration
) -> Tensor:
    """One step of behaviour cloning: the mean negative log-probability of the decisions, before the step; a scalar.

    A gradient that is not finite changes nothing; the value is then not a number. On a GPU it is not waited for.
    """
    decisions = sum(len(completion.decisions) for completion in batch)
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=policy.device)
    samples = [Sample(completion, 1.0, 0.0) for completion in batch if completion.decisions]
    chunks = micro_batches(policy, rows(policy, samples), configuration.training.tokens_per_micro_batch)
    for chunk in chunks:
        loss = -policy.log_probs([sample.completion for sample in chunk.samples], chunk.share).sum() / decisions
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    norm = clipped_step(optimizer, trainable(policy.model), configuration.training.max_gradient_norm)
    return torch.where(torch.isfinite(norm), total, nan)


def _demonstrate(
    policy: Policy,
    environments: Environments,
    configuration: Configuration,
    preemption: Preemption,
    web_tasks: Sequence[str],
    first: int,
) -> list[Demonstration]:
    """What solvers show of `web_tasks`, an episode each.

    Args:
        first: number of the first among all that are played for demonstrations; each has a seed of its own.
    """
    prerequisites.check(configuration)

    def played(count: int) -> None:
        preemption.check()
        if count % 8 == 0 or count == len(web_tasks):
            progress.report("warm start: demonstrations", count, len(web_tasks))

    demonstrations = collect(
        policy,
        environments,
        web_tasks,
        len(web_tasks),
        configuration.environment.max_turns,
        played,
        configuration.training.reward,
        first,
    )
    print(f"warm start: {len(demonstrations)} of {len(web_tasks)} demonstrations succeeded", flush=True)
    return demonstrations


def _kept(policy: Policy, copy: Path) -> tuple[list[Demonstration], list[dict[str, str]]]:
    """Demonstrations that a person kept, and which files they are from."""
    episodes, files = kept.taken(copy)
    found, passed_over = demonstrations_of(policy, episodes)
    names = " and ".join(each["name"] for each in files)
    words = "".join(f", {count} {why}" for why, count in passed_over.items())
    print(f"warm start: {len(found)} of {len(episodes)} episodes of {names} are demonstrations{words}", flush=True)
    if not found:
        raise ConfigurationError(
            f"warm_start.kept: none of the {len(episodes)} episodes of {names} is one to learn from{words}"
        )
    return found, files


def _correct(
    policy: Policy,
    environments: Environments,
    configuration: Configuration,
    preemption: Preemption,
    number: int,
    web_tasks: Sequence[str],
) -> Corrections:
    """A round of DAgger's episodes."""
    settings = configuration.warm_start
    first = settings.demonstrations + number * settings.dagger_episodes

    def played(count: int) -> None:
        preemption.check()
        if count % 8 == 0 or count == 2 * settings.dagger_episodes:
            progress.report("warm start: corrections", count, 2 * settings.dagger_episodes)

    found = correct(
        policy,
        environments,
        web_tasks,
        range(first, first + settings.dagger_episodes),
        configuration.environment.max_turns,
        configuration.seed,
        played,
        configuration.training.reward,
        settings.dagger_failed_only,
    )
    asked = found.taken_over.total()
    print(
        f"warm start: solvers solved {len(found.demonstrations)} of {asked} from the policy's states"
        f" ({len(found.demonstrations) / max(asked, 1):.0%}); the policy itself solved"
        f" {1 - found.failed.total() / max(found.played.total(), 1):.0%}",
        flush=True,
    )
    return found


def _set_learning_rate(optimizer: torch.optim.Optimizer, settings: WarmStart, step: int, steps: int) -> None:
    """Linear decay to zero."""
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * (1 - (step - 1) / steps)
