"""`BetaOutlook`: what a detector is told before training begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqsetvae.collapse.forecast import Forecast


@dataclass(frozen=True)
class BetaOutlook:
    """What is known beforehand about the weight of the KL term."""

    total_steps: int
    warmup_steps: int = 0
    beta_at: Callable[[int], float] | None = None
    """Planned beta at an optimizer step; None where nobody knows (a controller, or somebody else's model)."""
    forecast: Forecast | None = None
    """What was told of the data before training: advice then tells a beta that is too high from nothing to encode."""

    @property
    def nothing_to_encode(self) -> bool:
        """Whether the data look like noise, as far as anybody has looked."""
        return self.forecast is not None and self.forecast.nothing_to_encode

    def relief_ahead(self, step: int, beta: float | None) -> bool:
        """Whether beta will fall to less than half of what it is now, as in all but the last cycle of a cyclical schedule.

        Args:
            step: optimizer steps taken; the next one has `beta_at(step)`.
            beta: of the step just taken.
        """
        if self.beta_at is None or beta is None or step >= self.total_steps:
            return False
        ahead = range(step, self.total_steps, max(1, (self.total_steps - step) // 200))
        return min(map(self.beta_at, ahead)) < 0.5 * beta
