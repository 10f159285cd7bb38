"""Every cell of the fault matrix (`cells.py`) whose run is processes of this machine.

Whatever happens: one sentence, nothing left, and the same command succeeds with the numbers of an undisturbed run.
"""

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cells import ARCHIVED, CELLS, FILES, PROGRAMS, REFUSING, UNDER_LOCK, Cell, Runtime
from place import AS_A_USER, STRANGER, Place, damage, locked, small_disk
from processes import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts disks and gives files away, which only root can")
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGKILL": signal.SIGKILL}
MISBEHAVIOUR = {
    "SIGKILL of the program, once": "die-once",
    "SIGKILL of the program, for ever": "die",
    "SIGKILL of the service, once": "kill-environment-first",
    "SIGKILL of the service, for ever": "kill-environment",
    "memory ends": "starve",
}
FOLDERS = ("run directory", "checkpoints", "evaluation", "logs", "models", "archives")


def cells(chosen: Callable[[Cell], bool], runtime: Runtime = "process") -> "pytest.MarkDecorator":
    """Those of this kind; all but the quick ones are run by `make faults` alone."""
    return pytest.mark.parametrize(
        "cell",
        [
            pytest.param(cell, marks=[] if cell.quick else pytest.mark.faults, id=cell.name)
            for cell in CELLS
            if cell.runtime == runtime and chosen(cell)
        ],
    )


def expect(place: Place, cell: Cell, code: int) -> None:
    """The outcome of the disturbed command."""
    assert code == cell.code, place.words
    assert re.search(cell.words, place.words, re.DOTALL), place.words
    if code > 0:
        assert place.is_one_sentence(), place.words
    assert place.leftovers() == []


def expect_the_same_again(place: Place, undisturbed: Place, again: bool, run_id: str = "") -> None:
    """The same command succeeds, where it has not yet, with the right numbers."""
    if again:
        assert place.here(run_id=run_id or place.run_id) == 0, place.words
    assert place.numbers(run_id) == undisturbed.numbers()
    assert place.leftovers() == []


@cells(lambda cell: cell.what in PROGRAMS and cell.fault.endswith("of the flow"))
def test_a_signal_while_a_program_works(place: Place, undisturbed: Place, cell: Cell) -> None:
    process = place.start(f"{PROGRAMS[cell.what]}=hold")
    wait_until((place.folder / "held").exists, 120)
    if "frozen" in cell.fault:
        os.kill(place.held, signal.SIGSTOP)
    process.send_signal(SIGNALS[cell.fault.removeprefix("program frozen, ").split()[0]])
    expect(place, cell, place.end(process))
    expect_the_same_again(place, undisturbed, again=True)


@cells(lambda cell: cell.what in UNDER_LOCK)
def test_a_signal_while_the_flow_itself_works(place: Place, undisturbed: Place, cell: Cell) -> None:
    with contextlib.ExitStack() as lock:
        if cell.what == "fetch-promoted":
            lock.enter_context(locked(place.models))
        process = place.start()
        if cell.what == "promote":
            place.wait_for_words("✓ fetch-promoted")
            lock.enter_context(locked(place.models))
        place.wait_for_words(f"{cell.what} ...")
        process.send_signal(SIGNALS[cell.fault.split()[0]])
        code = place.end(process)
    expect(place, cell, code)
    expect_the_same_again(place, undisturbed, again=True)


@cells(lambda cell: cell.what in PROGRAMS and cell.fault in MISBEHAVIOUR)
def test_a_program_or_its_service_that_dies(place: Place, undisturbed: Place, cell: Cell) -> None:
    code = place.here(f"{PROGRAMS[cell.what]}={MISBEHAVIOUR[cell.fault]}")
    expect(place, cell, code)
    expect_the_same_again(place, undisturbed, again=code != 0)


@cells(lambda cell: cell.fault == "disk full")
def test_a_disk_that_is_full(place: Place, undisturbed: Place, cell: Cell) -> None:
    with small_disk(place.folder / "runs"):
        code = place.here(f"{PROGRAMS[cell.what]}=fill")
        expect(place, cell, code)
        (place.run / "filler").unlink(missing_ok=True)
        expect_the_same_again(place, undisturbed, again=code != 0)


@cells(lambda cell: cell.what in FILES and cell.fault != "another user's")
def test_a_damaged_file_of_a_run(place: Place, undisturbed: Place, cell: Cell) -> None:
    take_over(undisturbed, place)
    damage(place.run / cell.what, cell.fault)
    code = place.here()
    expect(place, cell, code)
    refused = cell.what in REFUSING
    expect_the_same_again(place, undisturbed, again=refused, run_id="another" if refused else "")


@cells(lambda cell: cell.what.removeprefix("archive/") in ARCHIVED and cell.what.startswith("archive/"))
def test_a_damaged_archive_of_a_run_that_was_not_judged_yet(place: Place, undisturbed: Place, cell: Cell) -> None:
    take_over(undisturbed, place)
    shutil.copytree(undisturbed.archive, place.archive)
    damage(place.archive / cell.what.removeprefix("archive/"), cell.fault)
    expect(place, cell, place.here())
    expect_the_same_again(place, undisturbed, again=False)


@cells(lambda cell: cell.what == "models/promoted.json")
def test_a_damaged_registry(place: Place, undisturbed: Place, cell: Cell) -> None:
    shutil.copytree(undisturbed.models, place.models)
    damage(place.models / "promoted.json", cell.fault)
    expect(place, cell, place.here())
    (place.models / "promoted.json").unlink()
    expect_the_same_again(place, undisturbed, again=True)


@cells(lambda cell: cell.fault == "another user's")
def test_what_is_another_user_s(place: Place, undisturbed: Place, cell: Cell) -> None:
    take_over(undisturbed, place)
    path = folder_of(place, cell.what) if cell.what in FOLDERS else place.run / cell.what
    path.mkdir(parents=True, exist_ok=True) if cell.what == "models" else None
    mode = path.stat().st_mode
    path.chmod(0o755 if path.is_dir() else 0o600)
    os.chown(path, STRANGER, STRANGER)
    expect(place, cell, place.end(place.start(before=AS_A_USER)))
    os.chown(path, 0, 0)
    path.chmod(mode)
    expect_the_same_again(place, undisturbed, again=True)


@cells(lambda cell: cell.fault == "read-only file system")
def test_what_may_only_be_read(place: Place, undisturbed: Place, cell: Cell) -> None:
    path = folder_of(place, cell.what)
    with small_disk(path, "1m,ro"):
        expect(place, cell, place.here())
    expect_the_same_again(place, undisturbed, again=True)


def take_over(undisturbed: Place, place: Place) -> None:
    """The folder of a run that was stopped when all but its archive was done."""
    shutil.copytree(undisturbed.run, place.run)
    (place.run / "decision.json").unlink()


def folder_of(place: Place, what: str) -> Path:
    named = {"run directory": place.run, "models": place.models, "archives": place.folder / "archives"}
    return named.get(what, place.run / what)
