"""How many pages the service keeps open, where nobody says it."""

import os
import sys
from pathlib import Path

from browser_control import allowance

A_SESSION = 8  # pages: as many as a group has members that begin on the same page
PAGE_BYTES = 30 * 2**20  # of memory, its share of the browser included: measured 20 MB when opened, 28 MB long after
PAGE_THREADS = 20  # of its process; more where there are more cores
_THREADS = Path("/proc/sys/kernel/threads-max")  # which some sandboxes do not show


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
        memory = allowance.limit("memory.max", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if threads is None:
        threads = allowance.limit("pids.max", int(_THREADS.read_text()) if _THREADS.exists() else sys.maxsize)
    room = min(memory // 10 // PAGE_BYTES, threads // 4 // PAGE_THREADS) // services
    return max(least(sessions), min(A_SESSION * sessions, room))
