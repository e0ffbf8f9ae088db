"""From the logit of a weighted loss back to a risk."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def recalibration(logit_B: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
    """Slope (above 0, so that no ranking changes) and offset of the logit that fit some labelled stays best (Platt 1999).

    >>> label_B = torch.tensor([0.0, 1.0]).repeat(500)
    >>> slope, offset = recalibration(4.0 * label_B.repeat_interleave(2)[:1000] + 3.0, label_B)
    >>> round(float(torch.sigmoid(slope * 5.0 + offset)), 2)
    0.5
    """
    logit_B = logit_B.double()
    # Platt's targets: never quite 0 or 1, so that perfectly separated stays do not drive the slope to infinity.
    positives = float(label_B.sum())
    high, low = (positives + 1) / (positives + 2), 1 / (len(label_B) - positives + 2)
    target_B = torch.where(label_B > 0, high, low).double()
    log_slope, offset = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.LBFGS([log_slope, offset], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(log_slope.exp() * logit_B + offset, target_B)
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call,unused-ignore]
    return log_slope.detach().exp(), offset.detach()
