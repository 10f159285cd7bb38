"""One Prefect server and one undisturbed run for all cells; the table of what came out, where it is asked for."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from place import Place
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness
from table import write

OUTCOMES: dict[str, str] = {}


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    cell = getattr(item, "callspec", None) and item.callspec.params.get("cell")  # type: ignore[attr-defined]
    if cell is not None and (report.when == "call" or report.failed):
        OUTCOMES[cell.name] = "passed" if report.passed else "failed"
    return report


def pytest_sessionfinish() -> None:
    if path := os.environ.get("FAULTS_TABLE"):
        write(Path(path), OUTCOMES)
