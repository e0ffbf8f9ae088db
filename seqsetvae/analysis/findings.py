"""`Finding`: something that is wrong with a run, with its evidence. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsetvae.collapse.diagnosis import Level


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know of a run."""

    name: str
    level: Level
    """Yellow: worth a look. Orange: costs quality. Red: the run is of no use as it is."""
    evidence: tuple[str, ...]
    """Sentences with values and steps."""
    advice: tuple[str, ...]
    """What to try next, the most promising first."""

    def __str__(self) -> str:
        lines = [f"{self.name} ({self.level.word})", *(f"  - {one}" for one in self.evidence)]
        return "\n".join([*lines, *(f"  > {one}" for one in self.advice)])


def steps_in_words(step_T: NDArray[np.int64], most: int = 5) -> str:
    """Steps, the first few by number.

    >>> steps_in_words(np.array([1000, 2000, 3000]), most=2)
    'steps 1,000, 2,000 and 1 more'
    """
    named = ", ".join(f"{step:,}" for step in step_T[:most].tolist())
    more = f" and {len(step_T) - most} more" if len(step_T) > most else ""
    return f"step{'s' if len(step_T) > 1 else ''} {named}{more}"
