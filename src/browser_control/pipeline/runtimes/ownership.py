"""Whom a container runs as: the caller, so that what it writes is the caller's; never root.

Where the caller is root, folders are lent to a user of nobody's. Several containers may have one, or one within
another: what none has any more is given back. A killed run gives nothing back; who removes its containers does.
"""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

UNPRIVILEGED = 10001  # whom a container runs as where the caller is root; USER of the images

Owner = tuple[int, int]  # user and group

_lock = threading.Lock()
_loans: list["Loan"] = []  # of this process


def caller() -> Owner:
    """User and group of a container."""
    return (os.getuid(), os.getgid()) if os.getuid() else (UNPRIVILEGED, UNPRIVILEGED)


@dataclass(eq=False)
class Loan:
    """Folders that a container has.

    Attributes:
        owners: of the folders, before any container had them; none where nothing has to be lent.
        kept: whether they stay its user's after the block, for it may still write to them.
    """

    owners: dict[Path, Owner]
    kept: bool = False

    def end(self) -> None:
        """Gives back what no other container has."""
        with _lock:
            if self not in _loans:  # reclaimed by now
                return
            _loans.remove(self)
            lent_still = [folder for loan in _loans for folder in loan.owners]
            for folder, owner in self.owners.items():
                if not any(folder.is_relative_to(other) for other in lent_still):
                    give(folder, *owner, spared=lent_still)


@contextlib.contextmanager
def lent(folders: Iterable[Path]) -> Iterator[Loan]:
    """Where the caller is root, gives `folders` to the user of the container for as long as the block lasts."""
    with _lock:
        lends = os.getuid() == 0
        loan = Loan({folder: _owner(folder) for folder in map(Path.absolute, folders)} if lends else {})
        _loans.append(loan)
    try:
        for folder in loan.owners:
            give(folder, UNPRIVILEGED, UNPRIVILEGED)
        yield loan
    finally:
        if not loan.kept:
            loan.end()


def reclaim(folder: Path) -> None:
    """Gives back what containers that are gone had of a folder, whoever lent it."""
    if os.getuid() != 0 or not folder.is_absolute():
        return
    with _lock:
        _loans[:] = [loan for loan in _loans if not any(each.is_relative_to(folder) for each in loan.owners)]
        owner = _owner(folder)
        for path in _within(folder):
            with contextlib.suppress(FileNotFoundError):
                if path.lstat().st_uid == UNPRIVILEGED:
                    os.chown(path, *owner, follow_symlinks=False)


def give(folder: Path, user: int, group: int, spared: Iterable[Path] = ()) -> None:
    """Changes the owner of a folder and of all in it; what goes away meanwhile is passed over."""
    for path in _within(folder, set(spared)):
        with contextlib.suppress(FileNotFoundError):
            os.chown(path, user, group, follow_symlinks=False)


def _owner(folder: Path) -> Owner:
    """Whose it is but for loans; one that a run which was killed had lent is whose the nearest folder above it is."""
    for loan in _loans:
        for other, owner in loan.owners.items():
            if folder.is_relative_to(other):
                return owner
    for each in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError):
            found = each.stat()
            if found.st_uid != UNPRIVILEGED:
                return found.st_uid, found.st_gid
    return os.getuid(), os.getgid()


def _within(folder: Path, spared: Iterable[Path] = ()) -> Iterator[Path]:
    """A folder and all in it, but for folders that are spared, and what is in them."""
    yield folder
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(place, name) not in spared]
        yield from (Path(place, name) for name in (*folders, *files))
