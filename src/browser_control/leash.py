"""Runs a command that cannot outlive whoever started it: `leash.py FD GRACE COMMAND...`.

The leash holds the read end of a pipe (`FD`) whose other end only the owner has. When the owner is gone, however it
went, the pipe closes, and the leash ends the command: SIGTERM, `GRACE` seconds, SIGKILL to all that descends from it.
A SIGTERM to the leash does the same. As a subreaper the leash inherits processes that detach themselves (Playwright
starts Chromium in a session of its own), so that "all" means all. Where /proc cannot be read, "all" is the command's
process group.

It ends as the command ended: with its exit code, or by the same signal. Standard library only, so that it starts in
some 15 ms under `python -I -S`.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
PROC = Path("/proc")
_PAUSE = 0.2  # seconds, until it is killed once more


def main() -> None:
    owner, grace, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    os.set_inheritable(owner, False)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wakeups, wakeup = os.pipe()
    for descriptor in (wakeups, wakeup):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    child = _spawn(command)
    _follow(_watch(child, owner, wakeups, grace))


def _spawn(command: list[str]) -> int:
    try:
        return os.posix_spawnp(
            command[0], command, os.environ, setpgroup=0, setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGCHLD]
        )
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


def _watch(child: int, owner: int, wakeups: int, grace: float) -> int:
    """Waits for the command and returns its wait status, with no descendant left."""
    watched = [owner, wakeups]
    deadline: float | None = None
    while True:
        status = _reap(child)
        if status is not None:
            _kill_descendants(child)
            return status
        patience = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(watched, [], [], patience)
        asked = wakeups in ready and signal.SIGTERM in os.read(wakeups, 4096)
        if owner in ready:  # it is never written to: readable means closed
            watched.remove(owner)
            asked = True
        if asked and deadline is None:
            deadline = time.monotonic() + grace
            os.kill(child, signal.SIGTERM)
        elif deadline is not None and time.monotonic() >= deadline:
            _kill_descendants(child)
            deadline = time.monotonic() + _PAUSE


def _reap(child: int) -> int | None:
    """Collects whatever has ended; the wait status of `child` once it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                found = status
    return found


def _kill_descendants(child: int, patience: float = 5.0) -> None:
    """SIGKILL to every descendant, until none is left; one that hangs in the kernel is given up."""
    if not (PROC / str(os.getpid()) / "stat").exists():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return
    deadline = time.monotonic() + patience
    while (below := descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def descendants(ancestor: int) -> list[int]:
    """Pids of all live processes below `ancestor`."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir() if PROC.is_dir() else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _follow(status: int) -> None:
    """Ends as the command did."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
