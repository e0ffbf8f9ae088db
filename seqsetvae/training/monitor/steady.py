"""Posterior means without what varies over sets and is no information of the latents. Pure; S sets, Z dimensions, C of a condition."""

from __future__ import annotations

import torch
from torch import Tensor

DRIFT_STEPS = 8
"""Batches from which drift can be told from the difference between two batches."""


def without_drift(mu_SZ: Tensor, serial_S: Tensor, steps: int) -> Tensor:
    """Posterior means less the straight line that each dimension follows over the batches of the pool.

    While an encoder moves, its means move with it, for all sets alike: that is variance over the pool, and no information. In random
    order of the sets the line takes next to nothing of the signal with it.

    >>> serial_S = torch.arange(1000.0)
    >>> drifting = without_drift(0.01 * serial_S[:, None].repeat(1, 2), serial_S, 1000)
    >>> bool(drifting.var(0).max() < 1e-6)
    True
    """
    if steps < DRIFT_STEPS:
        return mu_SZ
    age_S1 = (serial_S - serial_S.mean())[:, None].double()
    centred_SZ = mu_SZ.double() - mu_SZ.double().mean(0)
    slope_Z = (age_S1 * centred_SZ).sum(0) / age_S1.square().sum().clamp(min=1e-12)
    return (mu_SZ - (age_S1 * slope_Z)).to(mu_SZ.dtype)


def without_condition(mu_SZ: Tensor, condition_SC: Tensor) -> Tensor:
    """Posterior means less what the condition says of them: the mean of each class, where it is whole numbers; else a straight line.

    What the decoder is told anyway is no information of the latents. From fewer sets than conditions nothing is taken.

    >>> label_S1 = torch.arange(100)[:, None] % 4
    >>> copied = without_condition(3.0 * label_S1.float(), label_S1)
    >>> bool(copied.abs().max() < 1e-6)
    True
    """
    if not condition_SC.is_floating_point():
        _, class_S = condition_SC.unique(dim=0, return_inverse=True)
        classes = int(class_S.max()) + 1
        sum_CZ = torch.zeros(classes, mu_SZ.shape[1], dtype=mu_SZ.dtype, device=mu_SZ.device).index_add_(
            0, class_S, mu_SZ
        )
        return mu_SZ - (sum_CZ / class_S.bincount(minlength=classes)[:, None])[class_S]
    if condition_SC.shape[1] >= len(mu_SZ):
        return mu_SZ
    told_SC = torch.cat([torch.ones_like(condition_SC[:, :1]), condition_SC], 1).double()
    centred_SZ = mu_SZ.double()
    fitted_SZ = told_SC @ torch.linalg.lstsq(told_SC, centred_SZ).solution
    return (centred_SZ - fitted_SZ).to(mu_SZ.dtype)
