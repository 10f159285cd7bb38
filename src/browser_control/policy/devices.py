"""Copies to a GPU that wait for nothing it has under way."""

import torch
from torch import Tensor


def placed(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy of a CPU's tensor on `device`, whose work need not end first: the next masks are made meanwhile.

    Pageable memory of more than 64 KiB would be waited for. PyTorch keeps pinned memory until it was read.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
