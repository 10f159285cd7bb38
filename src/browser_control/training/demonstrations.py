"""Demonstrations: episodes that scripted solvers play, as samples of what the policy should have said."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import cycle, islice

from browser_control.configuration import DEMONSTRATION_SEEDS
from browser_control.environment.client import Observation
from browser_control.errors import EnvironmentFailure
from browser_control.language import actions
from browser_control.language.page import page_of, parse_page
from browser_control.language.prompts import Memory
from browser_control.policy.policy import Policy
from browser_control.policy.sampling import Completion
from browser_control.solvers import View, solver
from browser_control.training.held_out import REDRAWS, may_be_trained, redrawn, too_few_pages
from browser_control.training.rollout import Environments, Reward, build_prompt, is_whole


@dataclass(frozen=True)
class Demonstration:
    """A solved episode, one completion a turn."""

    web_task: str
    seed: int
    completions: tuple[Completion, ...]


@dataclass
class _Play:
    """An episode that a solver plays in one session; `number` is its place among all of them."""

    number: int
    web_task: str
    seed: int
    session: int
    waiting: "Future[Observation]"
    taken: list[actions.Action] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    completions: list[Completion] = field(default_factory=list)
    begun: bool = False
    redraws: int = 0
    solved: bool = False


def collect(
    policy: Policy,
    environments: Environments,
    web_tasks: Sequence[str],
    count: int,
    max_turns: int,
    on_episode: Callable[[int], None] = lambda played: None,
    reward: Reward = "strict",
) -> list[Demonstration]:
    """Plays `count` episodes, the web tasks in turn, and keeps those that were solved, in the order of their seeds.

    Solved is the whole task (`strict`); with the reward `browsergym` a server need not be able to tell. A page that is
    held out is drawn again. While one page is looked at all others work; which of them is the fastest changes nothing.

    Args:
        policy: whose tokenizer and action trees spell the actions; it does not act.
        environments: whose sessions are all used, one episode each at a time.
        web_tasks: each with a solver (`solvers.solver`).
        on_episode: told how many were played so far.
    """
    starts = [
        (web_task, DEMONSTRATION_SEEDS.start + index) for index, web_task in enumerate(islice(cycle(web_tasks), count))
    ]
    queue = deque(enumerate(starts))
    plays: deque[_Play] = deque()
    solved: dict[int, Demonstration] = {}
    played = 0

    def begin(session: int) -> None:
        if queue:
            number, (web_task, seed) = queue.popleft()
            plays.append(_Play(number, web_task, seed, session, environments.reset(session, web_task, seed)))

    for session in range(len(environments)):
        begin(session)
    while plays:
        play = plays.popleft()
        if _is_held_out(play):
            play.seed = redrawn(play.seed, DEMONSTRATION_SEEDS)
            play.waiting = environments.reset(play.session, play.web_task, play.seed)
            plays.append(play)
            continue
        action = _next_action(policy, play, max_turns, reward)
        if action is not None:
            play.waiting = environments.step(play.session, action)
            plays.append(play)
            continue
        if play.solved:
            solved[play.number] = Demonstration(play.web_task, play.seed, tuple(play.completions))
        played += 1
        on_episode(played)
        begin(play.session)
    return [solved[number] for number in sorted(solved)]


def _is_held_out(play: _Play) -> bool:
    """Whether the episode began on a page that is kept for judging; asked once an episode.

    Raises:
        ConfigurationError: the web task shows nothing else.
    """
    if play.begun:
        return False
    try:
        observation = play.waiting.result()
    except EnvironmentFailure:
        return False
    play.begun = may_be_trained(play.web_task, page_of(observation.goal, observation.text))
    play.redraws += 1
    if play.redraws > REDRAWS:
        raise too_few_pages(play.web_task)
    return not play.begun


def _next_action(policy: Policy, play: _Play, max_turns: int, reward: Reward) -> str | None:
    """Waits for the page and takes down what its solver does; None where the episode is over.

    It is over, and not `solved`, also where the environment failed or the solver's action cannot be spelled.
    """
    try:
        observation = play.waiting.result()
    except EnvironmentFailure:
        return None
    if observation.done or len(play.taken) >= max_turns:
        play.solved = observation.done and is_whole(observation, reward) and bool(play.completions)
        return None
    prompt = build_prompt(policy, observation, play.memory, observation.error)
    view = View(observation.goal, parse_page(observation.text), tuple(play.taken), observation.error, prompt.spent)
    play_on = solver(play.web_task)
    action = play_on(view) if play_on is not None else None
    if action is None:
        return None
    try:
        play.completions.append(policy.imitate(prompt, action))
    except ValueError:
        return None
    play.taken.append(action)
    play.memory.act(action, prompt.elements, policy.settings.action_format)
    return action.to_browsergym()


def shuffled(demonstrations: Sequence[Demonstration], seed: int, epoch: int) -> list[Completion]:
    """All their completions in the random order of one epoch."""
    completions = [completion for each in demonstrations for completion in each.completions]
    random.Random(f"{seed} {epoch}").shuffle(completions)
    return completions
