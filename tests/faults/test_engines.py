"""The cells of the matrix whose Docker Engine goes away under a run: it is one of the tests' own."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cells import CELLS, PROGRAMS, Cell
from own_engine import OwnEngine
from place import Place
from processes import wait_until
from stand_in_checkout import StandInCheckout
from test_containers import TOLD, begun, left, tell
from test_matrix import cells, expect, expect_the_same_again

pytestmark = [pytest.mark.together, pytest.mark.timeout(900)]
SECONDS = 10.0
GO, HELD = ".go", ".held"
LIVES_ON = ("live-restore", "stands still")  # the containers
STEP = "RUN echo begun && sleep 5"  # of a build that is disturbed
GIT = """#!/bin/sh
# The archive asks it for the commit, before it asks the engine for its images.
if [ -e "$RUN/evaluation/after.json" ] && [ ! -e "$RUN/.held" ]; then
  touch "$RUN/.held"
  while [ ! -e "$RUN/.go" ]; do sleep 0.05; done
fi
exec {git} "$@"
"""


@pytest.fixture(scope="module")
def engine(client: Any, training_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    """With the image of the stand-ins' base, from the machine's engine."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("dockerd", "ip", "nsenter"))):
        pytest.skip("an engine that may be killed takes root, dockerd, ip and nsenter")
    with OwnEngine(tmp_path_factory.mktemp("engine")).running() as engine:
        own = engine.client()
        own.images.load(client.images.get(training_image).save(named=training_image))
        own.close()
        yield engine


@pytest.fixture(scope="module")
def stand_ins(engine: OwnEngine, training_image: str, tmp_path_factory: pytest.TempPathFactory) -> StandInCheckout:
    return StandInCheckout(tmp_path_factory.mktemp("checkout") / "checkout", training_image)


@pytest.fixture
def place(prefect_server: str, tmp_path: Path, engine: OwnEngine, stand_ins: StandInCheckout, openenv: str) -> Place:
    options = {
        "runtime": "docker",
        "training_base": stand_ins.base_image,
        "browsergym_base": stand_ins.base_image,
        "openenv_url": openenv,
        "openenv_ref": "main",
    }
    more = {"DOCKER_HOST": engine.url}
    return Place(tmp_path / "place", prefect_server, options=options, more=more, run_id=f"engines-{os.getpid()}")


def disturb(engine: OwnEngine, place: Place, cell: Cell) -> None:
    """Containers outlive an engine that is killed; the next one ends them, without `--live-restore`."""
    if "stands still" in cell.fault:
        engine.send(signal.SIGSTOP)
        if not cell.fault.endswith("for good"):
            time.sleep(SECONDS)
            engine.send(signal.SIGCONT)
        return
    engine.stop(signal.SIGTERM if "stopped" in cell.fault else signal.SIGKILL)
    if cell.what == "archive":
        (place.run / GO).touch()
    if "comes back" in cell.fault:
        time.sleep(SECONDS)
        engine.start(*(["--live-restore"] if "live-restore" in cell.fault else []))


@cells(lambda cell: "the engine" in cell.fault, "docker")
def test_an_engine_that_goes_away(
    engine: OwnEngine, place: Place, undisturbed: Place, stand_ins: StandInCheckout, cell: Cell
) -> None:
    for_good = cell.fault.endswith("for good")
    lives_on = any(each in cell.fault for each in LIVES_ON) and not for_good
    if "live-restore" in cell.fault:
        engine.stop()
        engine.start("--live-restore")
    prepare(place, cell, stand_ins, "stay" if lives_on else "hang" if for_good else "hang-once")
    process = place.start(root=stand_ins.folder)
    wait_until(lambda: at_work(place, cell), 300)
    disturb(engine, place, cell)
    try:
        (place.run / GO).touch()
        code = place.end(process, 400)
    finally:
        engine.send(signal.SIGCONT)
    for each in (TOLD, GO, HELD):
        (place.run / each).unlink(missing_ok=True)
    expect(place, cell, code)
    place.more = {name: value for name, value in place.more.items() if name != "PATH"}  # a git that holds nobody
    if cell.what == "build-images" and not code:
        assert "went away while browsergym was built" in (place.run / "logs" / "build-browsergym.log").read_text()
    if cell.fault.endswith("killed for good"):
        engine.start()
    own = engine.client()
    try:
        assert code or left(own, place) == []
        again(place, undisturbed, stand_ins, code)
        assert left(own, place) == []
        assert own.containers.list(all=True) == []  # those of a build do not say whose they are
    finally:
        own.close()
    if lives_on and cell.what == "train":
        assert (place.run / "calls").read_text().split().count("fine_tune_local") == 1  # what was under way went on


def prepare(place: Place, cell: Cell, stand_ins: StandInCheckout, how: str) -> None:
    stand_ins.write_dockerfiles(step=f"{STEP} # {place.folder}" if cell.what == "build-images" else "RUN true")
    if cell.what in PROGRAMS:
        tell(place, cell, how)
        return
    place.run.mkdir(parents=True)
    if cell.what == "archive":
        git = place.folder / "bin" / "git"
        git.parent.mkdir()
        git.write_text(GIT.replace("{git}", str(shutil.which("git"))))
        git.chmod(0o755)
        place.more = {**place.more, "RUN": str(place.run), "PATH": f"{git.parent}:{os.environ['PATH']}"}


def at_work(place: Place, cell: Cell) -> bool:
    if cell.what == "archive":
        return (place.run / HELD).exists()
    if cell.what == "build-images":
        log = place.run / "logs" / "build-browsergym.log"
        return log.exists() and "begun" in log.read_text().splitlines()
    return begun(place, cell) > 0


def again(place: Place, undisturbed: Place, stand_ins: StandInCheckout, code: int) -> None:
    if code != 0:
        assert place.end(place.start(root=stand_ins.folder), 300) == 0, place.words
    expect_the_same_again(place, undisturbed, again=False)


def test_every_cell_of_an_engine_is_tried() -> None:
    assert sum("the engine" in cell.fault for cell in CELLS) == 18
