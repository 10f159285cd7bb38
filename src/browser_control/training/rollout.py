"""Rollout: a policy plays episodes.

Episodes advance together in two halves: while one half waits for the policy, the other half's pages work. A slot
whose episode ended takes the next of the queue at once. Which episodes share a batch depends on what they do, never
on how long a page takes, so that the same seeds give the same numbers.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from browser_control import configuration
from browser_control.environment.client import Observation
from browser_control.errors import EnvironmentFailure, EnvironmentMismatch
from browser_control.language import actions, prompts
from browser_control.language.page import PageUnreadable, page_of
from browser_control.policy.sampling import Completion, Request

Reward = Literal["strict", "browsergym"]


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

    def prepare(self, page: str) -> None: ...

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


@dataclass
class _Slot:
    """A session and the episode it plays."""

    session: int
    episode: Episode | None = None
    observation: Observation | None = None
    waiting: "Future[Observation] | None" = None
    memory: prompts.Memory = field(default_factory=prompts.Memory)


def play(
    policy: Player,
    environments: Environments,
    starts: Sequence[Start],
    *,
    max_turns: int,
    random_seed: int | None,
    reward: Reward = "strict",
    on_episode: Callable[[Episode], None] = lambda episode: None,
) -> tuple[list[Episode], Timing]:
    """Plays every start to its end.

    Args:
        policy: that acts.
        environments: whose sessions are all used.
        starts: what to play; the result is in this order.
        max_turns: an episode that is not over by then is truncated.
        reward: which success is worth 1.
        random_seed: draws the policy's decisions, for each episode and turn on its own; None acts greedily.
        on_episode: told of each episode as it ends.
    """
    began = time.perf_counter()
    timing = Timing()
    episodes = [Episode(start) for start in starts]
    queue = deque(episodes)
    count = min(len(environments), len(episodes))
    middle = -(-count // 2)  # neighbours together: the members of a group ask the same first question
    halves = [[_Slot(session) for session in part] for part in (range(middle), range(middle, count))]
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
        pages = _Ahead(policy, environments, ahead)
        for half in halves:
            _refill(half, queue, pages)
        while any(slot.episode for half in halves for slot in half):
            for half in halves:
                waited = time.perf_counter()
                _collect(half, max_turns, reward, on_episode)
                _refill(half, queue, pages)
                ready = [slot for slot in half if slot.episode and slot.waiting is None]
                timing.environment += time.perf_counter() - waited
                acted = time.perf_counter()
                _act(policy, ready, pages, random_seed)
                timing.generation += time.perf_counter() - acted
    timing.total = time.perf_counter() - began
    return episodes, timing


class _Ahead:
    """The environments; what pages offer is worked out as they come, while the policy reads others on its GPU."""

    def __init__(self, policy: Player, environments: Environments, worker: Executor) -> None:
        self._policy = policy
        self._environments = environments
        self._worker = worker

    def __len__(self) -> int:
        return len(self._environments)

    def reset(self, session: int, web_task: str, seed: int) -> "Future[Observation]":
        return self._awaited(self._environments.reset(session, web_task, seed))

    def step(self, session: int, action: str) -> "Future[Observation]":
        return self._awaited(self._environments.step(session, action))

    def _awaited(self, waiting: "Future[Observation]") -> "Future[Observation]":
        waiting.add_done_callback(self._came)
        return waiting

    def _came(self, answer: "Future[Observation]") -> None:
        if answer.cancelled() or answer.exception() is not None or answer.result().done:
            return
        with contextlib.suppress(RuntimeError):  # the rollout is over, or was given up
            self._worker.submit(self._policy.prepare, answer.result().text)


def _refill(slots: Sequence[_Slot], queue: deque[Episode], environments: Environments) -> None:
    for slot in slots:
        if slot.episode is None and queue:
            slot.episode = queue.popleft()
            slot.memory = prompts.Memory()
            slot.waiting = environments.reset(slot.session, slot.episode.start.web_task, slot.episode.start.seed)


def _collect(slots: Sequence[_Slot], max_turns: int, reward: Reward, on_episode: Callable[[Episode], None]) -> None:
    """Takes what the pages answered, and ends the episodes that are over."""
    for slot in slots:
        if slot.episode is None or slot.waiting is None:
            continue
        episode, waiting = slot.episode, slot.waiting
        slot.waiting = None
        try:
            slot.observation = waiting.result()
        except EnvironmentFailure as error:
            episode.failure = str(error)
        else:
            if not episode.page:
                episode.page = page_of(slot.observation.goal, slot.observation.text)
            if episode.turns and slot.observation.error and not episode.turns[-1].error:
                turn = episode.turns[-1]
                episode.turns[-1] = Turn(turn.prompt, turn.completion, turn.valid, slot.observation.error)
            over = slot.observation.done or len(episode.turns) >= max_turns
            if not over:
                continue
            episode.success = slot.observation.done and slot.observation.reward > 0
            episode.strict = slot.observation.done and is_whole(slot.observation, reward)
            episode.reward = float(episode.strict if reward == "strict" else episode.success)
            episode.truncated = slot.observation.truncated or not slot.observation.done
        on_episode(episode)
        slot.episode = None


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


def _act(policy: Player, slots: Sequence[_Slot], environments: Environments, random_seed: int | None) -> None:
    """One turn of every slot whose page is there."""
    requests = [_request(policy, slot, random_seed) for slot in slots]
    for slot, request, completion in zip(slots, requests, policy.act(requests), strict=True):
        assert slot.episode is not None and slot.observation is not None
        try:
            action = read_action(completion.text, request.prompt, policy.settings.action_format)
            if policy.settings.decoding == "free":
                _check_offered(action, request.prompt, policy.settings.actions)
        except actions.InvalidAction as error:
            slot.episode.turns.append(Turn(request.prompt, completion, False, str(error)))
            slot.memory.fail(completion.text[:80])
            slot.waiting = environments.step(slot.session, "noop()")
        else:
            slot.episode.turns.append(Turn(request.prompt, completion, True, ""))
            slot.memory.act(action, request.prompt.elements, policy.settings.action_format)
            slot.waiting = environments.step(slot.session, action.to_browsergym())


def read_action(text: str, prompt: prompts.Prompt, action_format: str) -> actions.Action:
    """The action that `text` spells on the page of `prompt`; raises `actions.InvalidAction`."""
    action = actions.parse_label(text) if action_format == "label" else actions.parse_bid(text)
    actions.check(action, prompt.elements)
    return action


def _check_offered(action: actions.Action, prompt: prompts.Prompt, verbs: Sequence[str]) -> None:
    if not actions.is_offered(action, prompt.elements, verbs):
        raise actions.InvalidAction("the page does not offer that")


def _request(policy: Player, slot: _Slot, random_seed: int | None) -> Request:
    assert slot.episode is not None and slot.observation is not None
    turns = slot.episode.turns
    prompt = build_prompt(policy, slot.observation, slot.memory, turns[-1].error if turns else "")
    if random_seed is None:
        return Request(prompt)
    start = slot.episode.start
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
        remembered=policy.settings.remembered,
    )
