"""Whom a container runs as: the caller, so that what it writes is the caller's; never root."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

UNPRIVILEGED = 10001  # whom a container runs as where the caller is root; USER of the images


def caller() -> tuple[int, int]:
    """User and group of a container."""
    return (os.getuid(), os.getgid()) if os.getuid() else (UNPRIVILEGED, UNPRIVILEGED)


@dataclass
class Loan:
    """Folders that a container has.

    Attributes:
        kept: whether they stay its user's after the block, for it may still write to them.
    """

    kept: bool = False


@contextlib.contextmanager
def lent(folders: Iterable[Path]) -> Iterator[Loan]:
    """Where the caller is root, gives `folders` to the user of the container for as long as the block lasts."""
    loan = Loan()
    if os.getuid() != 0:
        yield loan
        return
    folders = tuple(folders)
    owners = [(folder.stat().st_uid, folder.stat().st_gid) for folder in folders]
    try:
        for folder in folders:
            give(folder, UNPRIVILEGED, UNPRIVILEGED)
        yield loan
    finally:
        for folder, owner in zip(folders, owners, strict=True):
            if not loan.kept:
                give(folder, *owner)


def give(folder: Path, user: int, group: int) -> None:
    """Changes the owner of a folder and of all in it; what goes away meanwhile is passed over."""
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            os.chown(path, user, group, follow_symlinks=False)
