"""`Trajectory`: what a monitor sees of one training run, beside the truth that it does not see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from seqsetvae.collapse.statistics import CollapseStatistics


@dataclass(frozen=True)
class Observation:
    """One check."""

    statistics: CollapseStatistics
    information: float
    """The truth, nats: what gets from x through the latents to the decoder, the lesser of what goes in and what is made use of."""

    @property
    def step(self) -> int:
        return self.statistics.step


@dataclass(frozen=True)
class Trajectory:
    """One run."""

    case: str
    seed: int
    total_steps: int
    beta_at: Callable[[int], float]
    collapses: bool
    """Whether the run was built to end collapsed."""
    warmup_steps: int = 0
    expected_active: int | None = None
    """Active units at the end by closed form; None where there is none."""
    critical: bool = False
    """An eigenvalue is so close to beta * s2 that the count may be off by one."""
    must_be_silent: bool = False
    """Not even orange is right, from the first check to the last."""
    observations: list[Observation] = field(default_factory=list)

    @property
    def active_at_end(self) -> int:
        return self.observations[-1].statistics.active_units
