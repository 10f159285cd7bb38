"""Tasks that are called one after the other, and that Prefect's graph shows so.

Left to itself, Prefect hangs each task at those whose results it is given: all of them at start-browsergym.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.client.schemas.objects import State
from prefect.utilities.annotations import quote

P = ParamSpec("P")
R = TypeVar("R")


class Chain:
    """Gives each task the one before it to wait for."""

    def __init__(self) -> None:
        self._before: State[Any] | None = None

    def __call__(self, task: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Calls the task, not submitted, and returns or raises what it does."""
        assert isinstance(task, Task)
        wait_for = [] if self._before is None else [self._before]
        quoted = (quote(each) for each in arguments)  # looked into, they would be edges of the graph too
        self._before = task(*quoted, return_state=True, wait_for=wait_for, **named)
        return cast(R, self._before.result())
