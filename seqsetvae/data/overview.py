"""What prepared data look like: lengths and spans of stays by split, and a table of the variables."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.packed import Packed
from seqsetvae.data.statistics import Statistics

FILE = "variables.csv"
SHARES = (0.05, 0.5, 0.95)
MINUTES_PER_DAY = 1440.0
CELLS = 16_000_000
"""Pairs of a stay and a variable that are looked at together."""


@dataclass
class Lengths:
    """Of the stays of a split, gathered piece by piece."""

    sets_B: list[NDArray[np.int64]] = field(default_factory=list)
    days_B: list[NDArray[np.float64]] = field(default_factory=list)
    sets_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """By their number of events: how many sets."""

    def add(self, packed: Packed) -> None:
        self.sets_B.append(np.diff(packed.first_set).astype(np.int64))
        minutes_B = packed.end_B - packed.minute_S[packed.first_set[:-1]]
        self.days_B.append(minutes_B.astype(np.float64) / MINUTES_PER_DAY)
        found = np.bincount(np.diff(packed.first_event))
        self.sets_of = np.pad(self.sets_of, (0, max(0, len(found) - len(self.sets_of))))
        self.sets_of[: len(found)] += found

    def quantiles(self) -> dict[str, list[float]]:
        """The 5, 50 and 95 percentiles of sets per stay, events per set, and days from a stay's first to its last set."""
        if not self.sets_B:
            return {}
        reached = np.cumsum(self.sets_of) / self.sets_of.sum()
        return {
            "sets_per_stay": np.quantile(np.concatenate(self.sets_B), SHARES).tolist(),
            "events_per_set": [float(np.searchsorted(reached, share)) for share in SHARES],
            "days": np.quantile(np.concatenate(self.days_B), SHARES).tolist(),
        }


def describe_lengths(quantiles: dict[str, list[float]]) -> str:
    """In words.

    >>> describe_lengths({"sets_per_stay": [2, 40, 90], "events_per_set": [1, 3, 8], "days": [0.5, 2.0, 2.0]})
    'sets per stay 40 (2 to 90), events per set 3 (1 to 8), days 2 (0.5 to 2)'
    """
    return ", ".join(f"{name.replace('_', ' ')} {median_and_span(found)}" for name, found in quantiles.items())


def median_and_span(quantiles: list[float]) -> str:
    """Of three quantiles the middle one, and from where to where the others reach.

    >>> median_and_span([2, 40, 90])
    '40 (2 to 90)'
    """
    low, middle, high = quantiles
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def stays_with(packed: Packed, variables: int) -> NDArray[np.int64]:
    """How many stays have each variable."""
    count_V = np.zeros(variables, dtype=np.int64)
    for block in _blocks(packed, CELLS // max(variables, 1)):
        has_BV = np.zeros((block.n_subjects, variables), dtype=bool)
        has_BV[block.subject_N, block.variable_N] = True
        count_V += has_BV.sum(0)
    return count_V


def _blocks(packed: Packed, size: int) -> Iterator[Packed]:
    for first in range(0, packed.n_subjects, max(size, 1)):
        yield packed.rows(first, min(first + max(size, 1), packed.n_subjects))


def write_variables(
    path: Path, names: Sequence[str], statistics: Statistics, stays_V: NDArray[np.int64], stays: int
) -> None:
    """A row per variable: events, those with a number, share of stays without it, and quantiles of its values."""
    columns = ("min_V", "low_V", "median_V", "iqr_V", "high_V", "max_V")
    heading = ("min", "percentile_0.1", "median", "interquartile_range", "percentile_99.9", "max")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["variable", "events", "with_number", "missing_in_stays", *heading])
        for row, name in enumerate(names):
            values = [f"{getattr(statistics, column)[row]:.5g}" for column in columns]
            counts = int(statistics.events_V[row]), int(statistics.count_V[row])
            shown = values if counts[1] else [""] * len(values)
            writer.writerow([name, *counts, f"{1.0 - stays_V[row] / stays:.4f}", *shown])
