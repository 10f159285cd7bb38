"""How many pages the service keeps open, where nobody says it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

A_SESSION = 8  # pages: as many as a group has members that begin on the same page
PAGE_BYTES = 30 * 2**20  # of memory, its share of the browser included: measured 20 MB when opened, 28 MB long after
PAGE_THREADS = 20  # of its process; more where there are more cores
_THREADS = Path("/proc/sys/kernel/threads-max")  # which some sandboxes do not show
_CGROUP = Path("/sys/fs/cgroup")
_OURS = Path("/proc/self/cgroup")
_FIRST_VERSION = {"memory.max": ("memory.limit_in_bytes",)}  # names of before cgroup v2, where they are others


def least(sessions: int) -> int:
    """A half more than sessions, and eight."""
    return sessions + sessions // 2 + 8


def kept_pages(sessions: int, memory: int | None = None, threads: int | None = None, services: int = 1) -> int:
    """Eight a session, in a tenth of the memory and a quarter of the threads, but never fewer than `least`.

    Args:
        memory: bytes; otherwise the machine's, or its container's.
        threads: that there may be; otherwise the machine's, or its container's.
        services: that share both, this one included.
    """
    if memory is None:
        memory = _limit("memory.max", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if threads is None:
        threads = _limit("pids.max", int(_THREADS.read_text()) if _THREADS.exists() else sys.maxsize)
    room = min(memory // 10 // PAGE_BYTES, threads // 4 // PAGE_THREADS) // services
    return max(least(sessions), min(A_SESSION * sessions, room))


def _limit(name: str, machine: int) -> int:
    """The least that a control group of ours may have, or what the machine has, if that is less."""
    found = [machine]
    for folder in _groups(name.partition(".")[0]):
        for each in (name, *_FIRST_VERSION.get(name, ())):
            with contextlib.suppress(OSError, ValueError):  # there is no such file, or it says `max`
                found.append(int((folder / each).read_text()))
    return min(found)


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, of either version, the outer ones too."""
    lines = _OURS.read_text().splitlines() if _OURS.exists() else []
    for _, controllers, path in (each.split(":", 2) for each in lines):
        if not controllers or controller in controllers.split(","):
            root = _CGROUP / controller if controllers else _CGROUP
            folder = root / path.lstrip("/")  # which a container may not see; it sees its own as the root
            yield from (each for each in (folder, *folder.parents) if each.is_relative_to(root))
