"""The health gate, against a service that is healthy, one that shows nothing, one that died, and none at all."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from browser_control.errors import EnvironmentUnreachable, ServiceFailed
from browser_control.pipeline.health import pass_gate
from browser_control.pipeline.runtimes.base import Served, Service
from browser_control.pipeline.runtimes.process import ProcessRuntime, free_port

TESTS = Path(__file__).resolve().parents[1]


@contextmanager
def environment(tmp_path: Path, misbehaviour: str = "") -> Iterator[Served]:
    port = free_port()
    arguments = ("--port", str(port), "--sessions", "2", "--max-turns", "3")
    command = (sys.executable, "-m", "stand_ins.environment", *arguments)
    environ = {"PYTHONPATH": str(TESTS), "STAND_IN": misbehaviour and f"environment={misbehaviour}"}
    service = Service("environment", command, tmp_path / "environment.log", environ, port=port)
    with ProcessRuntime().serve(service) as served:
        yield served


def test_a_service_passes_that_plays_an_episode(tmp_path: Path) -> None:
    with environment(tmp_path) as served:
        (health,) = pass_gate(served.urls, "click-test", served=served)
    assert health.elements == 1


def test_a_page_without_elements_does_not_pass(tmp_path: Path) -> None:
    with environment(tmp_path, "empty") as served, pytest.raises(ServiceFailed, match="has no elements"):
        pass_gate(served.urls, "click-test", seconds=3, served=served)


def test_a_service_that_died_fails_at_once_with_its_last_words(tmp_path: Path) -> None:
    with environment(tmp_path, "die") as served, pytest.raises(ServiceFailed, match="no Chromium was found"):
        pass_gate(served.urls, "click-test", seconds=600, served=served)


def test_a_service_of_somebody_else_that_does_not_answer_is_unreachable() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(EnvironmentUnreachable, match=url):
        pass_gate([url], "click-test", seconds=0)
