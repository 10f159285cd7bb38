"""Copies to and from a GPU that do not wait for what it has under way."""

import torch
from torch import Tensor


def placed(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy of a CPU's tensor on `device`, whose work need not end first: the next masks are made meanwhile.

    Pageable memory of more than 64 KiB would be waited for. PyTorch keeps pinned memory until it was read.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Fetched:
    """A number that is looked at later: what was asked of the GPU after it is not waited for."""

    def __init__(self, value: Tensor) -> None:
        self._value = value.to("cpu", non_blocking=True)  # into pinned memory
        self._made: torch.cuda.Event | None = None
        if value.is_cuda:
            self._made = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._made.record()

    def item(self) -> float:
        if self._made is not None:
            self._made.synchronize()
        return float(self._value)
