"""From the output of a weighted loss back to probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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
    # Platt's targets: never quite 0 or 1, so that perfectly separated stays do not drive the slope to infinity.
    positives = float(label_B.sum())
    high, low = (positives + 1) / (positives + 2), 1 / (len(label_B) - positives + 2)
    target_B = torch.where(label_B > 0, high, low).double()
    return fitted(logit_B, lambda scaled_B: F.binary_cross_entropy_with_logits(scaled_B, target_B))


def fitted(output: Tensor, loss_of: Callable[[Tensor], Tensor], offsets: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """The slope, above 0, and the offset (or several, by their shape) of an output with which a loss is least."""
    output = output.double()
    log_slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(offsets, dtype=torch.float64, requires_grad=True)
    minimize([log_slope, offset], lambda: loss_of(log_slope.exp() * output + offset))
    return log_slope.detach().exp(), offset.detach()


def minimize(
    parameters: Iterable[Tensor],
    loss_of: Callable[[], Tensor],
    max_iter: int = 100,
    tolerance_grad: float = 1e-7,
    tolerance_change: float = 1e-9,
) -> None:
    """Change some parameters until a loss of them is least, by L-BFGS over all stays at once."""
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=max_iter,
        tolerance_grad=tolerance_grad,
        tolerance_change=tolerance_change,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call,unused-ignore]
