"""`Trajectory`: what a monitor sees of one training run, beside the truth that it does not see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from seqsetvae.collapse.diagnosis import Diagnosis
from seqsetvae.collapse.forecast import Forecast
from seqsetvae.collapse.statistics import CollapseStatistics

Question = Literal["life or death", "a part", "unknown", "nothing to encode", "faint"]
"""What a case asks of the detector: whether the run collapsed; which layer or subgroup did; to say that it cannot know; to say that the
data hold nothing; and nothing at all, where the truth is between death and life and is graded only."""


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
    family: str = "linear"
    """Of the model."""
    asks: Question = "life or death"
    part: str = ""
    """The layer or subgroup that collapses, where one is asked for."""
    part_information: float | None = None
    """The truth of it at the end, nats."""
    sudden_from: int | None = None
    """Step from which something is broken that no schedule foretells; None: nothing is."""
    forecast: Forecast | None = None
    """Of the data, beforehand."""
    final: Diagnosis | None = None
    """What the monitor said of the finished model; None where the run was not watched by one."""
    observations: list[Observation] = field(default_factory=list)

    @property
    def active_at_end(self) -> int:
        return self.observations[-1].statistics.active_units
