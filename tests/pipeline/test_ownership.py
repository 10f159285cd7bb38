"""Folders that root lends to containers: whose they are when one of several has ended, or a run was killed."""

import os
from pathlib import Path

import pytest

from browser_control.pipeline.runtimes.ownership import UNPRIVILEGED, lent, reclaim

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root lends folders: run the tests as root")
OWNER = 12345


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory of somebody's, with logs."""
    folder = tmp_path / "run"
    (folder / "logs" / "old").mkdir(parents=True)
    (folder / "checkpoint").touch()
    (folder / "away").symlink_to(tmp_path)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, OWNER, OWNER, follow_symlinks=False)
    return folder


def owners(run: Path) -> dict[str, int]:
    return {str(path.relative_to(run.parent)): path.lstat().st_uid for path in (run, *run.rglob("*"))}


def all_are(run: Path, user: int) -> bool:
    return set(owners(run).values()) == {user}


def test_what_one_container_still_has_is_not_given_back_when_another_ends(run: Path) -> None:
    with lent([run / "logs"]):
        with lent([run]):
            (run / "logs" / "new").touch()
            assert owners(run)["run/checkpoint"] == UNPRIVILEGED
        found = owners(run)
        assert {name for name, user in found.items() if user == UNPRIVILEGED} == {"run/logs", "run/logs/old"}
        assert found["run"] == found["run/checkpoint"] == OWNER
    assert all_are(run, OWNER)
    assert run.parent.stat().st_uid == 0  # a link was not followed


def test_what_was_lent_within_what_was_lent_belongs_to_whom_it_did(run: Path) -> None:
    with lent([run]):
        with lent([run / "logs"]), lent([run / "logs"]):
            pass
        assert all_are(run, UNPRIVILEGED)
    assert all_are(run, OWNER)


def test_the_last_gives_back_whichever_began_first(run: Path) -> None:
    first, second = lent([run]), lent([run / "logs"])
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert owners(run)["run/logs/old"] == UNPRIVILEGED
    second.__exit__(None, None, None)
    assert all_are(run, OWNER)


def test_a_container_that_may_still_run_keeps_its_folder_until_it_is_gone(run: Path) -> None:
    with lent([run / "logs"]) as loan:
        loan.kept = True
    with lent([run]):
        pass
    assert owners(run)["run/logs"] == UNPRIVILEGED
    loan.end()
    assert all_are(run, OWNER)


def test_what_a_killed_run_had_lent_is_given_to_the_owner_of_the_folder_above(run: Path) -> None:
    for path in (run, *run.rglob("*")):
        os.chown(path, UNPRIVILEGED, UNPRIVILEGED, follow_symlinks=False)
    os.chown(run.parent, OWNER, OWNER)
    os.chown(run / "checkpoint", 0, 0)
    reclaim(run)
    assert owners(run).pop("run/checkpoint") == 0
    assert set(owners(run).values()) == {OWNER, 0}
    with lent([run]):
        assert all_are(run, UNPRIVILEGED)
    assert all_are(run, OWNER)
