"""A program's output on its way: all of it into a file, the last lines kept, each handed to whoever reads."""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from browser_control.pipeline.runtimes.base import TAIL


class Output:
    """Reads `source` to its end in a thread of its own, whether or not anybody reads `lines`.

    Args:
        source: lines with or without their line breaks; closed at the end, if it can be.
        log: appended to. Where that fails, as on a full disk, reading goes on, for the program must not block.
    """

    def __init__(self, source: Iterable[str], log: Path) -> None:
        self._source = source
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    def tail(self) -> Sequence[str]:
        return tuple(self._tail)

    def lines(self) -> Iterator[str]:
        """Lines as they come, until there are no more."""
        while (line := self._lines.get()) is not None:
            yield line

    def close(self, seconds: float = 5.0) -> None:
        """Waits for the last line, whose program has ended."""
        self._reader.join(seconds)

    def _read(self, log: Path) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._lines.put, None)
            if hasattr(self._source, "close"):
                stack.callback(self._source.close)
            file = None
            with contextlib.suppress(OSError):
                file = log.open("a", encoding="utf-8")
                stack.callback(_close, file)
            for line in self._source:
                self._tail.append(line.rstrip("\n"))
                self._lines.put(line.rstrip("\n"))
                with contextlib.suppress(OSError):
                    if file is not None:
                        file.write(line.rstrip("\n") + "\n")
                        file.flush()


def _close(file: TextIO) -> None:
    """What a full disk did not take before, it does not take now."""
    with contextlib.suppress(OSError):
        file.close()
