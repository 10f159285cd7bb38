"""One Prefect server and one undisturbed run for all cells; and what `make faults` (`run.py`) needs."""

import json
import os
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from claims import pytest_runtest_protocol
from engine import base_image, client, openenv, training_image
from place import Place
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness
from table import results

__all__ = ["base_image", "client", "openenv", "pytest_runtest_protocol", "training_image"]


@pytest.fixture(scope="package")
def prefect_server() -> Iterator[str]:
    with prefect_test_harness(server_startup_timeout=240):
        yield str(PREFECT_API_URL.value())


@pytest.fixture(scope="package")
def undisturbed(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run to which nothing happened: its numbers are the right ones, and its files are what others damage."""
    place = Place(tmp_path_factory.mktemp("undisturbed") / "place", prefect_server)
    assert place.here() == 0, place.words
    assert place.leftovers() == []
    return place


@pytest.fixture
def place(prefect_server: str, tmp_path: Path) -> Place:
    return Place(tmp_path / "place", prefect_server)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what passed on this commit, where `make faults` runs."""
    if not (path := os.environ.get("FAULTS_RESULTS")):
        return
    passed = {
        each["test"]
        for each in results(Path(path))
        if (each["outcome"], each["commit"]) == ("passed", os.environ["FAULTS_COMMIT"])
    }
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
    items[:] = [item for item in items if item.nodeid not in passed]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    path = os.environ.get("FAULTS_RESULTS")
    if path and (report.when == "call" or report.failed):
        cell = getattr(item, "callspec", None) and item.callspec.params.get("cell")  # type: ignore[attr-defined]
        found = {
            "test": item.nodeid,
            "cell": cell and cell.name,
            "outcome": report.outcome,
            "commit": os.environ["FAULTS_COMMIT"],
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "seconds": round(report.duration, 1),
        }
        with Path(path).open("a") as file:
            file.write(json.dumps(found) + "\n")
    return report
