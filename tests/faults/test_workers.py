"""The cells of the matrix whose run is a Prefect worker's: worker, server, or both with all below them, are killed."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cells import CELLS, PROGRAMS, Cell
from place import Place
from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending
from prefect_server import Server, kill_tree
from processes import wait_until
from test_matrix import cells

pytestmark = [pytest.mark.together, pytest.mark.timeout(900)]
DEPLOYMENT, POOL = "train/smollm2-135m", "local"
SECONDS = 15.0  # that a server is away


@contextmanager
def deployed(server: Server) -> Iterator[Server]:
    """The server at work, with the project's deployments."""
    try:
        server.start()
        done = server.command("python", "deployments/setup.py")
        assert done.returncode == 0, done.stdout + done.stderr
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with deployed(Server(tmp_path_factory.mktemp("server"))) as server:
        yield server


@pytest.fixture
def place(server: Server, tmp_path: Path) -> Place:
    return Place(tmp_path / "place", server.environ["PREFECT_API_URL"], run_id=tmp_path.name.replace("_", "-").lower())


def start(server: Server, place: Place, misbehaviour: str = "") -> FlowRun:
    told = {"STAND_IN": misbehaviour, "STAND_IN_PLACE": str(place.folder), "MARK": place.mark}
    return server.run(DEPLOYMENT, {**place.parameters(), "runtime": "process"}, **told)


@cells(lambda cell: "clock" not in cell.fault, "worker")
def test_a_worker_or_a_server_that_is_killed(server: Server, place: Place, undisturbed: Place, cell: Cell) -> None:
    server.work(POOL)
    if cell.what not in PROGRAMS:  # claimed, and no more
        kill_tree(server.workers[POOL])
        run = start(server, place)
        with server.client() as client:
            client.set_flow_run_state(run.id, Pending())
    else:
        alone = cell.fault == "SIGKILL of the worker"  # of which the run hears when it says something
        run = start(server, place, f"{PROGRAMS[cell.what]}={'talk' if alone else 'hold'}")
        wait_until(lambda: works(place, cell), 150)
        if "worker" in cell.fault or "power" in cell.fault:
            server.workers[POOL].kill() if cell.fault.endswith("worker") else kill_tree(server.workers[POOL])
        else:
            be_away(server, cell)
            (place.folder / "go").touch()
    if not cell.fault.endswith(("of the worker", "while")):
        server.lose_an_hour([run])
    assert re.search(cell.words, server.wait_for(run, str(cell.code), seconds=200))
    server.wait_for_none(place.run_id, seconds=30)
    if cell.code != "Completed":
        server.work(POOL)
        server.wait_for(start(server, place), "Completed")
    server.wait_for_none(place.run_id, seconds=15)
    assert place.numbers() == undisturbed.numbers()
    assert place.leftovers() == []


def works(place: Place, cell: Cell) -> bool:
    log = place.run / "logs" / f"{cell.what}.log"
    return (place.folder / "held").exists() or (log.exists() and "progress" in log.read_text())


def be_away(server: Server, cell: Cell) -> None:
    assert server.process is not None
    if "SIGSTOP" in cell.fault:
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(SECONDS)
        server.process.send_signal(signal.SIGCONT)
    else:
        server.kill()
        time.sleep(SECONDS)
        server.start()


def test_every_cell_of_a_worker_is_tried() -> None:
    assert sum(cell.runtime == "worker" and "clock" not in cell.fault for cell in CELLS) == 11
