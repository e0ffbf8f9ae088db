"""How ill a patient is at each set: a number to color a map by, no clinical score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.packed import Packed
from seqsetvae.data.units import AS_RECORDED, PHYSIONET_2012
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Points of a variable by range: `points[i]` from `edges[i]` to below `edges[i + 1]`; beyond both ends a value is a mistake."""

    edges: tuple[float, ...]
    points: tuple[int, ...]

    def of(self, value_S: Floats) -> Floats:
        """NaN for what is not recorded or a mistake.

        >>> Points((3, 4, 13, 15.1), (4, 3, 0)).of(np.array([3.0, 15.0, 99.0, np.nan])).tolist()
        [4.0, 0.0, nan, nan]
        """
        place_S = np.searchsorted(self.edges, value_S, side="right")
        table = np.array([np.nan, *self.points, np.nan])
        return table[np.where(np.isnan(value_S), 0, place_S)]


SAPS_1 = {
    "Age": Points((0, 46, 56, 66, 76, 200), (0, 1, 2, 3, 4)),
    "HR": Points((10, 40, 55, 70, 110, 140, 180, 250), (4, 3, 2, 0, 2, 3, 4)),
    "SysABP": Points((20, 55, 80, 150, 190, 300), (4, 2, 0, 2, 4)),
    "NISysABP": Points((20, 55, 80, 150, 190, 300), (4, 2, 0, 2, 4)),
    "Temp": Points((15, 30, 32, 34, 36, 38.5, 39, 41, 45), (4, 3, 2, 1, 0, 2, 3, 4)),
    "RespRate": Points((2, 6, 10, 12, 25, 35, 50, 80), (4, 2, 1, 0, 1, 3, 4)),
    "MechVent": Points((0.5, 1.5), (3,)),
    "BUN": Points((2.8, 9.8, 21, 81.2, 100.8, 154, 280), (1, 0, 1, 2, 3, 4)),
    "HCT": Points((5, 20, 30, 46, 50, 60, 80), (4, 2, 0, 1, 2, 4)),
    "WBC": Points((0.1, 1, 3, 15, 20, 40, 200), (4, 2, 0, 1, 2, 4)),
    "Glucose": Points((9, 28.8, 50.4, 70.2, 252, 500.4, 801, 18000), (4, 3, 2, 0, 1, 3, 4)),
    "K": Points((0.5, 2.5, 3, 3.5, 5.5, 6, 7, 20), (4, 2, 1, 0, 2, 3, 4)),
    "Na": Points((50, 110, 120, 130, 151, 156, 161, 180, 200), (4, 3, 2, 0, 1, 2, 3, 4)),
    "HCO3": Points((2, 5, 10, 20, 30, 40, 100), (4, 2, 1, 0, 1, 4)),
    "GCS": Points((3, 4, 7, 10, 13, 15.1), (4, 3, 2, 1, 0)),
}
"""Le Gall et al. 1984 (Crit Care Med 12:975), in PhysioNet's units, with the ranges of the challenge's own program; without urine output,
which needs a whole day."""
ONE_ITEM = (("SysABP", "NISysABP"), ("RespRate", "MechVent"))
"""Two variables that are one item of the score: the higher points count."""
LEAST_ITEMS = 8
"""Of the score's items that a store must have for their sum to be called severity."""


@dataclass(frozen=True)
class Severity:
    """How severity is read off the stays of a store."""

    variables: tuple[str, ...]
    """Those it is made of; none: all of a set's values."""
    label: str
    """For an axis."""
    single: bool = False
    """It is the value of one variable itself."""

    @classmethod
    def choose(cls, vocabulary: Vocabulary, units: Mapping[str, str], wanted: str | None) -> Severity:
        """What the data allow: points only where the units are those that the points are given in.

        Raises:
            InputError: a wanted variable that the model does not know.
        """
        if wanted is not None:
            if wanted not in vocabulary.names:
                known = ", ".join(vocabulary.names[:8])
                raise InputError(f"--visualize.severity is {wanted!r}, but the model's variables are {known}, ...")
            return cls((wanted,), f"{wanted}, last recorded value ({units.get(wanted, AS_RECORDED)})", single=True)
        found = tuple(name for name in SAPS_1 if name in vocabulary.names and units.get(name) == PHYSIONET_2012[name])
        items = len(found) - sum(one in found and other in found for one, other in ONE_ITEM)
        if items >= LEAST_ITEMS:
            return cls(found, f"SAPS-I points of the last recorded values ({items} of 14 items)")
        return cls((), "mean distance of the set's values from the training medians, scaled")

    def of(self, packed: Packed, vocabulary: Vocabulary) -> Floats:
        """Severity of every set, shape (S,); NaN before anything it is made of was recorded."""
        if not self.variables:
            distance_N = np.abs(vocabulary.scale(packed.variable_N.astype(np.int64), packed.value_N))
            number_N = ~np.isnan(packed.value_N)
            first_S = packed.first_event[:-1]
            count_S = np.add.reduceat(number_N.astype(np.int64), first_S)
            sum_S = np.add.reduceat(np.where(number_N, distance_N, 0.0), first_S)
            return np.where(count_S > 0, sum_S / np.maximum(count_S, 1), np.nan)
        last = {name: last_recorded(packed, vocabulary.index(name)) for name in self.variables}
        if self.single:
            return last[self.variables[0]]
        points = {name: SAPS_1[name].of(value_S) for name, value_S in last.items()}
        for one, other in ONE_ITEM:
            if one in points and other in points:
                points[one] = np.fmax(points[one], points.pop(other))
        points_IS = np.stack(list(points.values()))
        # An item that was not recorded counts as normal, as scores are used in practice.
        return np.where(np.isnan(points_IS).all(0), np.nan, np.nansum(points_IS, axis=0))


def last_recorded(packed: Packed, variable: int) -> Floats:
    """The last recorded value of a variable at every set of its stay, in its unit, shape (S,); NaN before the first."""
    n_sets, set_N = len(packed.minute_S), packed.set_N
    here_N = np.flatnonzero(packed.variable_N == variable)
    # Events lie in order of their set, and a variable is in a set once: one search finds the last event up to each set.
    before_S = np.searchsorted(set_N[here_N], np.arange(n_sets), side="right") - 1
    first_set_S = np.repeat(packed.first_set[:-1], np.diff(packed.first_set))
    found_S = np.full(n_sets, np.nan)
    there_S = before_S >= 0
    there_S[there_S] = set_N[here_N[before_S[there_S]]] >= first_set_S[there_S]
    found_S[there_S] = packed.value_N[here_N[before_S[there_S]]]
    return found_S
