"""What BrowserGym's benchmark begins with is trained on and demonstrated nowhere, and chosen for no evaluation."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from tiny import make_configuration

from browser_control.configuration import DEMONSTRATION_SEEDS, EVALUATION_SEEDS, TRAINING_SEEDS
from browser_control.environment.chromium import find_chromium
from browser_control.environment.client import Environments, Observation
from browser_control.errors import BrowserNotFound
from browser_control.language.page import page_of
from browser_control.language.version import VERSION
from browser_control.policy import policy
from browser_control.preemption import Preemption
from browser_control.run_directory import RunDirectory, read_json
from browser_control.training.held_out import Draws, choose, is_exempt, may_be_trained
from browser_control.training.trainer import Trainer
from browser_control.use.playing import service
from browser_control.web_tasks import benchmark

FEW = "number-checkboxes"  # ten pages, of which four are the benchmark's: half of all seeds show one of these


class Watched(Environments):
    """Remembers the pages that were shown first, and on which of them somebody acted."""

    def __init__(self, url: str, sessions: int) -> None:
        super().__init__([url], sessions)
        self._pages = [""] * sessions
        self.shown: set[str] = set()
        self.acted: set[str] = set()

    def reset(self, session: int, web_task: str, seed: int, pictures: bool = False) -> "Future[Observation]":
        def remember(answer: "Future[Observation]") -> None:
            observation = answer.result()
            self._pages[session] = page_of(observation.goal, observation.text)
            self.shown.add(self._pages[session])

        answer = super().reset(session, web_task, seed, pictures)
        answer.add_done_callback(remember)
        return answer

    def step(self, session: int, action: str) -> "Future[Observation]":
        self.acted.add(self._pages[session])
        return super().step(session, action)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    try:
        find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    with service(14, sessions=4) as running:
        yield running


def pages(web_task: str) -> set[str]:
    return set(read_json(benchmark.PAGES)["pages"][web_task])


def test_the_pages_written_down_are_those_of_this_version_and_of_the_service(url: str) -> None:
    """After a change of the version: python benchmarks/browsergym_pages.py."""
    assert read_json(benchmark.PAGES)["language"] == VERSION
    starts = list(dict.fromkeys(benchmark.episodes()))
    assert {web_task for web_task, _ in starts} == set(read_json(benchmark.PAGES)["pages"])
    with Environments([url], 1) as environments:
        for web_task, seed in starts[::25]:
            observation = environments.reset(0, web_task, seed).result()
            assert page_of(observation.goal, observation.text) in pages(web_task), web_task


def test_nothing_of_the_benchmark_is_demonstrated_or_trained_on(
    url: str, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    assert is_exempt(FEW)  # whose other pages are for everything
    settings = make_configuration(
        environment={"sessions": 4, "max_turns": 14},
        warm_start={"web_tasks": [FEW], "demonstrations": 8, "dagger_rounds": 1, "dagger_episodes": 4},
        training={"web_tasks": [FEW], "updates": 1, "groups": 4, "group_size": 2, "resample_limit": 0},
    )
    with Watched(url, 4) as watched:
        Trainer(
            policy.load(settings, model_folder("llama")), watched, settings, RunDirectory(tmp_path), Preemption()
        ).train()
    assert watched.shown & pages(FEW)  # seeds do meet them
    assert watched.acted
    assert not watched.acted & pages(FEW)


def test_a_seed_of_the_benchmark_is_drawn_again(url: str) -> None:
    starts = [start for start in benchmark.episodes() if start[0] in ("click-button", FEW)]
    with Watched(url, 4) as watched:
        found = Draws(watched, benchmark.SEEDS).find(starts)
        for web_task, seed in found:
            observation = watched.reset(0, web_task, seed).result()
            page = page_of(observation.goal, observation.text)
            assert page not in pages(web_task)
            assert may_be_trained(web_task, page)


def test_web_tasks_that_have_nothing_else_are_trained_on_it() -> None:
    assert [len(benchmark.kept_off(name)) for name in ("click-test", "focus-text-2", "drag-cube")] == [0, 0, 0]
    assert len(benchmark.kept_off(FEW)) == 4
    assert sum(not benchmark.kept_off(name) for name in benchmark.FAMILIES) == 12
    for seeds in (DEMONSTRATION_SEEDS, TRAINING_SEEDS, EVALUATION_SEEDS):
        assert not set(benchmark.SEEDS) & set(seeds[:1000])


def test_what_decisions_are_made_on_is_not_the_benchmark(url: str) -> None:
    with Environments([url], 4) as environments:
        [chosen] = choose(environments, ["click-menu"], 12)
    assert not {page for _, page in chosen.pages} & pages("click-menu")
