"""Which of PyTorch's kernels a training on a GPU keeps away from."""

from __future__ import annotations

import torch


def no_plan_for_each_shape() -> None:
    """Leave attention on a grid to kernels that take any shape at once.

    cuDNN's attention, which PyTorch prefers on recent GPUs, first builds a plan for every shape that it has not seen: some 50 ms, where a
    whole step takes 20, and nearly every batch has a shape of its own.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
