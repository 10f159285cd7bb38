"""Demonstrations: episodes that scripted solvers play, as samples of what the policy should have said.

`correct` has solvers play on from states that the policy reached (DAgger, Ross et al. 2011). Solvers read the page,
and some also what was done before, which they take for their own doing. So none is believed: what it says is kept where
it then did the whole task. But its word on a first page, where nothing was done before, is kept as well.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import cycle, islice
from queue import SimpleQueue

from browser_control.configuration import DEMONSTRATION_SEEDS
from browser_control.environment.client import Observation
from browser_control.errors import EnvironmentFailure
from browser_control.language import actions
from browser_control.language.page import Element, page_of, parse_page
from browser_control.language.prompts import Memory
from browser_control.policy.policy import Policy
from browser_control.policy.sampling import Completion
from browser_control.solvers import Solution, View, solver
from browser_control.training.dealing import Dealing
from browser_control.training.held_out import REDRAWS, Draws, may_be_trained, redrawn, too_few_pages
from browser_control.training.rollout import (
    Environments,
    Episode,
    Reward,
    Start,
    build_prompt,
    is_whole,
    play,
    read_action,
)

_ATTEMPTS = 3  # at an episode that the environment fails


@dataclass(frozen=True)
class Demonstration:
    """A solved episode, one completion a turn."""

    web_task: str
    seed: int
    completions: tuple[Completion, ...]


@dataclass(frozen=True)
class Corrections:
    """What a round of DAgger brought.

    Attributes:
        demonstrations: what solvers did from where the policy went, of those episodes that they then solved.
        played, failed: episodes of the policy itself, by web task; one that cannot be scored counts as neither.
        taken_over: episodes in which a solver took over, by web task.
        mended: those of `failed` that a solver then solved.
    """

    demonstrations: list[Demonstration]
    played: Counter[str]
    failed: Counter[str]
    taken_over: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)


@dataclass
class _Play:
    """An episode that a solver plays in one session; `number` is its place among all of them.

    `led` is what is done before the solver takes over: the policy's actions. `first` is what the solver would have said
    to the first page, where the policy said something else. `lost` is whether the environment failed, in this attempt.
    """

    number: int
    web_task: str
    seed: int
    session: int
    waiting: "Future[Observation]"
    led: Sequence[actions.Action] = ()
    taken: list[actions.Action] = field(default_factory=list)
    touched: list[Element] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    first: list[Completion] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    begun: bool = False
    redraws: int = 0
    solved: bool = False
    lost: bool = False
    attempt: int = 1


def collect(
    policy: Policy,
    environments: Environments,
    web_tasks: Sequence[str],
    count: int,
    max_turns: int,
    on_episode: Callable[[int], None] = lambda played: None,
    reward: Reward = "strict",
    first: int = 0,
) -> list[Demonstration]:
    """Plays `count` episodes, the web tasks in turn, and keeps those that were solved, in the order of their seeds.

    Solved is the whole task (`strict`); with the reward `browsergym` a server need not be able to tell. A page that is
    held out is drawn again. While one page is looked at all others work; which of them is the fastest changes nothing.

    Args:
        policy: whose tokenizer and action trees spell the actions; it does not act.
        environments: whose sessions are all used, one episode each at a time.
        web_tasks: each with a solver (`solvers.solver`).
        on_episode: told how many were played so far.
        first: of the episodes, among all that are played for demonstrations; each has a seed of its own.
    """
    starts = [(web_task, seed, ()) for web_task, seed in _starts(web_tasks, first, count)]
    return _solve(policy, environments, starts, max_turns, on_episode, reward)


def correct(
    policy: Policy,
    environments: Environments,
    web_tasks: Sequence[str],
    numbers: range,
    max_turns: int,
    random_seed: int,
    on_episode: Callable[[int], None] = lambda played: None,
    reward: Reward = "strict",
    failed_only: bool = False,
) -> Corrections:
    """What solvers do from where the policy went, in the order of the episodes' seeds.

    The policy samples an episode; its solver takes over at one of its turns, drawn by lot, on the same page after the
    same actions. The first turn is drawn only where there is no other; what the solver would have said to it is learned
    beside what it then does, where the policy said something else. What the policy did is no part of what is returned.

    Args:
        web_tasks: played in turn.
        numbers: of the episodes among all that are played for demonstrations; each has a seed of its own.
        random_seed: draws the policy's decisions, and where its solver takes over.
        on_episode: told how many episodes were played so far; each counts twice, the policy's and its solver's.
        failed_only: solvers go on only where the policy then lost; what it won counts as played twice.
    """
    drawn = Draws(environments, DEMONSTRATION_SEEDS).find(_starts(web_tasks, numbers.start, len(numbers)))
    counted = iter(range(1, 2 * len(numbers) + 1))
    policy.forget()
    episodes, _ = play(
        policy,
        environments,
        [Start(web_task, seed) for web_task, seed in drawn],
        max_turns=max_turns,
        random_seed=random_seed,
        reward=reward,
        in_step=policy.device.type == "cpu",
        all_at_once=policy.device.type == "cpu",
        on_episode=lambda episode: on_episode(next(counted)),
    )
    scored = [each for each in episodes if each.reward is not None]
    taken_over = [each for each in episodes if not (failed_only and each.reward is not None and each.strict)]
    for _ in range(len(episodes) - len(taken_over)):
        on_episode(next(counted))
    starts = [
        (each.start.web_task, each.start.seed, _led(each, policy.settings.action_format, random_seed))
        for each in taken_over
    ]
    solved = _solve(policy, environments, starts, max_turns, lambda played: on_episode(next(counted)), reward)
    lost = {(each.start.web_task, each.start.seed) for each in scored if not each.strict}
    return Corrections(
        solved,
        Counter(each.start.web_task for each in scored),
        Counter(web_task for web_task, _ in lost),
        Counter(each.start.web_task for each in taken_over),
        Counter(each.web_task for each in solved if (each.web_task, each.seed) in lost),
    )


def _starts(web_tasks: Sequence[str], first: int, count: int) -> list[tuple[str, int]]:
    """Web task and seed of the episodes from number `first` on."""
    return [
        (web_task, DEMONSTRATION_SEEDS[first + index]) for index, web_task in enumerate(islice(cycle(web_tasks), count))
    ]


def _led(episode: Episode, action_format: str, random_seed: int) -> list[actions.Action]:
    """The policy's actions before the turn at which a solver takes over; no further than they were actions."""
    start, turns = episode.start, episode.turns
    generator = random.Random(f"{random_seed} {start.web_task} {start.seed}")
    led = turns[: generator.randrange(1, len(turns)) if len(turns) > 1 else 0]
    valid = next((number for number, turn in enumerate(led) if not turn.valid), len(led))
    return [read_action(turn.completion.text, turn.prompt, action_format) for turn in led[:valid]]


