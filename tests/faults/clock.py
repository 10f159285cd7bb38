"""A wall clock of its own for all that a place or a server starts, which the test may set: see clock.c."""

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

HOUR = 3600
SOURCE = Path(__file__).with_name("clock.c")


@dataclass(frozen=True)
class Clock:
    """A clock that goes as the machine's does, by so many seconds ahead as the file says."""

    library: Path
    file: Path

    @property
    def environ(self) -> dict[str, str]:
        """For the processes that are to read this clock, and for all that these start."""
        return {"LD_PRELOAD": str(self.library), "CLOCK": str(self.file)}

    def set(self, ahead: int) -> None:
        """Seconds ahead of the machine's, negative for behind; at once, in all processes."""
        with self.file.open("r+b") as file:
            file.write(struct.pack("=q", ahead))

    def is_read_by(self, pid: int) -> bool:
        return str(self.library) in Path(f"/proc/{pid}/maps").read_text()


def make(folder: Path) -> Clock:
    """Compiles the library; skips the test where there is no C compiler."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("a clock that jumps takes a C compiler: install one (as root `apt-get install gcc libc6-dev`)")
    folder.mkdir(exist_ok=True)
    clock = Clock(folder / "clock.so", folder / "clock")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(clock.library), str(SOURCE)], check=True)
    clock.file.write_bytes(bytes(8))
    return clock
