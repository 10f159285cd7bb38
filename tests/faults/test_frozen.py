"""The cells of the matrix in which something stands still for minutes, all of them at a time, and goes on."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cells import CELLS, PROGRAMS, Cell
from place import Place
from processes import marked, wait_until
from test_matrix import cells, expect, expect_the_same_again

pytestmark = [pytest.mark.together, pytest.mark.timeout(900)]
SECONDS = 120.0
FREEZER = Path("/sys/fs/cgroup/freezer")
FROZEN = "for two minutes"


@contextmanager
def freezer(place: Place) -> Iterator[Callable[[str], None]]:
    """Makes a cgroup of all that a place has started; what it yields freezes it (`FROZEN`) and thaws it (`THAWED`)."""
    group = FREEZER / f"browser-control-{place.mark}"
    group.mkdir()
    try:
        for pid in marked(place.mark):
            (group / "cgroup.procs").write_text(str(pid))
        yield (group / "freezer.state").write_text
    finally:
        (group / "freezer.state").write_text("THAWED")
        wait_until(lambda: not (group / "cgroup.procs").read_text(), 120)
        group.rmdir()


@pytest.fixture(scope="module")
def thawed(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Place, int]]]:
    """By cell the place, and the exit code of what stood still."""
    if not FREEZER.is_dir():
        pytest.skip("there is no cgroup freezer of version 1 at /sys/fs/cgroup/freezer")
    chosen = [cell for cell in CELLS if cell.fault.endswith(FROZEN)]
    places = [Place(tmp_path_factory.mktemp("frozen") / "place", prefect_server) for _ in chosen]
    running = [place.start(f"{PROGRAMS[cell.what]}=hold") for cell, place in zip(chosen, places, strict=True)]
    with contextlib.ExitStack() as groups:
        thaw: list[Callable[[], object]] = []
        for cell, place in zip(chosen, places, strict=True):
            wait_until((place.folder / "held").exists, 300)
            if "freezer" in cell.fault:
                turn = groups.enter_context(freezer(place))
                turn("FROZEN")
                thaw.append(lambda turn=turn: turn("THAWED"))
            else:
                stopped = place.held if "program" in cell.fault else int((place.folder / "environment.pid").read_text())
                os.kill(stopped, signal.SIGSTOP)
                thaw.append(lambda pid=stopped: os.kill(pid, signal.SIGCONT))
        time.sleep(SECONDS)
        for place, go_on in zip(places, thaw, strict=True):
            (place.folder / "go").touch()
            go_on()
        codes = [place.end(process, 300) for place, process in zip(places, running, strict=True)]
    yield {cell.name: (place, code) for cell, place, code in zip(chosen, places, codes, strict=True)}


@cells(lambda cell: cell.fault.endswith(FROZEN))
def test_what_stood_still_goes_on(thawed: dict[str, tuple[Place, int]], undisturbed: Place, cell: Cell) -> None:
    place, code = thawed[cell.name]
    expect(place, cell, code)
    expect_the_same_again(place, undisturbed, again=False)
