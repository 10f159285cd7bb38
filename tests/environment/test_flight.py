"""The airline forms of the miniwob package, as web tasks."""

import pytest
from service_process import start_service, stop_service

from browser_control import configuration
from browser_control.environment.client import Environments
from browser_control.solvers.playing import play
from browser_control.web_tasks import registry


@pytest.fixture(autouse=True)
def nothing_of_this_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_own", {})


def test_each_form_is_sent_as_its_solution_says(chromium: str) -> None:
    registry.use(["flight"])
    names = [each.name for each in registry.all_own()]
    assert len(names) == 8
    assert all(registry.few_pages(name) is None for name in names)
    running = start_service("--sessions", "2", "--web-tasks", "flight")
    try:
        with Environments([running.url], 2) as environments:
            first_class = ("flight.alaska-auto-cabin", 4)  # a radio button out of sight, whose label is clicked
            results = list(play(environments, [*((name, 1) for name in names), first_class]))
    finally:
        stop_service(running)
    assert len(results) == 9
    assert [(each.web_task, each.seed, each.failure) for each in results if each.failure] == []


def test_a_configuration_names_flight_and_not_a_place() -> None:
    overrides = ["environment.web_tasks=[flight]", "training.web_tasks=[flight.aa-return]"]
    resolved = registry.resolve(configuration.load("smollm2_135m_local_lora.yaml", overrides))
    assert resolved.environment.web_tasks == ("flight",)
    assert resolved.training.web_tasks == ("flight.aa-return",)
