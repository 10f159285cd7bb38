"""Demonstrations that solvers play while the policy learns: pages take processors, and learning takes the GPU."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from sys import getswitchinterval, setswitchinterval
from threading import Event
from types import TracebackType
from typing import Self

from browser_control.training.demonstrations import Demonstration

Play = Callable[[Callable[[int], None]], list[Demonstration]]


# Seconds that a thread may hold Python's lock while others want it. What learns gives the lock up at each operation of
# PyTorch; after Python's own 5 ms it would have it again so late that a step took 161 ms in place of 87.
_TURN = 0.0005


class _Stopped(Exception):
    """Nobody waits for these demonstrations any more."""


class Ahead:
    """Has one lot of demonstrations played at a time, by a thread; a context, at whose end nothing is played any more.

    What is played depends on no time, so neither does what is learned. Until `taken` the environments are the thread's.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "ahead")
        self._stop = Event()
        self._waiting: Future[list[Demonstration]] | None = None

    def __enter__(self) -> Self:
        self._usual = getswitchinterval()
        setswitchinterval(_TURN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.shutdown(wait=True, cancel_futures=True)
        setswitchinterval(self._usual)

    def begin(self, play: Play) -> None:
        """Begins to play.

        Args:
            play: returns the demonstrations; tells its argument of each episode, and ends with what that raises.
        """
        self._waiting = self._thread.submit(play, self._played)

    def taken(self) -> list[Demonstration]:
        """Waits for what was begun last, and gives it once; nothing where nothing was begun. Raises what `play` did."""
        waiting, self._waiting = self._waiting, None
        return waiting.result() if waiting is not None else []

    def _played(self, count: int) -> None:
        if self._stop.is_set():
            raise _Stopped
