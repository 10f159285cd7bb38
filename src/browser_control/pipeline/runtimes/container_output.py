"""What a container says: heard as it comes, and after a break from the engine's log, each byte once.

Its two streams are one by then (docker/scripts/entrypoint.sh).
"""

import codecs
import io
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta

from docker.types import CancellableStream

from browser_control.pipeline.engine import hang_up

_RECORD = 80  # bytes that the log adds to a line


class Heard:
    """How far a program was heard: line ends, and bytes behind the last of them.

    Bytes alone would not do: the engine's log has other ones for what is no UTF-8.

    Attributes:
        size: bytes that it has in the log, about.
        age: of the program, when it was heard last.
    """

    def __init__(self) -> None:
        self.size = 0
        self.age = timedelta()
        self._line_ends = 0
        self._behind = 0
        self._began = time.monotonic()

    def keep(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same; each counts as heard when it is handed on."""
        for piece in pieces:
            ends = piece.count(b"\n")
            behind = len(piece) - piece.rfind(b"\n") - 1
            self._line_ends += ends
            self._behind = behind if ends else self._behind + behind
            self.size += len(piece) + ends * _RECORD
            self.age = timedelta(seconds=time.monotonic() - self._began)
            yield piece

    def unheard(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """What is new among `pieces`, which begin where the program began."""
        line_ends, behind = self._line_ends, self._behind
        for piece in pieces:
            while line_ends and piece:
                _, end, piece = piece.partition(b"\n")
                line_ends -= len(end)
            known = min(behind, len(piece))
            behind -= known
            if len(piece) > known:
                yield piece[known:]


def pieces(output: CancellableStream) -> Iterator[bytes]:
    """As they come; ends where the connection breaks."""
    try:
        yield from output
    finally:
        hang_up(output._response)


def lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Lines as a process's are read: one that ends in a carriage return, as progress bars do, is a line."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + decoder.decode(piece)).split("\n")
        yield from whole
    *whole, rest = (rest + decoder.decode(b"", final=True)).split("\n")
    yield from whole
    if rest:
        yield rest
