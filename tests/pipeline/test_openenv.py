"""A clone of a real git repository, and what is said where there can be none."""

import socket
import subprocess
from pathlib import Path

import pytest

from browser_control.errors import RepositoryUnavailable
from browser_control.pipeline import openenv


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(["git", "-C", str(folder), *author, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [tmp_path / "docker" / name / "OpenEnv" for name in ("browsergym", "training")]


def commit(origin: Path, words: str) -> str:
    (origin / "README.md").write_text(words)
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", words)
    return git(origin, "rev-parse", "HEAD")


def test_a_commit_and_a_branch_are_cloned_without_their_history(origin: Path, folders: list[Path]) -> None:
    first, second = commit(origin, "first"), commit(origin, "second")
    assert openenv.clone(str(origin), first, folders) == first
    assert [(folder / "README.md").read_text() for folder in folders] == ["first", "first"]
    assert openenv.clone(str(origin), "main", folders) == second
    assert [git(folder, "rev-list", "--count", "HEAD") for folder in folders] == ["1", "1"]
    third = commit(origin, "third")
    assert openenv.clone(str(origin), "main", folders) == third


def test_a_clone_that_is_there_serves_where_nobody_answers(origin: Path, folders: list[Path]) -> None:
    pinned = commit(origin, "first")
    openenv.clone(str(origin), "main", folders)
    origin.rename(origin.with_name("away"))
    assert openenv.clone(str(origin), pinned, folders) == pinned
    assert openenv.clone(str(origin), "main", folders) == pinned
    with pytest.raises(RepositoryUnavailable, match="cannot be cloned"):  # it is not known to be that branch
        openenv.clone(str(origin), "other", folders)


def test_a_clone_with_changes_or_at_another_commit_is_replaced(origin: Path, folders: list[Path]) -> None:
    first, second = commit(origin, "first"), commit(origin, "second")
    openenv.clone(str(origin), second, folders)
    (folders[0] / "README.md").write_text("changed by somebody")
    (folders[1] / "more").write_text("left by somebody")
    openenv.clone(str(origin), second, folders)
    assert [openenv.commit_of(folder) for folder in folders] == [second, second]
    openenv.clone(str(origin), first, folders)
    assert [(folder / "README.md").read_text() for folder in folders] == ["first", "first"]


@pytest.mark.parametrize(
    ("ref", "sentence"), [("1" * 40, "has no commit '1111"), ("nosuch", "has no branch or tag 'nosuch'")]
)
def test_an_unknown_ref_is_said_and_not_tried_again(origin: Path, folders: list[Path], ref: str, sentence: str) -> None:
    commit(origin, "first")
    with pytest.raises(RepositoryUnavailable, match=sentence) as caught:
        openenv.clone(str(origin), ref, folders)
    assert not caught.value.retriable
    assert list(folders[0].parent.iterdir()) == []


@pytest.mark.parametrize(("url", "retriable"), [("/nowhere/OpenEnv", False), ("git://127.0.0.1:{port}/OpenEnv", True)])
def test_a_repository_that_is_not_there_is_one_sentence(folders: list[Path], url: str, retriable: bool) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = url.format(port=free.getsockname()[1])  # bound, and nobody listens
        with pytest.raises(RepositoryUnavailable, match=r"cannot be cloned .*check the network") as caught:
            openenv.clone(url, openenv.COMMIT, folders)
    assert "\n" not in str(caught.value)
    assert caught.value.retriable == retriable
    assert list(folders[0].parent.iterdir()) == []
