"""What several processes hold, put together; one that is alone has it all."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def gathered(mine: Tensor) -> Tensor:
    """Rows of all devices, in order of their rank."""
    if not dist.is_initialized():
        return mine
    from torchmetrics.utilities.distributed import gather_all_tensors  # brings matplotlib along

    return torch.cat(gather_all_tensors(mine.contiguous()))


def greatest(number: int) -> int:
    """The greatest of what each process has. All of them must ask."""
    if not dist.is_initialized():
        return number
    held = torch.tensor([number])
    dist.all_reduce(held, dist.ReduceOp.MAX)
    return int(held)