def _solve(
    policy: Policy,
    environments: Environments,
    starts: Sequence[tuple[str, int, Sequence[actions.Action]]],
    max_turns: int,
    on_episode: Callable[[int], None],
    reward: Reward,
) -> list[Demonstration]:
    """Solvers' episodes, each after some actions of the policy, as far as they were solved.

    What the environment failed is played again: a machine that is busy would else have the policy learn from less.
    """
    dealing = Dealing((start[0], (number, start)) for number, start in enumerate(starts))
    answered: SimpleQueue[_Play] = SimpleQueue()  # as pages come: an episode depends on no other
    solved: dict[int, Demonstration] = {}
    played = 0

    def wait(each: _Play, page: "Future[Observation]") -> None:
        each.waiting = page
        page.add_done_callback(lambda _: answered.put(each))

    def begin(session: int) -> None:
        if (dealt := dealing.take(session)) is not None:
            number, (web_task, seed, led) = dealt
            page = environments.reset(session, web_task, seed)
            wait(_Play(number, web_task, seed, session, page, led), page)

    for session in range(len(environments)):
        begin(session)
    while played < len(starts):
        each = answered.get()
        if _is_held_out(each):
            each.seed, each.attempt = redrawn(each.seed, DEMONSTRATION_SEEDS), 1
            wait(each, environments.reset(each.session, each.web_task, each.seed))
            continue
        action = _next_action(policy, each, max_turns, reward)
        if action is not None:
            wait(each, environments.step(each.session, action))
            continue
        if each.lost and each.attempt < _ATTEMPTS:
            page = environments.reset(each.session, each.web_task, each.seed)
            again = _Play(each.number, each.web_task, each.seed, each.session, page, each.led)
            again.redraws, again.attempt = each.redraws, each.attempt + 1
            wait(again, page)
            continue
        if each.solved:
            solved[each.number] = Demonstration(each.web_task, each.seed, (*each.first, *each.completions))
        played += 1
        on_episode(played)
        begin(each.session)
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
        play.lost = True
        return None
    if observation.done or len(play.taken) >= max_turns:
        play.solved = observation.done and is_whole(observation, reward) and bool(play.completions)
        return None
    prompt = build_prompt(policy, observation, play.memory, observation.error)
    page, touched = parse_page(observation.text), tuple(play.touched)
    view = View(observation.goal, page, tuple(play.taken), observation.error, prompt.spent, touched)
    led = len(play.taken) < len(play.led)
    asked = _asked(play, view) if not (led and play.taken) else None
    action = play.led[len(play.taken)] if led else asked
    if action is None or not {element.bid for element in prompt.elements}.issuperset(action.bids):
        return None  # nothing to say; or the page came out otherwise than when the policy played it
    if asked is not None and not (led and asked == action):
        try:
            (play.first if led else play.completions).append(policy.imitate(prompt, asked))
        except ValueError:
            if not led:
                return None
    play.taken.append(action)
    play.touched += [element for element in prompt.elements if element.bid == action.bid]
    play.memory.act(action, prompt.elements, policy.settings.action_format)
    return action.to_browsergym()


def _asked(play: _Play, view: View) -> actions.Action | None:
    """What the solver would do; None where it does not know, as on a page to which it would not have gone itself."""
    play_on = solver(play.web_task)
    if play.led and play.taken and isinstance(play_on, Solution):
        play_on = play_on.resume
    try:
        return play_on(view) if play_on is not None else None
    except (LookupError, ValueError, AttributeError, TypeError, AssertionError, StopIteration):
        if not play.led:
            raise
        return None


def shuffled(demonstrations: Sequence[Demonstration], seed: int, epoch: int) -> list[Completion]:
    """All their completions in the random order of one epoch."""
    completions = [completion for each in demonstrations for completion in each.completions]
    random.Random(f"{seed} {epoch}").shuffle(completions)
    return completions
