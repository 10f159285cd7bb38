"""The cells of the matrix in which the wall clock jumps by an hour, as where somebody sets it or a machine wakes up.

Flow, programs and service read another clock than the Prefect server does, as on two machines; the worker's cells are
of one machine, whose server and worker read it too.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import clock
import pytest
from cells import CELLS, PROGRAMS, Cell
from clock import HOUR, Clock
from place import Place
from prefect_server import Server
from processes import marked, wait_until
from test_matrix import cells, expect, expect_the_same_again
from test_workers import POOL, deployed, start, works

pytestmark = [pytest.mark.together, pytest.mark.timeout(900)]
JUMPS = {"clock an hour ahead": HOUR, "clock an hour back": -HOUR}
SECONDS = 20.0  # after a jump; the server looks for runs that are silent every five


@pytest.fixture
def wall(tmp_path: Path) -> Clock:
    return clock.make(tmp_path / "clock")


@cells(lambda cell: cell.fault in JUMPS)
def test_a_clock_that_jumps(place: Place, wall: Clock, undisturbed: Place, cell: Cell) -> None:
    place.more = wall.environ
    process = place.start(f"{PROGRAMS[cell.what]}=hold")
    wait_until((place.folder / "held").exists, 120)
    service = int((place.folder / "environment.pid").read_text())
    assert all(wall.is_read_by(pid) for pid in (process.pid, place.held, service))
    wall.set(JUMPS[cell.fault])
    (place.folder / "go").touch()
    expect(place, cell, place.end(process))
    expect_the_same_again(place, undisturbed, again=False)


@pytest.fixture
def server(wall: Clock, tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    with deployed(Server(folder, more=wall.environ)) as server:
        yield server


@cells(lambda cell: cell.fault in JUMPS, "worker")
def test_a_clock_that_jumps_under_server_and_worker(
    server: Server, wall: Clock, undisturbed: Place, tmp_path: Path, cell: Cell
) -> None:
    run_id = f"clock-{os.getpid()}-{JUMPS[cell.fault]}".replace("--", "-back-")
    place = Place(tmp_path / "place", server.environ["PREFECT_API_URL"], run_id=run_id)
    server.work(POOL)
    run = start(server, place, f"{PROGRAMS[cell.what]}=hold")
    wait_until(lambda: works(place, cell), 150)
    assert server.process is not None
    assert all(wall.is_read_by(pid) for pid in (server.process.pid, *marked(place.mark)))
    wall.set(JUMPS[cell.fault])
    time.sleep(SECONDS)
    (place.folder / "go").touch()
    server.wait_for(
        run, str(cell.code), seconds=200, after="Crashed"
    )  # a heartbeat of an hour ago, until it says it lives
    server.wait_for_none(place.run_id, seconds=30)
    assert place.numbers() == undisturbed.numbers()
    assert place.leftovers() == []


@pytest.mark.faults
def test_a_clock_is_set_for_those_who_read_it_and_waits_are_as_long_as_ever(tmp_path: Path) -> None:
    code = "import time; was = time.time(), time.monotonic(); print('read', flush=True); input(); time.sleep(0.2)"
    code += "; print(time.time() - was[0], time.monotonic() - was[1])"
    wall = clock.make(tmp_path / "clock")
    environ = {**os.environ, **wall.environ}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == "read\n"
        wall.set(-HOUR)
        words, _ = reader.communicate("\n")
    jumped, passed = map(float, words.split())
    assert passed >= 0.2
    assert abs(jumped + HOUR - passed) < 1


def test_every_cell_of_a_clock_is_tried() -> None:
    assert sum(cell.fault in JUMPS for cell in CELLS) == 8
