"""Rollouts: who shares a batch with whom, what time has to do with it, and what may go wrong meanwhile."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from tiny import PaperEnvironments

from browser_control.environment.client import Observation
from browser_control.errors import EnvironmentFailure, EnvironmentLost, EnvironmentMismatch, Preempted
from browser_control.policy.policy import Policy
from browser_control.policy.sampling import Completion, Request
from browser_control.training.rollout import Episode, Start, play

MakePolicy = Callable[..., Policy]
STARTS = [Start("click-button", seed) for seed in range(12)]

both_ways = pytest.mark.parametrize("in_step", [True, False], ids=["in step", "as pages come"])


class Late(PaperEnvironments):
    """First pages of session 0 are late: until `until` is true, or by so many seconds."""

    def __init__(self, until: Callable[[], bool] = lambda: True, seconds: float = 0.0) -> None:
        super().__init__(4, lambda taken: float(len(taken) > 1) or None)
        self._until = until
        self._seconds = seconds
        self._worker = ThreadPoolExecutor(1)

    def reset(self, session: int, web_task: str, seed: int) -> "Future[Observation]":
        page = super().reset(session, web_task, seed)
        return page if session else self._worker.submit(self._late, page)

    def _late(self, page: "Future[Observation]") -> Observation:
        time.sleep(self._seconds)
        deadline = time.monotonic() + 60
        while not self._until() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self._until(), "all others waited for this page"
        return page.result()


def batches(policy: Policy, environments: PaperEnvironments, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What each batch was asked, of a rollout in step."""
    asked: list[list[str]] = []
    act = policy.act

    def noted(requests: Sequence[Request]) -> list[Completion]:
        asked.append([request.prompt.text for request in requests])
        return act(requests)

    with monkeypatch.context() as patched:
        patched.setattr(policy, "act", noted)
        play(policy, environments, STARTS, max_turns=3, random_seed=0)
    return asked


def test_no_page_waits_for_another_where_they_are_taken_as_they_come(make_policy: MakePolicy) -> None:
    ended: list[Episode] = []
    environments = Late(until=lambda: len(ended) >= 11)
    episodes, _ = play(
        make_policy(), environments, STARTS, max_turns=3, random_seed=0, in_step=False, on_episode=ended.append
    )
    assert [episode.start for episode in episodes] == STARTS
    assert [episode.reward for episode in episodes] == [1.0] * 12


def test_in_step_batches_do_not_depend_on_time(make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy()
    at_once, late = (batches(policy, Late(seconds=seconds), monkeypatch) for seconds in (0.0, 0.3))
    assert at_once == late
    assert sum(map(len, at_once)) == 24


@both_ways
def test_an_episode_says_the_same_whoever_shares_its_batches(make_policy: MakePolicy, in_step: bool) -> None:
    policy = make_policy()
    alone = [play(policy, Late(), [start], max_turns=3, random_seed=0)[0][0] for start in STARTS[:4]]
    together, _ = play(policy, Late(), STARTS[:4], max_turns=3, random_seed=0, in_step=in_step)
    for one, other in zip(alone, together, strict=True):
        assert [turn.completion.text for turn in one.turns] == [turn.completion.text for turn in other.turns]
        assert [turn.prompt.text for turn in one.turns] == [turn.prompt.text for turn in other.turns]


@both_ways
def test_an_environment_that_fails_costs_one_episode(make_policy: MakePolicy, in_step: bool) -> None:
    steps = 0

    def fails_once(taken: list[str]) -> float | None:
        nonlocal steps
        steps += 1
        if steps == 7:
            raise EnvironmentFailure("the browser died")
        return float(len(taken) > 1) or None

    episodes, _ = play(
        make_policy(), PaperEnvironments(4, fails_once), STARTS, max_turns=3, random_seed=0, in_step=in_step
    )
    assert [episode.failure for episode in episodes if episode.reward is None] == ["the browser died"]
    assert sum(episode.reward == 1.0 for episode in episodes) == 11


@both_ways
def test_what_ends_a_rollout_ends_it_with_pages_under_way(make_policy: MakePolicy, in_step: bool) -> None:
    class Lost(PaperEnvironments):
        def step(self, session: int, action: str) -> "Future[Observation]":
            answer: Future[Observation] = Future()
            answer.set_exception(EnvironmentLost("the environment was lost"))
            return answer

    def preempt(episode: Episode) -> None:
        raise Preempted

    policy = make_policy()
    with pytest.raises(EnvironmentLost):
        play(policy, Lost(4, lambda taken: None), STARTS, max_turns=3, random_seed=0, in_step=in_step)
    with pytest.raises(Preempted):
        play(policy, Late(), STARTS, max_turns=3, random_seed=0, in_step=in_step, on_episode=preempt)


@both_ways
def test_a_page_that_cannot_be_read_is_said_by_the_rollout(make_policy: MakePolicy, in_step: bool) -> None:
    environments = PaperEnvironments(4, lambda taken: None, page=lambda seed: "no page of ours")
    with pytest.raises(EnvironmentMismatch, match="lists pages in another way"):
        play(make_policy(), environments, STARTS, max_turns=3, random_seed=0, in_step=in_step)
