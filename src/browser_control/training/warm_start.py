"""Behaviour cloning on solvers' demonstrations, for web tasks in which an untrained policy finds no reward.

GRPO learns from differences in reward; where every episode fails, there are none. A short warm start is enough for it
to take over from.
"""

import time
from collections.abc import Sequence
from math import isfinite, nan

import torch

from browser_control import progress
from browser_control.configuration import Configuration, WarmStart
from browser_control.errors import ConfigurationError, TrainingFailed
from browser_control.policy.policy import Policy, trainable
from browser_control.policy.sampling import Completion
from browser_control.preemption import Preemption
from browser_control.solvers import SOLVERS, solver
from browser_control.training.demonstrations import Demonstration, collect, shuffled
from browser_control.training.grpo import Sample, clipped_step, micro_batches, rows
from browser_control.training.rollout import Environments
from browser_control.web_tasks import registry

FAILURES = 3  # in a row that end a run


def warm_start(
    policy: Policy, environments: Environments, configuration: Configuration, preemption: Preemption
) -> dict[str, object]:
    """Collects demonstrations and trains on them; returns what is worth keeping of it.

    Raises:
        ConfigurationError: no solver for a web task, or no demonstration succeeded.
    """
    settings = configuration.warm_start
    demonstrations = _demonstrate(policy, environments, configuration, preemption)
    optimizer = torch.optim.AdamW(trainable(policy.model), lr=settings.learning_rate, weight_decay=0.0)
    batches = [
        completions[first : first + settings.batch_size]
        for epoch in range(settings.epochs)
        for completions in [shuffled(demonstrations, configuration.seed, epoch)]
        for first in range(0, len(completions), settings.batch_size)
    ]
    began, failures = time.perf_counter(), 0
    for number, batch in enumerate(batches, start=1):
        preemption.check()
        _set_learning_rate(optimizer, settings, number, len(batches))
        loss = clone(policy, optimizer, batch, configuration)
        failures = 0 if isfinite(loss) else failures + 1
        if failures:
            print(f"step {number} changes nothing: its gradient is not finite", flush=True)
        if failures == FAILURES:
            raise TrainingFailed(f"the gradients of {FAILURES} steps were not finite; lower warm_start.learning_rate")
        progress.report("warm start: learning", number, len(batches), message=f"loss {loss:.3f}")
    print(f"warm start: {len(batches)} steps in {time.perf_counter() - began:.0f} s", flush=True)
    return {"demonstrations": len(demonstrations), "steps": len(batches)}


def clone(
    policy: Policy, optimizer: torch.optim.Optimizer, batch: Sequence[Completion], configuration: Configuration
) -> float:
    """One step of behaviour cloning: the mean negative log-probability of the decisions, before the step.

    A gradient that is not finite changes nothing; the value is then not a number.
    """
    decisions = sum(len(completion.decisions) for completion in batch)
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    samples = [Sample(completion, 1.0, 0.0) for completion in batch if completion.decisions]
    chunks = micro_batches(rows(policy, samples), configuration.training.tokens_per_micro_batch)
    for chunk in chunks:
        loss = -policy.log_probs([sample.completion for sample in chunk]).sum() / decisions
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    norm = clipped_step(optimizer, trainable(policy.model), configuration.training.max_gradient_norm)
    return total if isfinite(norm) else nan


def _demonstrate(
    policy: Policy, environments: Environments, configuration: Configuration, preemption: Preemption
) -> list[Demonstration]:
    settings = configuration.warm_start
    if unsolved := [web_task for web_task in settings.web_tasks if solver(web_task) is None]:
        if registry.own(unsolved[0]) is not None:
            raise ConfigurationError(f"warm_start.web_tasks: the task.yaml of {unsolved[0]!r} has no solution to show")
        raise ConfigurationError(
            f"warm_start.web_tasks: no solver plays {unsolved[0]!r}; solvers play {', '.join(SOLVERS)}"
        )

    def played(count: int) -> None:
        preemption.check()
        if count % 8 == 0 or count == settings.demonstrations:
            progress.report("warm start: demonstrations", count, settings.demonstrations)

    demonstrations = collect(
        policy,
        environments,
        settings.web_tasks,
        settings.demonstrations,
        configuration.environment.max_turns,
        played,
        configuration.training.reward,
    )
    print(f"warm start: {len(demonstrations)} of {settings.demonstrations} demonstrations succeeded", flush=True)
    if not demonstrations:
        raise ConfigurationError("no demonstration succeeded; look at environment.max_turns and policy.actions")
    return demonstrations


def _set_learning_rate(optimizer: torch.optim.Optimizer, settings: WarmStart, step: int, steps: int) -> None:
    """Linear decay to zero."""
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * (1 - (step - 1) / steps)
