"""A program's leash ends it also where /proc cannot be read."""

import os
import subprocess
import sys
import time
from pathlib import Path

from browser_control import leash

BLIND = (
    "import sys, importlib.util as u\nfrom pathlib import Path\n"
    "s = u.spec_from_file_location('leash', sys.argv.pop(1)); leash = u.module_from_spec(s)\n"
    "s.loader.exec_module(leash)\n"
    "leash.PROC = Path('/nowhere'); leash.main()"
)
STUBBORN = (
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print(subprocess.Popen(['sleep', '600']).pid, flush=True)\n"
    "time.sleep(600)"
)


def _blind(pipe: int, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", BLIND, leash.__file__, str(pipe), "0.2", *command],
        stdout=subprocess.PIPE,
        pass_fds=(pipe,),
        text=True,
    )


def test_a_stubborn_program_and_what_it_started_are_killed_where_proc_cannot_be_read() -> None:
    theirs, ours = os.pipe()
    process = _blind(theirs, sys.executable, "-c", STUBBORN)
    os.close(theirs)
    assert process.stdout is not None
    below = int(process.stdout.readline())
    os.close(ours)
    assert process.wait(60) == -9
    process.stdout.close()
    deadline = time.monotonic() + 60
    while _lives(below) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(below)


def test_a_program_ends_with_its_own_exit_code_where_proc_cannot_be_read() -> None:
    theirs, ours = os.pipe()
    process = _blind(theirs, sys.executable, "-c", "raise SystemExit(75)")
    os.close(theirs)
    assert process.wait(60) == 75
    os.close(ours)
    assert process.stdout is not None
    process.stdout.close()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
