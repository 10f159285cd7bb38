"""Prefect's own UI, judged through its API: the web tasks of examples/prefect-ui."""

from pathlib import Path

import pytest
from service_process import start_service, stop_service

from browser_control.environment.client import Environments
from browser_control.solvers.playing import play
from browser_control.web_tasks import registry

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "prefect-ui"


def test_each_is_done_as_its_solution_says(chromium: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_own", {})
    registry.use([FOLDER])
    names = [each.name for each in registry.all_own()]
    assert len(names) == 5
    assert all(registry.few_pages(name) is None for name in names)
    running = start_service("--sessions", "1", "--web-tasks", str(FOLDER))
    try:
        with Environments([running.url], 1) as environments:
            before = environments.reset(0, "prefect-ui.delete-variable", 0).result().text
            results = list(play(environments, [(name, 0) for name in names]))
            after = environments.reset(0, "prefect-ui.delete-variable", 0).result().text
    finally:
        stop_service(running)
    assert {each.web_task: each.failure for each in results} == dict.fromkeys(names, "")
    assert before == after  # which says when its variables were made
