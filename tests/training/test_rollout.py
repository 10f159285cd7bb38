"""Rollouts: who shares a batch with whom, and what time has to do with it."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from tiny import PaperEnvironments

from browser_control.environment.client import Observation
from browser_control.policy.policy import Policy
from browser_control.policy.sampling import Completion, Request
from browser_control.training.rollout import Start, play

MakePolicy = Callable[..., Policy]


class OneWaits(PaperEnvironments):
    """The page of session 0 is not there before so many others have ended."""

    def __init__(self, sessions: int, others: int) -> None:
        super().__init__(sessions, lambda taken: 1.0)
        self._others = others
        self._worker = ThreadPoolExecutor(1)
        self.ended = 0

    def reset(self, session: int, web_task: str, seed: int) -> "Future[Observation]":
        page = super().reset(session, web_task, seed)
        if session:
            return page
        return self._worker.submit(self._late, page)

    def _late(self, page: "Future[Observation]") -> Observation:
        deadline = time.monotonic() + 60
        while self.ended < self._others and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.ended >= self._others, "all others waited for this page"
        return page.result()

    def end(self) -> None:
        self.ended += 1


def test_on_a_gpu_no_page_waits_for_another(make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Policy, "reproducible", False)
    environments = OneWaits(4, others=11)
    starts = [Start("click-button", seed) for seed in range(12)]
    episodes, _ = play(
        make_policy(), environments, starts, max_turns=3, random_seed=0, on_episode=lambda episode: environments.end()
    )
    assert [episode.start for episode in episodes] == starts
    assert [episode.reward for episode in episodes] == [1.0] * 12


def test_batches_do_not_depend_on_time_where_numbers_are_to_be_the_same(
    make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy()
    batches: list[int] = []
    act = policy.act

    def counted(requests: Sequence[Request]) -> list[Completion]:
        batches.append(len(requests))
        return act(requests)

    monkeypatch.setattr(policy, "act", counted)
    starts = [Start("click-button", seed) for seed in range(8)]
    play(policy, OneWaits(4, others=0), starts, max_turns=3, random_seed=0)
    assert [count for count in batches if count] == [2, 2, 2, 2]
