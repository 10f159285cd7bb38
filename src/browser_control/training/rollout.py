"""Rollout: a policy plays episodes.

While the policy decides for some pages, the others work. A slot whose episode ended takes another at once, of the same
web task where there is one (`dealing`). Who shares a batch is decided in one of two ways.

Where the same seeds are to give the same numbers, episodes advance in step, in two halves: what is in a batch depends
on what episodes do, never on how long a page takes. A half waits for its slowest page. So it is wherever something is
judged; and on a CPU, where all are one batch. Training on a GPU, whose numbers depend on the batch, takes the pages
that are there.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Literal, Protocol

import numpy as np

from browser_control import configuration
from browser_control.environment.client import Observation
from browser_control.errors import EnvironmentFailure, EnvironmentMismatch
from browser_control.language import actions, prompts
from browser_control.language.page import PageUnreadable, page_of
from browser_control.policy.sampling import Completion, Request
from browser_control.training.dealing import Dealing

Reward = Literal["strict", "browsergym"]

_WORTH_A_BATCH = 3  # the policy decides when the pages of one in so many of the slots that play are there


class Environments(Protocol):
    """What a rollout needs of `environment_client.Environments`."""

    def __len__(self) -> int: ...

    def reset(self, session: int, web_task: str, seed: int) -> "Future[Observation]": ...

    def step(self, session: int, action: str) -> "Future[Observation]": ...


class Player(Protocol):
    """Who plays: a policy, or what answers as one does (`use.endpoint`)."""

    @property
    def settings(self) -> configuration.Policy: ...

    @property
    def count_tokens(self) -> Callable[[str], int]: ...

    def prepare(self, request: Request) -> None: ...

    def act(self, requests: Sequence[Request]) -> list[Completion]: ...


@dataclass(frozen=True)
class Start:
    """One episode to play. Members of a group share web task and seed and differ in `member`.

    `temperature` is that of sampling, where it is not the policy's own.
    """

    web_task: str
    seed: int
    member: int = 0
    temperature: float | None = None


@dataclass(frozen=True)
class Turn:
    """One observation, what the policy made of it, and why it failed, if it did."""

    prompt: prompts.Prompt
    completion: Completion
    valid: bool
    error: str


@dataclass
class Episode:
    """What was played.

    Attributes:
        reward: what training rewards it with; None where the environment failed: unscorable, which is not zero.
        success: as BrowserGym counts: any positive reward of the page.
        strict: whether the whole task was done.
        page: that it began with (`language.page.page_of`).
    """

    start: Start
    turns: list[Turn] = field(default_factory=list)
    reward: float | None = None
    truncated: bool = False
    failure: str = ""
    success: bool = False
    strict: bool = False
    page: str = ""

    def transcript(self) -> str:
        """The episode as text: what the policy saw last, and all it did."""
        if not self.turns:
            return f"{self.start.web_task} seed {self.start.seed}: {self.failure or 'no turn'}"
        lines = [f"{self.start.web_task} seed {self.start.seed}: reward {self.reward}", self.turns[0].prompt.text, ""]
        for turn in self.turns:
            lines.append(f"> {turn.completion.text}" + (f"   # {turn.error}" if turn.error else ""))
        return "\n".join(lines)


@dataclass
class Timing:
    """Seconds of a rollout: waiting for pages, generating, and all together."""

    environment: float = 0.0
    generation: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class _Page:
    """What a session answered, and what the policy is to be asked about it; None where the episode is over."""

    observation: Observation
    request: Request | None


@dataclass
class _Slot:
    """A session and the episode it plays."""

    session: int
    episode: Episode | None = None
    waiting: "Future[_Page] | None" = None
    request: Request | None = None
    memory: prompts.Memory = field(default_factory=prompts.Memory)
    arrived: "SimpleQueue[_Slot] | None" = None  # where it is put when its page is there


def play(
    policy: Player,
    environments: Environments,
    starts: Sequence[Start],
    *,
    max_turns: int,
    random_seed: int | None,
    reward: Reward = "strict",
    in_step: bool = True,
    all_at_once: bool = False,
    side_by_side: bool = False,
    on_episode: Callable[[Episode], None] = lambda episode: None,
) -> tuple[list[Episode], Timing]:
    """Plays every start to its end.

    Args:
        policy: that acts.
        environments: whose sessions are all used.
        starts: what to play; the result is in this order.
        max_turns: an episode that is not over by then is truncated.
        reward: which success is worth 1.
        in_step: whether batches depend on no time; else the policy takes the pages that are there.
        all_at_once: whether batches in step are of all pages, not of half of them while the others work. Best where
            pages and policy share the same cores: each step of decoding reads all weights, for however many pages.
        side_by_side: whether episodes begin in their order, so that the members of a group ask their first question
            together, which is read once; else a session goes on with its web task, which saves it loading pages.
        random_seed: draws the policy's decisions, for each episode and turn on its own; None acts greedily.
        on_episode: told of each episode as it ends.
    """
    began = time.perf_counter()
    timing = Timing()
    episodes = [Episode(start) for start in starts]
    dealing = Dealing(("" if side_by_side else each.start.web_task, each) for each in episodes)
    count = min(len(environments), len(episodes))
    slots = [_Slot(session) for session in range(count)]
    batches = _in_step(slots, 1 if all_at_once else 2) if in_step else _arrivals(slots)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
        pages = _Pages(policy, environments, ahead, max_turns, random_seed)
        _refill(slots, dealing, pages)
        waited = time.perf_counter()
        for batch in batches:
            _collect(batch, max_turns, reward, on_episode)
            _refill(batch, dealing, pages)
            ready = [slot for slot in batch if slot.episode and slot.waiting is None]
            acted = time.perf_counter()
            timing.environment += acted - waited
            _act(policy, ready, pages)
            waited = time.perf_counter()
            timing.generation += waited - acted
    timing.total = time.perf_counter() - began
    return episodes, timing


def _in_step(slots: Sequence[_Slot], parts: int) -> Iterator[Sequence[_Slot]]:
    """The parts in turn, while any slot plays."""
    size = -(-len(slots) // parts)  # neighbours together: the members of a group ask the same first question
    while any(slot.episode for slot in slots):
        for begin in range(0, parts * size, size):
            yield slots[begin : begin + size]


def _arrivals(slots: Sequence[_Slot]) -> Iterator[Sequence[_Slot]]:
    """Those whose pages are there, once they are worth a batch, in their order."""
    arrived: SimpleQueue[_Slot] = SimpleQueue()
    for slot in slots:
        slot.arrived = arrived
    return _arriving(slots, arrived)


def _arriving(slots: Sequence[_Slot], arrived: "SimpleQueue[_Slot]") -> Iterator[Sequence[_Slot]]:
    while playing := sum(slot.episode is not None for slot in slots):
        batch = [arrived.get() for _ in range(-(-playing // _WORTH_A_BATCH))]
        with contextlib.suppress(Empty):
            while True:
                batch.append(arrived.get_nowait())
        yield sorted(batch, key=lambda slot: slot.session)


class _Pages:
    """The pages of the slots. What the policy is asked is worked out as they come, while it reads others on its GPU."""

    def __init__(
        self,
        policy: Player,
        environments: Environments,
        worker: Executor,
        max_turns: int,
        random_seed: int | None,
    ) -> None:
        self._policy = policy
        self._environments = environments
        self._worker = worker
        self._max_turns = max_turns
        self._random_seed = random_seed

    def reset(self, slot: _Slot) -> None:
        assert slot.episode is not None
        slot.memory = prompts.Memory()
        start = slot.episode.start
        self._await(slot, self._environments.reset(slot.session, start.web_task, start.seed))

    def step(self, slot: _Slot, action: str) -> None:
        self._await(slot, self._environments.step(slot.session, action))

    def _await(self, slot: _Slot, answer: "Future[Observation]") -> None:
        page: Future[_Page] = Future()
        slot.waiting = page
        if slot.arrived is not None:
            arrived = slot.arrived
            page.add_done_callback(lambda _: arrived.put(slot))
        answer.add_done_callback(lambda _: self._came(slot, answer, page))

    def _came(self, slot: _Slot, answer: "Future[Observation]", page: "Future[_Page]") -> None:
        try:
            self._worker.submit(self._prepare, slot, answer, page)
        except RuntimeError as error:  # the rollout is over, so that nobody waits; or there is no thread to be had
            page.set_exception(error)

    def _prepare(self, slot: _Slot, answer: "Future[Observation]", page: "Future[_Page]") -> None:
        """Takes note of what the page says; nobody else looks at the slot meanwhile."""
        try:
            observation = answer.result()
            request = self._request(slot, observation)
        except BaseException as error:
            page.set_exception(error)
        else:
            page.set_result(_Page(observation, request))

    def _request(self, slot: _Slot, observation: Observation) -> Request | None:
        episode = slot.episode
        assert episode is not None
        if not episode.page:
            episode.page = page_of(observation.goal, observation.text)
        if episode.turns and observation.error and not episode.turns[-1].error:
            episode.turns[-1] = replace(episode.turns[-1], error=observation.error)
        if observation.done or len(episode.turns) >= self._max_turns:
            return None
        request = _request(self._policy, episode, observation, slot.memory, self._random_seed)
        self._policy.prepare(request)
        return request


def _refill(slots: Sequence[_Slot], dealing: Dealing[Episode], pages: _Pages) -> None:
    for slot in slots:
        if slot.episode is None:
            slot.episode = dealing.take(slot.session)
            if slot.episode is not None:
                pages.reset(slot)


def _collect(slots: Sequence[_Slot], max_turns: int, reward: Reward, on_episode: Callable[[Episode], None]) -> None:
    """Takes what the pages answered, and ends the episodes that are over."""
    for slot in slots:
        if slot.episode is None or slot.waiting is None:
            continue
        episode, waiting = slot.episode, slot.waiting
        slot.waiting = None
        try:
            page = waiting.result()
        except EnvironmentFailure as error:
            episode.failure = str(error)
        else:
            slot.request = page.request
            if page.request is not None:
                continue
            last = page.observation
            episode.success = last.done and last.reward > 0
            episode.strict = last.done and is_whole(last, reward)
            episode.reward = float(episode.strict if reward == "strict" else episode.success)
            episode.truncated = last.truncated or not last.done
        on_episode(episode)
        slot.episode = None


def refuse_unscorable(played: Sequence[Episode]) -> None:
    """Raises EnvironmentFailure where less than half could be scored: what is left says little, and may be chosen."""
    lost = [episode.failure for episode in played if episode.reward is None]
    if len(lost) > len(played) / 2:
        reason, count = Counter(lost).most_common(1)[0]
        scored = f"only {len(played) - len(lost)}" if len(lost) < len(played) else "none"
        raise EnvironmentFailure(f"{scored} of {len(played)} episodes could be scored ({count} times: {reason})")


def is_whole(observation: Observation, reward: Reward) -> bool:
    """Whether the whole task was done; raises EnvironmentMismatch where the server cannot tell and it is rewarded."""
    if observation.strict is not None:
        return observation.strict
    if reward == "strict" and observation.done:
        raise EnvironmentMismatch(
            "the environment does not say whether the whole task was done (metadata.strict): serve it with"
            " python -m browser_control.environment, or count any reward with training.reward: browsergym"
        )
    return observation.reward > 0


def _act(policy: Player, slots: Sequence[_Slot], pages: _Pages) -> None:
    """One turn of every slot whose page is there."""
    requests = [slot.request for slot in slots if slot.request is not None]
    for slot, request, completion in zip(slots, requests, policy.act(requests), strict=True):
        assert slot.episode is not None
        try:
            action = read_action(completion.text, request.prompt, policy.settings.action_format)
            if policy.settings.decoding == "free":
                _check_offered(action, request.prompt, policy.settings.actions)
        except actions.InvalidAction as error:
            slot.episode.turns.append(Turn(request.prompt, completion, False, str(error)))
            slot.memory.fail(completion.text[:80])
            pages.step(slot, "noop()")
        else:
            slot.episode.turns.append(Turn(request.prompt, completion, True, ""))
            slot.memory.act(action, request.prompt.elements, policy.settings.action_format)
            pages.step(slot, action.to_browsergym())


def read_action(text: str, prompt: prompts.Prompt, action_format: str) -> actions.Action:
    """The action that `text` spells on the page of `prompt`; raises `actions.InvalidAction`."""
    action = actions.parse_label(text) if action_format == "label" else actions.parse_bid(text)
    actions.check(action, prompt.elements)
    return action


def _check_offered(action: actions.Action, prompt: prompts.Prompt, verbs: Sequence[str]) -> None:
    if not actions.is_offered(action, prompt.elements, verbs):
        raise actions.InvalidAction("the page does not offer that")


def _request(
    policy: Player, episode: Episode, observation: Observation, memory: prompts.Memory, random_seed: int | None
) -> Request:
    turns, start = episode.turns, episode.start
    prompt = build_prompt(policy, observation, memory, turns[-1].error if turns else "")
    if random_seed is None:
        return Request(prompt)
    key = [random_seed, start.seed, start.member, len(turns), *start.web_task.encode()]
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
    return Request(prompt, random, start.temperature)


def build_prompt(policy: Player, observation: Observation, memory: prompts.Memory, error: str) -> prompts.Prompt:
    """The prompt of one turn; raises EnvironmentMismatch where the page is listed in another way than ours."""
    memory.see(observation.text)
    try:
        return _build_prompt(policy, observation, memory, error)
    except PageUnreadable as failure:
        raise EnvironmentMismatch(
            f"the environment lists pages in another way than this project ({failure}): serve them with"
            " python -m browser_control.environment"
        ) from failure


def _build_prompt(policy: Player, observation: Observation, memory: prompts.Memory, error: str) -> prompts.Prompt:
    return prompts.build(
        observation.text,
        observation.goal,
        memory,
        error,
        action_format=policy.settings.action_format,
        tokens=policy.count_tokens,
        budget=policy.settings.max_prompt_tokens,
        viewport=observation.viewport,
        reading=observation.reading,
        remembered=policy.settings.remembered,
    )
