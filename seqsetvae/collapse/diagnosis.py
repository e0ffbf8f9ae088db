"""`Diagnosis(level, reasons, evidence)`: what one check came to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

RELEASE = 1.5
"""Hysteresis: an indicator that is out of range is back in range only above this multiple of its threshold."""

NOTHING_TO_ENCODE = "nothing to encode"
"""A finding of its own: latents carry nothing, since there is nothing in the data that would hold for other data."""


class Level(IntEnum):
    """How bad it is. Unknown is better than yellow and worse than green: nothing looks wrong, and nobody asked the decoder."""

    UNKNOWN = -1
    GREEN = 0
    YELLOW = 1
    ORANGE = 2
    RED = 3

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Indicator:
    """A figure beside its threshold."""

    name: str
    label: str
    value: float
    threshold: float
    fires_below: bool = True

    @property
    def out_of_range(self) -> bool:
        return self.value < self.threshold if self.fires_below else self.value > self.threshold

    def released(self) -> Indicator:
        """The stricter threshold that an indicator has to pass to come back into range."""
        return replace(self, threshold=self.threshold * RELEASE) if self.fires_below else self

    def __str__(self) -> str:
        """As the guides' log has it.

        >>> str(Indicator("kl", "KL divergence", 0.008, 0.01))
        'KL divergence too low: 0.008000 < 0.01'
        """
        way, sign = ("low", "<") if self.fires_below else ("high", ">")
        return f"{self.label} too {way}: {self.value:.6f} {sign} {self.threshold:g}"


@dataclass(frozen=True)
class Diagnosis:
    """What one check came to. `reasons` are sentences, `indicators` the evidence."""

    step: int
    level: Level
    indicators: tuple[Indicator, ...]
    reasons: tuple[str, ...]
    advice: str
    held_back: str = ""
    """Why this is not (yet) red although it looks collapsed; empty otherwise."""
    streak: int = 0
    """Consecutive checks that look collapsed, this one included."""
    beta: float | None = None
    detector: str = "primary"
    finding: str = ""
    """What it is if not a collapse: `NOTHING_TO_ENCODE`; else empty."""
    probability: float | None = None
    """That the run ends collapsed (:mod:`seqsetvae.collapse.probability`); None where nobody can tell."""

    def __repr__(self) -> str:
        fired = ", ".join(one.name for one in self.indicators if one.out_of_range)
        return f"<Diagnosis step {self.step}: {self.level.word}, out of range: {fired or 'nothing'}>"

    @property
    def headline(self) -> str:
        if self.finding:
            return f"Step {self.step}: {self.finding}"
        if self.level == Level.RED:
            return f"posterior collapse detected! Step: {self.step}"
        if self.level == Level.UNKNOWN:
            return f"Step {self.step}: not known whether the latents are in use"
        if self.level == Level.GREEN:
            # In the grace period one figure may be out of range without being a warning.
            return f"Step {self.step}: {'nothing to warn of yet' if self.reasons else 'back in range'}"
        return f"Step {self.step}: posterior collapse warning!"
