"""The variables of a store: names, statistics of the train split, and the one place where values are scaled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqsetvae.data.arrow import view
from seqsetvae.data.statistics import Statistics

Scaling = Literal["robust", "stats"]
STATISTICS = tuple(f.name for f in fields(Statistics))
SET_WINDOW = b"set_window"
SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
"""What a spread lies between: with these every value that float32 holds is finite after scaling."""
IQR_OF_NORMAL = 1.349
"""Interquartile range of a normal distribution with standard deviation 1."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """V variables in alphabetical order. A variable's row is its id everywhere else."""

    names: tuple[str, ...]
    statistics: Statistics
    """Of the raw values in the train split alone."""
    center_V: NDArray[np.float64]
    """Raw value that is scaled to 0: the median (or the mean of stats.csv)."""
    spread_V: NDArray[np.float64]
    """Raw distance that counts as one: the robust standard deviation (or the std of stats.csv). Never 0."""
    embedding: NDArray[np.float32] | None = None
    """(V, E) frozen embeddings of the variables, where the source brought some."""
    bare_V: NDArray[np.bool_] | None = None
    """Whether the train split has events of the variable that carry no number. None: of no variable."""
    set_window: float = 1.0
    """Minutes of the clock whose events are one set."""

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self.names)} variables>"

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Id of a variable. Raises KeyError for a name that the train split did not contain."""
        return self._row_of[name]

    def scale(self, variable: NDArray[np.int64], value: NDArray[np.float32]) -> NDArray[np.float32]:
        """arcsinh((value - center) / spread), elementwise; `variable` gives the row of each value.

        Linear near the median and logarithmic in the tails, so that a pH of 733 (the point was lost) becomes about 10 instead of
        10000. Nothing is clipped, order is kept, and :meth:`unscale` undoes it.

        >>> ph = Vocabulary(("pH",), Statistics.empty(1), np.array([7.38]), np.array([0.07]))
        >>> scaled = ph.scale(np.array([0, 0, 0]), np.array([7.38, 7.45, 733.0], np.float32))
        >>> scaled.round(2).tolist()
        [0.0, 0.8799999952316284, 9.9399995803833]
        >>> ph.unscale(np.array([0, 0, 0]), scaled).round(2).tolist()
        [7.38, 7.45, 733.0]
        """
        center, inverse_spread = self._float32
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = value - center[variable]
            scaled *= inverse_spread[variable]
        # The quotient of a value and a spread that float32 holds need not fit float32; its arcsinh does.
        beyond = ~np.isfinite(scaled)
        scaled = np.arcsinh(scaled, out=scaled)
        if beyond.any():
            distance = value[beyond].astype(np.float64) - self.center_V[variable[beyond]]
            scaled[beyond] = np.arcsinh(distance / self.spread_V[variable[beyond]])
        return scaled

    def unscale(self, variable: NDArray[np.int64], scaled: NDArray[np.floating]) -> NDArray[np.float64]:
        """The raw value of a scaled one, in the unit of the source: the inverse of :meth:`scale`."""
        return np.sinh(np.asarray(scaled, dtype=np.float64)) * self.spread_V[variable] + self.center_V[variable]

    def to_table(self) -> pa.Table:
        """One row per variable."""
        columns: dict[str, object] = {"name": list(self.names)}
        columns |= {name.removesuffix("_V"): getattr(self.statistics, name) for name in STATISTICS}
        columns |= {"center": self.center_V, "spread": self.spread_V}
        if self.bare_V is not None:
            columns["bare"] = self.bare_V
        if self.embedding is not None:
            flat = pa.array(self.embedding.reshape(-1))
            columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, self.embedding.shape[1])
        return pa.table(columns).replace_schema_metadata({SET_WINDOW: repr(self.set_window)})

    @classmethod
    def from_table(cls, table: pa.Table) -> Vocabulary:
        """The inverse of :meth:`to_table`. A table of format 1 has no percentiles, and every event of it a number."""
        column = {name: table[name].combine_chunks() for name in table.column_names}
        column |= {"events": column["count"]} if "events" not in column else {}
        known = {
            name: view(column[name.removesuffix("_V")]) for name in STATISTICS if name.removesuffix("_V") in column
        }
        statistics = replace(Statistics.empty(len(table)), **known)
        embedding = None
        if "embedding" in column:
            embedding = view(column["embedding"].values).reshape(len(table), -1)
        names = tuple(column["name"].to_pylist())
        bare_V = np.array(column["bare"].to_pylist(), dtype=bool) if "bare" in column else None
        set_window = float((table.schema.metadata or {}).get(SET_WINDOW, b"1.0"))
        return cls(names, statistics, view(column["center"]), view(column["spread"]), embedding, bare_V, set_window)

    def said(self, variable: NDArray[np.int64], scaled: NDArray[np.floating]) -> NDArray[np.float64]:
        """What a model says, in the variables' units, which knows of no edge at 0.

        :meth:`unscale`, and 0 for what is less, where not one value in a thousand of train was below 0.

        >>> low = replace(Statistics.empty(2), low_V=np.array([0.0, -20.0]))
        >>> two = Vocabulary(("rate", "base excess"), low, np.array([5.0, 0.0]), np.ones(2))
        >>> two.said(np.arange(2), np.array([-3.0, -3.0])).round(2).tolist()
        [0.0, -10.02]
        """
        value = self.unscale(variable, scaled)
        return np.where(self.statistics.low_V[variable] >= 0.0, np.maximum(value, 0.0), value)

    def outside(self, variable: NDArray[np.int64], value: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether each value lies outside the 0.1 and 99.9 percentiles of its variable in train; False where these are unknown."""
        low_N, high_N = self.statistics.low_V[variable], self.statistics.high_V[variable]
        return (value < low_N) | (value > high_N)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def _float32(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.center_V.astype(np.float32), (1.0 / self.spread_V).astype(np.float32)


def robust_spread(statistics: Statistics) -> NDArray[np.float64]:
    """IQR / 1.349; where that is 0 the standard deviation; where that is 0 too (a constant variable) 1.

    >>> s = Statistics.empty(3)
    >>> s.iqr_V[:], s.std_V[:] = [2.698, 0.0, 0.0], [9.0, 0.5, 0.0]
    >>> robust_spread(s).tolist()
    [2.0, 0.5, 1.0]
    """
    spread_V = statistics.iqr_V / IQR_OF_NORMAL
    spread_V = np.where(spread_V > SMALLEST, spread_V, statistics.std_V)
    return np.where(spread_V > SMALLEST, spread_V, 1.0)


def safe_spread(std_V: NDArray[np.float64], names: Iterable[str]) -> tuple[NDArray[np.float64], list[str]]:
    """Standard deviations with 1 in place of 0 and of what float32 cannot hold, and a warning for each replaced one.

    >>> safe_spread(np.array([2.0, 0.0]), ["HR", "MechVent"])
    (array([2., 1.]), ["stats.csv gives 'MechVent' a standard deviation of 0; 1 is used."])
    """
    usable = (std_V > SMALLEST) & (std_V <= LARGEST)
    warnings = [
        f"stats.csv gives {name!r} a standard deviation of {std:g}; 1 is used."
        for name, std, ok in zip(names, std_V, usable, strict=True)
        if not ok
    ]
    return np.where(usable, std_V, 1.0), warnings
