"""A program's output on its way: all of it into a file, the last lines kept, each handed to whoever reads."""

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from browser_control.pipeline.runtimes.base import TAIL

AHEAD = 10_000  # lines that wait for a reader; a service has none
LONGEST = 100_000  # characters of a line that are handed on; the file has them all


class Output:
    """Reads `source` to its end in a thread of its own, whether or not anybody reads `lines`.

    Memory is bounded, however much a program says: who reads slowly, or not at all, misses the oldest lines.

    Args:
        source: lines with or without their line breaks; closed at the end, if it can be.
        log: appended to. Where that fails, as on a full disk, reading goes on, for the program must not block.
    """

    def __init__(self, source: Iterable[str], log: Path) -> None:
        self._source = source
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._waiting: deque[str] = deque(maxlen=AHEAD)
        self._over = False
        self._changed = threading.Condition()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    def tail(self) -> Sequence[str]:
        return tuple(self._tail)

    def lines(self) -> Iterator[str]:
        """Lines as they come, until there are no more."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._over)
                if not self._waiting:
                    return
                line = self._waiting.popleft()
            yield line

    def close(self, seconds: float = 5.0) -> None:
        """Waits for the last line, whose program has ended."""
        self._reader.join(seconds)

    def _read(self, log: Path) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._end)
            if hasattr(self._source, "close"):
                stack.callback(self._source.close)
            file = None
            with contextlib.suppress(OSError):
                file = log.open("a", encoding="utf-8")
                stack.callback(_close, file)
            for line in self._source:
                self._hand_on(line.rstrip("\n"))
                with contextlib.suppress(OSError):
                    if file is not None:
                        file.write(line.rstrip("\n") + "\n")
                        file.flush()

    def _hand_on(self, line: str) -> None:
        if len(line) > LONGEST:
            line = f"{line[:LONGEST]} ... ({len(line)} characters)"
        with self._changed:
            self._tail.append(line)
            self._waiting.append(line)
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()


def _close(file: TextIO) -> None:
    """What a full disk did not take before, it does not take now."""
    with contextlib.suppress(OSError):
        file.close()
