"""How many pages the service keeps open, where nobody says it."""

import os
import sys
from pathlib import Path

A_SESSION = 8  # pages: as many as a group has members that begin on the same page
PAGE_BYTES = 30 * 2**20  # of memory, its share of the browser included: measured 20 MB when opened, 28 MB long after
PAGE_THREADS = 20  # of its process; more where there are more cores
_THREADS = Path("/proc/sys/kernel/threads-max")  # which some sandboxes do not show
_CGROUP = Path("/sys/fs/cgroup")


def kept_pages(sessions: int, memory: int | None = None, threads: int | None = None) -> int:
    """Eight a session, in a fifth of the memory and half of the threads; at least a half more than sessions, and eight.

    Args:
        memory: bytes; otherwise the machine's, or its container's.
        threads: that there may be; otherwise the machine's, or its container's.
    """
    if memory is None:
        memory = _limit("memory.max", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if threads is None:
        threads = _limit("pids.max", int(_THREADS.read_text()) if _THREADS.exists() else sys.maxsize)
    room = min(memory // 5 // PAGE_BYTES, threads // 2 // PAGE_THREADS)
    return max(sessions + sessions // 2 + 8, min(A_SESSION * sessions, room))


def _limit(name: str, machine: int) -> int:
    """What the container may have, or the machine has, whichever is less."""
    file = _CGROUP / name
    said = file.read_text().strip() if file.exists() else ""
    return min(int(said), machine) if said.isdigit() else machine
