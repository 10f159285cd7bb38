"""Several processes, each with a GPU of its own, that train one policy.

Every process, numbered by its *rank*, holds the whole policy and the same knowledge: each plays its share of an
update's groups and tells the others all that it played, and from there on all decide the same. Gradients are summed
once an update. So the update is that of one process on the same groups, up to the order in which floats are added.

`Alone` is the one process of most runs; it does nothing that a program without this module would not do.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

from browser_control.errors import BrowserControlError, ConfigurationError, Preempted, RankFailed

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

_PATIENCE = timedelta(days=1)  # others wait while rank 0 clones demonstrations; a rank that died is seen at once


class Alone:
    """One process."""

    rank = 0
    size = 1

    def share(self, items: Sequence[T]) -> list[T]:
        """Every `size`-th item, from the `rank`-th on."""
        return list(items[self.rank :: self.size])

    def together(self, work: Callable[[], T]) -> list[T]:
        """Does `work` in every process; returns what each returned, by rank. All processes have to call it.

        Raises:
            Preempted: some process was asked to end, and so all end here.
            OSError, BrowserControlError: `work` raised it in some process.
            RankFailed: `work` raised anything else in another process.
        """
        return [work()]

    def once(self, work: Callable[[], T]) -> T:
        """Does `work` in rank 0 while the others wait; returns what it returned, in every process."""
        return self.together(lambda: work() if self.rank == 0 else None)[0]  # type: ignore[return-value]

    def sum_gradients(self, parameters: Iterable["torch.nn.Parameter"]) -> None:
        """Replaces each gradient by its sum over all processes."""


ALONE = Alone()


class Ranks(Alone):
    """One process of several, which PyTorch's process group connects."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size

    def together(self, work: Callable[[], T]) -> list[T]:
        from accelerate.utils import gather_object

        mine: BaseException | None = None
        result: T | None = None
        try:
            result = work()
        except Exception as error:  # the others wait for an answer: it is raised below, when they have it
            mine = error
        ours = mine is None or isinstance(mine, BrowserControlError | OSError)  # what any process can end with as well
        told = mine if ours else RankFailed(f"rank {self.rank} failed: {type(mine).__name__}: {mine}")
        answers: list[tuple[T, BaseException | None]] = gather_object([(result, told)])
        if failures := [failure for _, failure in answers if failure is not None]:
            worst = next((failure for failure in failures if not isinstance(failure, Preempted)), failures[0])
            raise mine if mine is not None and not isinstance(mine, Preempted) else worst
        return [answer for answer, _ in answers]

    def sum_gradients(self, parameters: Iterable["torch.nn.Parameter"]) -> None:
        import torch

        trained = list(parameters)
        for parameter in trained:
            if parameter.grad is None:  # no sample of this process's share reached it
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        total = torch.cat([gradient.flatten().float() for gradient in gradients])
        torch.distributed.all_reduce(total)
        for gradient, part in zip(
            gradients, torch.split(total, [gradient.numel() for gradient in gradients]), strict=True
        ):
            gradient.copy_(part.view_as(gradient))


def interleave(shares: Iterable[Sequence[T]]) -> list[T]:
    """The items of which `share` made these shares, in their order."""
    missing = object()
    return [item for row in zip_longest(*shares, fillvalue=missing) for item in row if item is not missing]  # type: ignore[misc]


def launched() -> bool:
    """Whether a launcher started this process as one of several: ours, `accelerate launch` or `torchrun`."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def join(cpu: bool) -> Iterator[Alone]:
    """The processes that a launcher started, or this one alone; only rank 0 writes to stdout meanwhile.

    Args:
        cpu: take no GPU, though there be some.

    Raises:
        ConfigurationError: there are fewer GPUs than processes.
    """
    if not launched():
        yield ALONE
        return
    import torch
    from accelerate import PartialState

    cpu = cpu or not torch.cuda.is_available()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    if not cpu and here > torch.cuda.device_count():
        raise ConfigurationError(
            f"{here} processes were started, but PyTorch finds {torch.cuda.device_count()} GPUs; "
            "start as many as there are, or set model.device=cpu"
        )
    state = PartialState(cpu=cpu, timeout=_PATIENCE)
    with _only_rank_zero_speaks(state.process_index):
        try:
            yield Ranks(state.process_index, state.num_processes)
        except Preempted:  # agreed upon, so that all are here; after a failure the others might not be
            state.destroy_process_group()
            raise
        state.destroy_process_group()


@contextmanager
def _only_rank_zero_speaks(rank: int) -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere if rank else sys.stdout):
        yield
