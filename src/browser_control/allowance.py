"""What this process may have of its machine: as its control groups allow, of either version, the outer ones too."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_OURS = Path("/proc/self/cgroup")
_FIRST_VERSION = {"memory.max": ("memory.limit_in_bytes",)}  # names of before cgroup v2, where they are others


def limit(name: str, machine: int) -> int:
    """The least that a control group of ours may have, or what the machine has, if that is less.

    Args:
        name: of the group's file, as version 2 has it, such as `memory.max`.
    """
    found = [machine]
    for folder in _groups(name.partition(".")[0]):
        for each in (name, *_FIRST_VERSION.get(name, ())):
            with contextlib.suppress(OSError, ValueError):  # there is no such file, or it says `max`
                found.append(int((folder / each).read_text()))
    return min(found)


def cores() -> float:
    """Cores that this process may run on, or as much time of them as it is given, if that is less."""
    found = [float(len(os.sched_getaffinity(0)))]
    for folder in _groups("cpu"):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            found.append(int(quota) / int(period))
        with contextlib.suppress(OSError, ValueError):
            quota, period = ((folder / f"cpu.cfs_{each}_us").read_text() for each in ("quota", "period"))
            if int(quota) > 0:
                found.append(int(quota) / int(period))
    return min(found)


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in."""
    lines = _OURS.read_text().splitlines() if _OURS.exists() else []
    for _, controllers, path in (each.split(":", 2) for each in lines):
        if not controllers or controller in controllers.split(","):
            root = _CGROUP / controller if controllers else _CGROUP
            folder = root / path.lstrip("/")  # which a container may not see; it sees its own as the root
            yield from (each for each in (folder, *folder.parents) if each.is_relative_to(root))
