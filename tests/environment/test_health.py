"""The health gate, against a service that is healthy, one that shows nothing, one that died, and none at all."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from browser_control.environment.health import pass_gate
from browser_control.errors import EnvironmentMismatch, EnvironmentUnreachable
from browser_control.pipeline.runtimes.base import Served, Service
from browser_control.pipeline.runtimes.process import ProcessRuntime, free_port

TESTS = Path(__file__).resolve().parents[1]


@contextmanager
def environment(tmp_path: Path, misbehaviour: str = "") -> Iterator[Served]:
    port = free_port()
    arguments = ("--host", "127.0.0.1", "--port", str(port), "--sessions", "2", "--max-turns", "3")
    command = (sys.executable, "-m", "stand_ins.environment", *arguments)
    environ = {"PYTHONPATH": str(TESTS), "STAND_IN": misbehaviour and f"environment={misbehaviour}"}
    service = Service("environment", command, tmp_path / "environment.log", environ, port=port)
    with ProcessRuntime().serve(service) as served:
        yield served


def test_a_service_passes_that_plays_an_episode(tmp_path: Path) -> None:
    with environment(tmp_path) as served:
        (health,) = pass_gate(served.urls, "click-test")
    assert health.elements == 1


def test_a_page_without_elements_does_not_pass(tmp_path: Path) -> None:
    with environment(tmp_path, "empty") as served, pytest.raises(EnvironmentUnreachable, match="has no elements"):
        pass_gate(served.urls, "click-test", seconds=3)


def test_a_page_listed_in_another_way_is_refused_in_one_sentence(tmp_path: Path) -> None:
    refused = pytest.raises(EnvironmentMismatch, match="lists pages in another way")
    with environment(tmp_path, "foreign") as served, refused as raised:
        pass_gate(served.urls, "click-test", seconds=30)
    assert "\n" not in str(raised.value)


def test_a_service_that_ends_episodes_too_early_is_refused(tmp_path: Path) -> None:
    with environment(tmp_path) as served:
        assert pass_gate(served.urls, "click-test", max_turns=3)
        with pytest.raises(EnvironmentMismatch, match=r"ends episodes after 3 turns, and environment\.max_turns is 4"):
            pass_gate(served.urls, "click-test", seconds=30, max_turns=4)


def test_who_waits_is_told_what_is_amiss_and_may_give_up() -> None:
    def give_up(words: str) -> None:
        raise InterruptedError(words)

    with pytest.raises(InterruptedError, match="/health does not answer"):
        pass_gate([f"http://127.0.0.1:{free_port()}"], "click-test", waiting=give_up)


def test_a_service_of_somebody_else_that_does_not_answer_is_unreachable() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(EnvironmentUnreachable, match=url):
        pass_gate([url], "click-test", seconds=0)
