"""Proving a web task: that it can be done, that it is not done by chance, and that its episodes are apart."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from browser_control.environment.client import Environments, Observation
from browser_control.errors import ConfigurationError, EnvironmentFailure
from browser_control.language.actions import Action, is_offered
from browser_control.language.page import Element, page_of, parse_page
from browser_control.solvers.playing import Result, play
from browser_control.web_tasks.task_file import ENOUGH_PAGES, MISTAKE, WebTask

SEEDS = 20  # on which the solution is played
IDLE_SEEDS = 8  # of which each takes its time
IDLE = "noop(300)"
TOO_EASY = 0.2  # success of chance or idleness, from which on there is little to learn
_CHANCE_VERBS = ("click", "fill", "select")
_TYPED = ("1", "2", "5", "10", "a", "Ada", "yes")


@dataclass(frozen=True)
class Finding:
    """What was looked at; `trouble` says what is wrong, and whether that is only a `warning`."""

    about: str
    found: str
    trouble: str = ""
    warning: bool = False


@dataclass
class Report:
    """What was found of a web task."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not any(each.trouble and not each.warning for each in self.findings)


def prove(web_task: WebTask, environments: Environments) -> Iterator[Finding]:
    """Findings as they come; the first that is wrong makes the rest worth nothing where no episode can begin.

    Raises:
        ConfigurationError: no episode can begin.
    """
    seeds = range(SEEDS)
    firsts = [begin(environments, web_task, seed) for seed in seeds]
    yield _solution(web_task, environments)
    yield _luck("success by doing nothing", [_idle(environments, web_task, seed) for seed in seeds[:IDLE_SEEDS]])
    yield _luck("success by chance", [_chance(environments, web_task, seed) for seed in seeds])
    yield _pages(web_task, firsts)
    again = [begin(environments, web_task, seed) for seed in seeds]
    left = [seed for seed, (one, other) in enumerate(zip(firsts, again, strict=True)) if one.text != other.text]
    trouble = f"the page of seed {left[0]} is another one after other episodes, or changes by itself" if left else ""
    yield Finding("left behind by other episodes", "something" if left else "nothing", trouble)


def begin(environments: Environments, web_task: WebTask, seed: int) -> Observation:
    """The first page; raises ConfigurationError where none can begin."""
    try:
        return environments.reset(0, web_task.name, seed).result()
    except EnvironmentFailure as failure:
        words = str(failure).removeprefix("unscorable: ").removeprefix(f"{MISTAKE}: ")
        raise ConfigurationError(f"no episode of {web_task.name} can begin: {words}") from None


def _solution(web_task: WebTask, environments: Environments) -> Finding:
    if not web_task.file.solution:
        return Finding("solution", "none", "without one nothing shows that it can be done, or how", True)
    results = sorted(play(environments, [(web_task.name, seed) for seed in range(SEEDS)]), key=lambda each: each.seed)
    failed = [each for each in results if each.failure]
    won = f"wins on {SEEDS - len(failed)} of {SEEDS} seeds"
    if not failed:
        turns = max(len(each.taken) for each in results)
        late = turns > web_task.file.max_turns
        return Finding("solution", won, f"takes {turns} turns of {web_task.file.max_turns}" if late else "")
    left_out = "".join(f"; no step names {{{name}}}" for name in web_task.file.unshown)
    return Finding("solution", won, f"seed {failed[0].seed}: {_why(web_task, failed[0])}{left_out}")


def _why(web_task: WebTask, result: Result) -> str:
    written = web_task.file.solution
    if result.failure == "the solver gave up" and len(result.taken) < len(written):
        return f"step {len(result.taken) + 1}, {written[len(result.taken)]!r}, names nothing that is on the page then"
    if result.failure == "the solver gave up":
        asked = "the state is not as wanted" if web_task.file.state else "success is not true"
        return f"after its last step {asked}"
    if result.failure == "wrong":
        return "failure is true, and success is not"
    return result.failure


def _luck(about: str, won: Sequence[bool]) -> Finding:
    trouble = f"more than {TOO_EASY:.0%} leave little to learn" if sum(won) > TOO_EASY * len(won) else ""
    return Finding(about, f"{sum(won)} of {len(won)}", trouble, warning=True)


def _idle(environments: Environments, web_task: WebTask, seed: int) -> bool:
    """Whether an episode succeeds in which nothing is done."""
    observation = begin(environments, web_task, seed)
    return bool((observation if observation.done else environments.step(0, IDLE).result()).strict)


def _chance(environments: Environments, web_task: WebTask, seed: int) -> bool:
    """Whether an episode succeeds in which the actions are drawn."""
    draw = random.Random(seed)
    observation = begin(environments, web_task, seed)
    try:
        for _ in range(web_task.file.max_turns):
            if observation.done:
                break
            action = _any(parse_page(observation.text).elements, draw)
            observation = environments.step(0, action.to_browsergym() if action else IDLE).result()
    except EnvironmentFailure:
        return False
    return bool(observation.strict)


def _any(elements: tuple[Element, ...], draw: random.Random) -> Action | None:
    """One of the actions that a page offers, each verb and element as likely as any other."""
    offers: list[list[Action]] = []
    for element in elements:
        for verb in _CHANCE_VERBS:
            values = {"fill": _TYPED, "select": element.options}.get(verb, ("",))
            actions = [Action(verb, element.bid, value) for value in values]
            if offered := [action for action in actions if is_offered(action, elements, _CHANCE_VERBS)]:
                offers.append(offered)
    return draw.choice(draw.choice(offers)) if offers else None


def _pages(web_task: WebTask, firsts: list[Observation]) -> Finding:
    different = len({page_of(each.goal, each.text) for each in firsts})
    found = f"{different} in {SEEDS} seeds, {web_task.goals} goals"
    if different == 1 and web_task.goals > 1:
        return Finding("different pages", found, "all seeds show the same page")
    if web_task.goals < ENOUGH_PAGES:
        few = f"fewer than {ENOUGH_PAGES}: it is trained and judged on the same ones; let more values be drawn"
        return Finding("different pages", found, few, True)
    return Finding("different pages", found)
