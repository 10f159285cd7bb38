"""Who plays what next: a session goes on with its web task, whose page it has open and need not load again."""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Generic, TypeVar

_Piece = TypeVar("_Piece")


class Dealing(Generic[_Piece]):
    """Deals pieces of work out to sessions, each web task's in order; callable by one thread at a time.

    A session whose web task has no more of them takes up another: that of which most is left for each session that is
    at it. So no session rests while there is work, and few change over. Who asks when decides who gets what.

    Args:
        work: web task and piece of each.
    """

    def __init__(self, work: Iterable[tuple[str, _Piece]]) -> None:
        self._left: dict[str, deque[_Piece]] = {}
        for web_task, piece in work:
            self._left.setdefault(web_task, deque()).append(piece)
        self._at: dict[int, str] = {}  # the web task of each session
        self._sessions: Counter[str] = Counter()  # that are at a web task

    def take(self, session: int) -> _Piece | None:
        """The next piece for a session; None where nothing is left."""
        web_task = self._at.get(session)
        if web_task not in self._left:
            if web_task is not None:
                self._sessions[web_task] -= 1
                del self._at[session]
            if not self._left:
                return None
            web_task = max(self._left, key=lambda each: len(self._left[each]) / (self._sessions[each] + 1))
            self._at[session] = web_task
            self._sessions[web_task] += 1
        pieces = self._left[web_task]
        piece = pieces.popleft()
        if not pieces:
            del self._left[web_task]
        return piece

    def stop(self) -> None:
        """Nobody takes another."""
        self._left.clear()
