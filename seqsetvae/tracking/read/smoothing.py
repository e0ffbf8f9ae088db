"""Recorded series without what is no number, their ends, and the running averages that figures and judgements share. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqsetvae.tracking.read.recorded_run import Series

TAIL = 0.1
"""Share of a series that counts as its end, and its beginning."""
LEAST_TAIL = 3
"""Points that an end has at least."""


def finite(series: Series | None) -> Series | None:
    """The points that are numbers; None where there are none."""
    if series is None:
        return None
    there_T = np.abs(series.value_T) < 1e300  # False for NaN too
    if not there_T.any():
        return None
    return Series(series.step_T[there_T], series.time_T[there_T], series.value_T[there_T])


def tail(series: Series) -> float:
    """Median of the end of a series.

    >>> tail(Series.of(range(100), range(100), range(100)))
    94.5
    """
    return float(np.median(series.value_T[-_points(series) :]))


def head(series: Series) -> float:
    """Median of its beginning."""
    return float(np.median(series.value_T[: _points(series)]))


def _points(series: Series) -> int:
    return min(len(series), max(LEAST_TAIL, round(TAIL * len(series))))


def running_median(value_T: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Median of the `width` points around each; fewer at both ends.

    >>> running_median(np.array([1.0, 9.0, 2.0, 3.0, 4.0]), 3).tolist()
    [5.0, 2.0, 3.0, 3.0, 3.5]
    """
    half = width // 2
    padded_T = np.pad(value_T, half, constant_values=np.nan)
    return np.asarray(np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded_T, 2 * half + 1), axis=1))


def running_mean(value_T: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of the `width` points around each; fewer at both ends, and without those that are no number.

    >>> running_mean(np.array([1.0, 2.0, 6.0]), 3).tolist()
    [1.5, 3.0, 4.0]
    """
    there_T = np.isfinite(value_T)
    ones = np.ones(2 * (width // 2) + 1)
    # In "same" mode the kernel must not be the longer one.
    if len(value_T) < len(ones):
        return np.full(len(value_T), np.mean(value_T[there_T]) if there_T.any() else np.nan)
    sums_T = np.convolve(np.where(there_T, value_T, 0.0), ones, "same")
    counts_T = np.convolve(there_T.astype(np.float64), ones, "same")
    return np.where(counts_T > 0.5, sums_T / np.maximum(counts_T, 1.0), np.nan)
