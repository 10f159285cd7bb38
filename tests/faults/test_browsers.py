"""The cells of the matrix with Chromium, which dies or whose clock jumps: real programs on a tiny model."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clock
import pytest
from cells import CELLS, Cell
from clock import HOUR
from place import Place
from policies import model_folder
from processes import marked, wait_until
from test_matrix import cells, expect
from tiny import make_configuration

from browser_control import configuration
from browser_control.environment.chromium import find_chromium

__all__ = ["model_folder"]
pytestmark = [pytest.mark.together, pytest.mark.timeout(1800)]
SESSIONS = 2
PAGES = 40  # of an evaluation, so that it is still under way when its browser dies


@pytest.fixture
def place(prefect_server: str, tmp_path: Path, model_folder: Callable[[str], Path]) -> Place:
    return real(Place(tmp_path / "place", prefect_server), model_folder)


@pytest.fixture(scope="module")
def whole(prefect_server: str, tmp_path_factory: pytest.TempPathFactory, model_folder: Callable[[str], Path]) -> Place:
    """A run of the real programs to which nothing happened."""
    place = real(Place(tmp_path_factory.mktemp("whole") / "place", prefect_server), model_folder)
    assert place.here() == 0, place.words
    assert place.leftovers() == []
    return place


def real(place: Place, model_folder: Callable[[str], Path]) -> Place:
    find_chromium()
    made = make_configuration(
        name="stand-in",
        model={"name": str(model_folder("llama")), "device": "cpu"},
        training={"updates": 8},
        warm_start={"demonstrations": 0, "web_tasks": []},
        environment={"sessions": SESSIONS, "max_turns": 3},
        evaluation={"episodes": PAGES},
    )
    configuration.write(made, place.folder / "config.yaml")
    place.more = {"BROWSER_CONTROL_PROGRAMS": "browser_control", "OMP_NUM_THREADS": "1"}
    return place


def browsers(place: Place) -> list[int]:
    """The Chromiums of a place, without their renderers and other helpers."""
    found = []
    for pid in marked(place.mark):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--headless" in command and not any(each.startswith(b"--type=") for each in command):
            found.append(pid)
    return found


def plays(place: Place, cell: Cell) -> bool:
    log = place.run / "logs" / f"{cell.what}.log"
    return log.exists() and "progress" in log.read_text()


@contextmanager
def killing(place: Place, cell: Cell) -> Iterator[list[int]]:
    """Kills Chromium while the cell's task plays, once or for ever; yields those that were killed."""
    killed: list[int] = []
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.02):
            if plays(place, cell) and (cell.fault.endswith("for ever") or not killed):
                for pid in browsers(place):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


@cells(lambda cell: cell.fault == "SIGKILL of Chromium, once")
def test_a_browser_that_is_killed_once(place: Place, cell: Cell) -> None:
    """What its death cut off is in no mean, and the run goes on."""
    with killing(place, cell) as killed:
        code = place.here()
    assert killed
    expect(place, cell, code)
    for evaluation in numbers(place)["evaluations"]:
        assert evaluation["unscorable"] <= SESSIONS
        assert evaluation["pages"] <= PAGES


@cells(lambda cell: cell.fault == "SIGKILL of Chromium, for ever")
def test_a_browser_that_is_killed_whenever_it_starts(place: Place, whole: Place, cell: Cell) -> None:
    with killing(place, cell) as killed:
        code = place.here()
    assert killed
    expect(place, cell, code)
    assert place.here() == 0, place.words
    assert numbers(place) == numbers(whole)
    assert place.leftovers() == []


@cells(lambda cell: cell.fault.startswith("clock of Chromium"))
def test_a_clock_that_jumps_under_pages(place: Place, whole: Place, tmp_path: Path, cell: Cell) -> None:
    """Under flow, programs and service as well; neither what a page shows nor what it counts for depends on it."""
    wall = clock.make(tmp_path / "clock")
    place.more |= wall.environ
    process = place.start()
    wait_until(lambda: plays(place, cell) and browsers(place), 600)
    assert all(wall.is_read_by(pid) for pid in browsers(place))
    wall.set(HOUR if cell.fault.endswith("ahead") else -HOUR)
    expect(place, cell, place.end(process, 1200))
    assert numbers(place) == numbers(whole)


def numbers(place: Place) -> dict[str, Any]:
    """Scores and weights; the files about them also say where the service was, and how long it took."""
    found = place.numbers()
    evaluations = [
        {**evaluation["overall"], "episodes": evaluation["episodes"]}
        for evaluation in found["evaluations"].values()
        if "overall" in evaluation
    ]
    weights = {name: entry for name, entry in found["adapters"].items() if name.endswith((".safetensors", ".pt"))}
    return {"evaluations": evaluations, "weights": weights, "promoted": found["promoted"]}


def test_every_cell_of_a_browser_is_tried() -> None:
    assert sum("Chromium" in cell.fault for cell in CELLS) == 6
