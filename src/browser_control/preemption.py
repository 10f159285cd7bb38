"""SIGTERM and SIGINT as a question to ask at safe points, instead of an exception anywhere.

An exception that a signal raises in the middle of an optimizer step would leave weights that no update produced.
"""

import signal
from types import FrameType

from browser_control.errors import Preempted

PASSED_ON = signal.SIGUSR1  # from a launcher, which cannot know whether we got the signal that it got as well


class Preemption:
    """Remembers that the process was asked to end. A second signal ends it at once."""

    def __init__(self) -> None:
        self._signal: int | None = None

    @property
    def asked(self) -> bool:
        return self._signal is not None

    def listen(self) -> "Preemption":
        for number in (signal.SIGTERM, signal.SIGINT, PASSED_ON):
            signal.signal(number, self._receive)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [PASSED_ON])  # a launcher has us start with it blocked
        return self

    def check(self) -> None:
        """Raises `Preempted` if the process was asked to end."""
        if self._signal is not None:
            who = (
                "the process that started this one" if self._signal == PASSED_ON else signal.Signals(self._signal).name
            )
            raise Preempted(f"stopped by {who}")

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number != PASSED_ON and self._signal not in (None, PASSED_ON):
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if number != PASSED_ON or self._signal is None:
            self._signal = number
