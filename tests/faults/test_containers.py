"""The cells of the matrix whose run is containers of a real engine, of images that hold the stand-ins."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cells import CELLS, PROGRAMS, Cell
from docker.errors import DockerException
from place import Place
from processes import wait_until
from stand_in_checkout import StandInCheckout
from test_matrix import SIGNALS, cells, expect, expect_the_same_again

from browser_control import configuration
from browser_control.pipeline.runtimes.docker import RUN_LABEL

pytestmark = [pytest.mark.together, pytest.mark.timeout(600)]
SECONDS = 10.0  # of a pause
TOLD = ".stand-in"


@pytest.fixture(scope="module")
def checkout(
    client: Any, training_image: str, openenv: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StandInCheckout]:
    """The flow takes what it builds images from beside its configurations."""
    made = StandInCheckout(tmp_path_factory.mktemp("checkout") / "checkout", training_image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configuration, "CONFIGS", made.folder / "configs")
        yield made


@pytest.fixture
def place(prefect_server: str, tmp_path: Path, checkout: StandInCheckout, openenv: str) -> Place:
    options = {
        "runtime": "docker",
        "training_base": checkout.base_image,
        "browsergym_base": checkout.base_image,
        "openenv_url": openenv,
        "openenv_ref": "main",
    }
    return Place(tmp_path / "place", prefect_server, options=options, run_id=f"faults-{os.getpid()}")


def tell(place: Place, cell: Cell, how: str) -> None:
    place.run.mkdir(parents=True)
    (place.run / TOLD).write_text(f"{PROGRAMS[cell.what]}={how}")


def left(client: Any, place: Place) -> list[str]:
    label = {"label": f"{RUN_LABEL}={place.run_id}"}
    containers = client.containers.list(all=True, filters=label, ignore_removed=True)
    return [each.name for each in [*containers, *client.networks.list(filters=label)]]


def begun(place: Place, cell: Cell) -> int:
    """How often the program of the cell's task has begun to work."""
    log = place.run / "logs" / f"{cell.what}.log"
    return log.read_text().count("progress") if log.exists() else 0


class Disturbing:
    """Does something to a container each time that the program of the cell's task works, as often as is said."""

    def __init__(self, client: Any, place: Place, cell: Cell, times: int, do: Callable[[Any], None]) -> None:
        self.done = 0
        which = "environment" if "service" in cell.fault else cell.what
        name = f"browser-control-{place.run_id}-{which}"
        self._ended = threading.Event()

        def work() -> None:
            while self.done < times and not self._ended.wait(0.1):
                if begun(place, cell) > self.done:
                    try:
                        do(client.containers.get(name))
                    except DockerException:
                        continue  # it is about to go, or to come
                    self.done += 1

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def kill(container: Any) -> None:
    container.kill("SIGKILL")


def pause(container: Any) -> None:
    container.pause()
    time.sleep(SECONDS)
    container.unpause()


def stop(container: Any) -> None:
    container.stop(timeout=10)


@cells(lambda cell: "container" in cell.fault, "docker")
def test_what_is_done_to_a_container(
    client: Any, place: Place, undisturbed: Place, checkout: StandInCheckout, cell: Cell
) -> None:
    for_ever = cell.fault.endswith("for ever")
    paused = "paused" in cell.fault
    works = "lose" if "service" in cell.fault else "hang"
    tell(place, cell, "dawdle" if paused else works if for_ever else f"{works}-once")
    disturbing = Disturbing(
        client, place, cell, 10 if for_ever else 1, pause if paused else stop if "stopped" in cell.fault else kill
    )
    try:
        code = place.here()
    finally:
        disturbing.end()
    assert disturbing.done == (3 if for_ever else 1)  # a task is tried three times
    finish(client, place, undisturbed, cell, code)


@cells(lambda cell: cell.fault.endswith("of the flow"), "docker")
def test_a_signal_to_the_flow_of_containers(
    client: Any, place: Place, undisturbed: Place, checkout: StandInCheckout, cell: Cell
) -> None:
    tell(place, cell, "hang-once")
    process = place.start(root=checkout.folder)
    wait_until(lambda: begun(place, cell), 240)
    assert left(client, place)
    process.send_signal(SIGNALS[cell.fault.split()[0]])
    code = place.end(process)
    if code == -signal.SIGKILL:
        assert left(client, place)  # which the next run takes away
    finish(client, place, undisturbed, cell, code, left(client, place) if code < 0 else [])


def finish(
    client: Any, place: Place, undisturbed: Place, cell: Cell, code: int, remaining: list[str] | None = None
) -> None:
    (place.run / TOLD).unlink()
    expect(place, cell, code)
    assert left(client, place) == (remaining or [])
    expect_the_same_again(place, undisturbed, again=code != 0)
    assert left(client, place) == []


def test_every_cell_of_a_container_is_tried() -> None:
    found = [cell for cell in CELLS if cell.runtime == "docker" and "engine" not in cell.fault]
    assert all("container" in cell.fault or cell.fault.endswith("of the flow") for cell in found)
