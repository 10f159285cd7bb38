"""GPUs of this machine: one run has them at a time, however it was started; the others wait, and say for whom.

A run takes all of them, or those whose numbers CUDA_VISIBLE_DEVICES names. The locks are files that the kernel lets go
of, however their holder ends; into them the holder writes its name, for those who wait.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from browser_control import gpus


@contextlib.contextmanager
def held(
    name: str, wait: Callable[[str], None], devices: tuple[str, ...] | None = None, folder: Path | None = None
) -> Iterator[None]:
    """Holds GPUs for the length of the block.

    Args:
        name: of the run, told to those who wait for it.
        wait: told what is waited for, if anything is.
        devices: default: those that a run takes.
        folder: of the locks; default: the one for temporary files, which all users of the machine share.
    """
    folder = folder or Path(tempfile.gettempdir())
    with contextlib.ExitStack() as stack:
        for device in sorted(_chosen() if devices is None else devices):  # in one order, so that no two wait in a ring
            stack.enter_context(_held(folder / f"browser-control-gpu-{device}.lock", device, name, wait))
        yield


def _chosen() -> tuple[str, ...]:
    """Those that a run takes; the first, where the driver shows none and nobody said that there is none."""
    return gpus.visible() or (() if gpus.named() == () else ("0",))


@contextlib.contextmanager
def _held(lock: Path, device: str, name: str, wait: Callable[[str], None]) -> Iterator[None]:
    descriptor = _open(lock)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait(f"waiting for GPU {device} of this machine, which {lock.read_text() or 'another run'} has")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        _write(descriptor, name)
        try:
            yield
        finally:
            _write(descriptor, "")
    finally:
        os.close(descriptor)


def _open(lock: Path) -> int:
    """For all users of the machine; Linux lets nobody create what is there already as somebody else's in /tmp."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.fchmod(descriptor, 0o666)
        return descriptor
    except FileExistsError:
        return os.open(lock, os.O_RDWR)


def _write(descriptor: int, name: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, name.encode(), 0)
