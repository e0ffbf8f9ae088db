"""What a certified run is held against: nats that pass from x through the latents to what is decoded, on data nobody trained on.

By no function of the monitor, and by another kind of estimator: from what was planted in the data, a straight line is drawn to what the
decoder puts out, and what it explains of rows that it was not fitted on is turned into nats.
"""

from __future__ import annotations

import torch
from torch import Tensor

DEAD = 0.005
"""Nats below which a run is dead: a Gaussian latent of so much explains 1 % of the variance of one direction. No threshold of the
detector: half of the lowest."""
ALIVE = 0.1
"""Nats from which it is alive (He et al. 2019 call a posterior below that collapsed). In between it is faint, and graded."""
BANDS = (0.0, DEAD, 0.01, 0.03, ALIVE, 0.3, float("inf"))
"""Nats at which the grades begin."""


def explained_information(planted_NF: Tensor, decoded_NX: Tensor, class_N: Tensor | None = None) -> float:
    """Nats that what is decoded tells of what was planted: 0.5 ln det Cov(f) / det Cov(f - B decoded).

    For Gaussian f a lower bound of their mutual information, hence of that of x and z, which is between; equal to it where all is linear.
    The line B is fitted on the first half of the rows and judged on the second. Within each class, where a model is told that.

    Args:
        planted_NF: Gaussian factors behind N rows of held-out data.
        decoded_NX: what the decoder makes of the latents of each row, of nothing else that tells rows of a class apart.
        class_N: which class the model is told of; None: nothing.

    >>> import math
    >>> f = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    >>> noise = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(1))
    >>> round(explained_information(f, 3.0 * (f + noise)), 1), round(0.5 * math.log(2.0), 1)
    (0.3, 0.3)
    >>> explained_information(f, noise) < DEAD
    True
    """
    planted, decoded = _within(planted_NF.double(), class_N), _within(decoded_NX.double(), class_N)
    half = len(planted) // 2
    # Directions along which next to nothing is decoded tell nothing, and would be divided by.
    spread = decoded.std()
    if not bool(spread > 1e-9):
        return 0.0
    ridge_XX = 1e-6 * spread.square() * half * torch.eye(decoded.shape[1], dtype=torch.float64)
    fitted, judged = decoded[:half], decoded[half:]
    B_XF = torch.linalg.solve(fitted.T @ fitted + ridge_XX, fitted.T @ planted[:half])
    of_planted, left = planted[half:], planted[half:] - judged @ B_XF
    gained = torch.logdet(of_planted.T @ of_planted) - torch.logdet(left.T @ left)
    return max(0.0, 0.5 * float(gained))


def _within(values_NX: Tensor, class_N: Tensor | None) -> Tensor:
    """Less the mean of the class."""
    if class_N is None:
        return values_NX - values_NX.mean(0)
    classes = int(class_N.max()) + 1
    sums = torch.zeros(classes, values_NX.shape[1], dtype=values_NX.dtype).index_add_(0, class_N, values_NX)
    return values_NX - (sums / class_N.bincount(minlength=classes)[:, None])[class_N]


def grade(nats: float) -> int:
    """Place of the band of :data:`BANDS` that holds so many nats.

    >>> [grade(nats) for nats in (0.0, 0.007, 0.02, 0.2, 5.0)]
    [0, 1, 2, 4, 5]
    """
    return sum(nats >= edge for edge in BANDS[1:-1])
