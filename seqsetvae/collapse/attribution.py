"""What was lost, and where: latent dimensions that have gone silent since a run was at its best, and parts that collapsed. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from seqsetvae.collapse.statistics import CollapseStatistics

SPOKE = 0.05
"""KL of a dimension, nats per set, from which it said something."""
SILENT = 0.01
"""And below which it says nothing (Lucas et al. 2019)."""
LISTED = 8
"""Dimensions named; of the rest only the number."""


@dataclass(frozen=True)
class Lost:
    """Between two updates of a run."""

    since: int
    """Step of the update with the greatest mutual information."""
    dimensions: tuple[tuple[int, float, float], ...]
    """Number of the dimension, KL then and now in nats per set; the greatest loss first."""
    still: int
    """Dimensions that still say something."""
    parts: tuple[str, ...]
    """Layers and subgroups that collapsed."""

    def __str__(self) -> str:
        """For people.

        >>> str(Lost(400, ((3, 0.82, 0.0), (7, 0.31, 0.002)), 0, ("layer z2",)))
        'layer z2; since step 400 dimensions 3 (KL 0.82 -> 0.00 nats), 7 (0.31 -> 0.00); 0 still speak'
        """
        told = [f"{place} ({then:.2f} -> {now:.2f})" for place, then, now in self.dimensions[:LISTED]]
        if told:
            place, then, now = self.dimensions[0]
            told[0] = f"{place} (KL {then:.2f} -> {now:.2f} nats)"
        more = len(self.dimensions) - LISTED
        said = f"since step {self.since} dimension{'s' if len(told) > 1 else ''} {', '.join(told)}" if told else ""
        said += f" and {more} more" if more > 0 else ""
        return "; ".join([*self.parts, *([f"{said}; {self.still} still speak"] if said else [])]) or "nothing"


def comparable(updates: Iterable[CollapseStatistics]) -> list[CollapseStatistics]:
    """Those that know the KL of each dimension, as many of them as the last one."""
    known = [
        one
        for one in updates
        if one.finite and len(one.kl_Z) and np.isfinite(one.kl_Z).all() and math.isfinite(one.mutual_information)
    ]
    return [one for one in known if len(one.kl_Z) == len(known[-1].kl_Z)]


def lost(updates: Iterable[CollapseStatistics], grace_steps: int = 0) -> Lost | None:
    """What the last update has no more that the best one had; None where there is none to compare it with.

    Args:
        updates: oldest first.
        grace_steps: until then an encoder is as chance has made it, and its KL says nothing, unless there are no later updates.
    """
    measured = comparable(updates)
    trained = [one for one in measured if one.step >= grace_steps] or measured
    if not trained:
        return None
    best, now = max(trained, key=lambda one: one.mutual_information), measured[-1]
    silent = [place for place in range(len(now.kl_Z)) if best.kl_Z[place] >= SPOKE and now.kl_Z[place] < SILENT]
    silent.sort(key=lambda place: -float(best.kl_Z[place]))
    return Lost(
        best.step,
        tuple((place, float(best.kl_Z[place]), float(now.kl_Z[place])) for place in silent),
        int((now.kl_Z >= SPOKE).sum()),
        now.collapsed_parts or (),
    )
