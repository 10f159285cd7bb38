"""A clone of OpenEnv at a pinned commit, where the images' builds expect it; never committed."""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from browser_control.errors import RepositoryUnavailable

URL = "https://github.com/huggingface/OpenEnv"
COMMIT = "385de5ebb8d08d51d000d7dfc19de5f3c6a9c215"  # 13 June 2026

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ABSENT = re.compile(r"couldn't find remote ref|not our ref|unadvertised object|no such ref|bad object|not a valid ref")
_SECONDS = 300.0  # for one command of git
_PATIENCE = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": "60"}  # bytes a second, for so many seconds


def clone(url: str, ref: str, folders: list[Path]) -> str:
    """Has `ref` of the repository at `url` in each of `folders`, and returns its commit.

    A clean clone that is at `ref` already is left as it is, and serves without a network; any other is replaced. The
    history is not fetched.

    Args:
        ref: a commit, or the name of a branch or a tag, which then is asked for anew each time.

    Raises:
        RepositoryUnavailable: `url` does not answer or has no `ref`, and there is no clone to go on with.
    """
    first, *others = folders
    with _alone(first):
        commit = _fetch(url, ref, first)
        for folder in others:
            _fetch(str(first), commit, folder)
    return commit


def commit_of(folder: Path) -> str | None:
    """What is checked out in a clone of ours; None where there is none, or files differ from it."""
    if not (folder / ".git").is_dir():
        return None
    with contextlib.suppress(subprocess.SubprocessError):
        if not _git(folder, "status", "--porcelain"):
            return _git(folder, "rev-parse", "HEAD")
    return None


def _fetch(url: str, ref: str, folder: Path) -> str:
    here = commit_of(folder)
    if here is not None and here == ref:
        return here
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        commit = _fetch_anew(url, ref, partial)
    except RepositoryUnavailable as error:
        if here is not None and error.unreachable and _ref_of(folder) == ref:
            return here
        raise
    else:
        if here != commit:
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        _git(folder, "config", "browser-control.ref", ref)
        return commit
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fetch_anew(url: str, ref: str, folder: Path) -> str:
    folder.mkdir(parents=True)
    try:
        _git(folder, "init", "--quiet")
        _git(folder, "fetch", "--quiet", "--depth", "1", "--no-tags", "--", url, ref)
        _git(folder, "checkout", "--quiet", "--detach", "FETCH_HEAD")
        return _git(folder, "rev-parse", "HEAD")
    except FileNotFoundError as error:
        raise RepositoryUnavailable("git is missing: install it (as root `apt-get install git`)") from error
    except subprocess.TimeoutExpired as error:
        raise RepositoryUnavailable(f"{url} does not answer: check the network", True, _remote(url)) from error
    except subprocess.CalledProcessError as error:
        words = error.stderr or ""
        if "No space left on device" in words:
            raise RepositoryUnavailable(f"no space left on the disk of {folder.parent}: free some") from error
        if _ABSENT.search(words):
            kind = "commit" if _COMMIT.fullmatch(ref) else "branch or tag"
            raise RepositoryUnavailable(f"{url} has no {kind} {ref!r}: choose another --openenv-ref") from error
        raise RepositoryUnavailable(
            f"{url} cannot be cloned ({_reason(words)}): check the network and --openenv-url, or put a clone at"
            f" commit {ref} into {folder.with_name('OpenEnv')}",
            unreachable=True,
            network=_remote(url),
        ) from error


def _remote(url: str) -> bool:
    """Whether a network lies between, as for a URL or git's HOST:PATH."""
    return not url.startswith("file:") and re.match(r"[\w.@-]+:", url) is not None


def _reason(words: str) -> str:
    """What git says went wrong, of all that it says."""
    lines = [line.strip().removeprefix("remote: ") for line in words.splitlines()]
    told = [line.split(": ", 1)[1] for line in lines if line.startswith(("fatal: ", "error: "))]
    return (told or lines or [""])[0][:200] or "git gave no reason"


def _ref_of(folder: Path) -> str | None:
    with contextlib.suppress(subprocess.SubprocessError):
        return _git(folder, "config", "browser-control.ref")
    return None


def _git(folder: Path, *arguments: str) -> str:
    environ = {**_PATIENCE, **os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # as within a hook of git's
        environ.pop(variable, None)
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True, timeout=_SECONDS)
    return done.stdout.strip()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One run clones, others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
