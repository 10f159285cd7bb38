"""Starts a program as several processes that train together, and ends as they do.

What `accelerate launch` and `torchrun` do as well; but these answer 1 whatever the program's exit code was, and ours
mean something: 75 continues, 2 does not (docs/architecture.md).
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from browser_control.errors import EXIT_PREEMPTED, EXIT_USER_ERROR
from browser_control.preemption import PASSED_ON, Preemption

_POLL_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def launch(module: str, argv: Sequence[str], processes: int, preemption: Preemption) -> int:
    """Runs `python -m module *argv` as so many ranks on this machine; returns the exit code of all of them.

    A rank that fails ends the others, which wait for it. A request to end is passed on, and they agree where.
    """
    command = [sys.executable, "-m", module, *argv]
    port = _free_port()
    ranks: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(processes):
            environ = {**os.environ, **_environ(rank, processes, port)}
            ranks.append(subprocess.Popen(command, env=environ, preexec_fn=_prepare))
        return _exit_code(_wait(ranks, preemption))
    finally:
        for process in ranks:
            process.kill()
            process.wait()


def _wait(ranks: Sequence["subprocess.Popen[bytes]"], preemption: Preemption) -> list[int | None]:
    """Exit codes once all have ended, or one has failed."""
    told = False
    while True:
        codes = [process.poll() for process in ranks]
        if None not in codes or any(_failed(code) for code in codes):
            return codes
        if preemption.asked and not told:
            told = True
            for process in ranks:
                process.send_signal(PASSED_ON)
        time.sleep(_POLL_SECONDS)


def _failed(code: int | None) -> bool:
    return code not in (None, 0, EXIT_PREEMPTED)


def _exit_code(codes: Sequence[int | None]) -> int:
    """The worst of all; a signal (negative, as Python counts) becomes 128 + its number, as a shell would say."""
    if failed := [code for code in codes if code is not None and _failed(code)]:
        if EXIT_USER_ERROR in failed:  # it says what to do; others may have failed for want of this one
            return EXIT_USER_ERROR
        worst = min(failed)
        return worst if worst > 0 else 128 - worst
    return max(code or 0 for code in codes)


def _environ(rank: int, processes: int, port: int) -> dict[str, str]:
    """What PyTorch reads; the cores are shared out, unless somebody else has done so."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _prepare() -> None:
    """In a rank before its program: no signal is lost until it listens, and it dies with whoever started it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [PASSED_ON])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
