"""Demonstrations: episodes that scripted solvers play, as samples of what the policy should have said."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from browser_control import actions
from browser_control.configuration import DEMONSTRATION_SEEDS
from browser_control.environment_client import Observation
from browser_control.errors import EnvironmentFailure
from browser_control.grammar import spell
from browser_control.page import parse_page
from browser_control.policy import Completion, Policy
from browser_control.rollout import Environments, build_prompt
from browser_control.solvers import SOLVERS, View


@dataclass(frozen=True)
class Demonstration:
    """A solved episode, one completion a turn."""

    web_task: str
    seed: int
    completions: tuple[Completion, ...]


def collect(
    policy: Policy,
    environments: Environments,
    web_tasks: Sequence[str],
    count: int,
    max_turns: int,
    on_episode: Callable[[int], None] = lambda played: None,
) -> list[Demonstration]:
    """Plays `count` episodes, the web tasks in turn, and keeps those that were solved.

    Args:
        policy: whose tokenizer and grammar spell the actions; it does not act.
        environments: whose sessions are all used, one episode each at a time.
        web_tasks: each with a solver in `solvers.SOLVERS`.
        on_episode: told how many were played so far.
    """
    starts = [
        (web_task, DEMONSTRATION_SEEDS.start + index) for index, web_task in enumerate(islice(cycle(web_tasks), count))
    ]
    demonstrations: list[Demonstration] = []
    for first in range(0, len(starts), len(environments)):
        wave = starts[first : first + len(environments)]
        resets = [environments.reset(session, *start) for session, start in enumerate(wave)]
        for session, (start, reset) in enumerate(zip(wave, resets, strict=True)):
            try:
                completions = _solve(policy, environments, session, start[0], reset.result(), max_turns)
            except EnvironmentFailure:
                continue
            if completions:
                demonstrations.append(Demonstration(*start, completions))
        on_episode(first + len(wave))
    return demonstrations


def _solve(
    policy: Policy, environments: Environments, session: int, web_task: str, observation: Observation, max_turns: int
) -> tuple[Completion, ...]:
    """The completions of one episode, or none if it was not solved within the turns or cannot be spelled."""
    solver = SOLVERS[web_task]
    action_format = policy.settings.action_format
    taken: list[actions.Action] = []
    spelled: list[str] = []
    completions: list[Completion] = []
    while not observation.done and len(taken) < max_turns:
        prompt = build_prompt(policy, observation, spelled, observation.error)
        action = solver(View(observation.goal, parse_page(observation.text), tuple(taken)))
        if action is None:
            return ()
        try:
            completions.append(policy.imitate(prompt, action))
        except ValueError:
            return ()
        taken.append(action)
        spelled.append(spell(action, prompt.elements, action_format))
        observation = environments.step(session, action.to_browsergym()).result()
    return tuple(completions) if observation.done and observation.reward > 0 else ()


def shuffled(demonstrations: Sequence[Demonstration], seed: int, epoch: int) -> list[Completion]:
    """All their completions in the random order of one epoch."""
    completions = [completion for each in demonstrations for completion in each.completions]
    random.Random(f"{seed} {epoch}").shuffle(completions)
    return completions
