"""Playing solvers: episodes on an environment service, and what became of them."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from browser_control.environment.client import Environments, Observation
from browser_control.errors import EnvironmentFailure
from browser_control.language import actions
from browser_control.language.actions import LABEL_FORMAT, VERBS, Action, parse_label
from browser_control.language.page import Page, page_of, parse_page
from browser_control.language.prompts import Memory
from browser_control.solvers import solver
from browser_control.solvers.view import View

MAX_TURNS = 20


@dataclass(frozen=True)
class Result:
    """One episode.

    Attributes:
        failure: why the whole task was not done; empty if it was.
        success: whether it succeeded as BrowserGym counts.
        page: that it began with (`language.page.page_of`).
    """

    web_task: str
    seed: int
    taken: tuple[Action, ...]
    failure: str
    success: bool = False
    page: str = ""


@dataclass
class _Session:
    number: int
    web_task: str
    seed: int
    waiting: "Future[Observation]"
    taken: list[Action] = field(default_factory=list)
    page: str = ""
    memory: Memory = field(default_factory=Memory)

    def result(self, failure: str = "", success: bool = False) -> Result:
        return Result(self.web_task, self.seed, tuple(self.taken), failure, success, self.page)


def play(environments: Environments, starts: Sequence[tuple[str, int]]) -> Iterator[Result]:
    """Plays every (web task, seed) of `starts`, all sessions at once, and yields results as they come."""
    queue = deque(starts)
    sessions = [_begin(environments, number, queue) for number in range(min(len(environments), len(queue)))]
    while sessions:
        going: list[_Session] = []
        for session in sessions:
            result = _advance(environments, session)
            if result is None:
                going.append(session)
                continue
            yield result
            if queue:
                going.append(_begin(environments, session.number, queue))
        sessions = going


def _begin(environments: Environments, number: int, queue: deque[tuple[str, int]]) -> _Session:
    web_task, seed = queue.popleft()
    return _Session(number, web_task, seed, environments.reset(number, web_task, seed))


def _advance(environments: Environments, session: _Session) -> Result | None:
    """Acts on what the page answered; the result if that ends the episode."""
    try:
        observation = session.waiting.result()
    except EnvironmentFailure as error:
        return session.result(f"unscorable: {error}")
    session.page = session.page or page_of(observation.goal, observation.text)
    if observation.done:
        success = observation.reward > 0
        failure = "truncated" if observation.truncated else "in part" if success else "wrong"
        return session.result("" if observation.strict else failure, success)
    if len(session.taken) >= MAX_TURNS:
        return session.result("too many turns")
    page = parse_page(observation.text)
    session.memory.see(observation.text)
    spent = session.memory.spent
    play = solver(session.web_task)
    assert play is not None
    action = play(View(observation.goal, page, tuple(session.taken), observation.error, spent))
    if observation.error and action in (None, session.taken[-1]):
        return session.result(f"refused: {observation.error}")
    if action is None:
        return session.result("the solver gave up")
    if not is_offered(action, page) or action in spent:
        return session.result(f"not offered to the policy: {action}")
    session.memory.act(action, page.elements, LABEL_FORMAT)
    session.taken.append(action)
    session.waiting = environments.step(session.number, action.to_browsergym())
    return None


def is_offered(action: Action, page: Page) -> bool:
    """Whether the policy could choose `action` on `page`, and say it in its own words."""
    return actions.is_offered(action, page.elements, VERBS) and parse_label(action.spell(page.elements)) == action
