"""Exact statistics per variable over any number of shards, in memory that depends on the number of variables only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Variable id and raw value of many events."""

_DIGITS = ((21, 11), (10, 11), (0, 10))
"""Shift and width of the three digits that a 32-bit key is read in."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of the V variables over all their events, in the unit of the source. std is the population's (divided by count)."""

    count_V: NDArray[np.int64]
    mean_V: NDArray[np.float64]
    std_V: NDArray[np.float64]
    min_V: NDArray[np.float64]
    max_V: NDArray[np.float64]
    median_V: NDArray[np.float64]
    iqr_V: NDArray[np.float64]
    """Interquartile range, between linearly interpolated quartiles as numpy computes them."""
    low_V: NDArray[np.float64]
    """0.1 percentile: hardly a value lies below. NaN where it is not known."""
    high_V: NDArray[np.float64]
    """99.9 percentile."""
    events_V: NDArray[np.int64]
    """All events, those without a number included: `count_V` is of the numbers, as everything else is."""

    @classmethod
    def empty(cls, n_variables: int) -> Statistics:
        zeros, counts, unknown = (
            np.zeros(n_variables),
            np.zeros(n_variables, dtype=np.int64),
            np.full(n_variables, np.nan),
        )
        return cls(
            counts,
            zeros,
            zeros.copy(),
            zeros.copy(),
            zeros.copy(),
            zeros.copy(),
            zeros.copy(),
            unknown,
            unknown,
            counts,
        )

    @property
    def without_number_V(self) -> NDArray[np.int64]:
        """Events that carry no number."""
        return self.events_V - self.count_V


def statistics(shards: Callable[[], Iterable[Values]], n_variables: int) -> Statistics:
    """Statistics of every variable 0..n_variables-1. `shards()` starts a new pass over the data; there are some dozen at most.

    Values that are NaN are events without a number. Of a variable without any number all figures are 0, its percentiles NaN.

    >>> one = (np.array([0, 0, 0, 0, 1], np.int32), np.array([1, 2, 3, 10, 5], np.float32))
    >>> s = statistics(lambda: [one], 2)
    >>> s.median_V.tolist(), s.iqr_V.tolist(), s.std_V.round(3).tolist()
    ([2.5, 5.0], [3.0, 0.0], [3.536, 0.0])
    """

    def numbers() -> Iterator[Values]:
        return map(_numbers_of, shards())

    count_V, events_V = np.zeros(n_variables, dtype=np.int64), np.zeros(n_variables, dtype=np.int64)
    for variable_N, _ in shards():
        events_V += np.bincount(variable_N, minlength=n_variables)
    sum_V, square_V = np.zeros(n_variables), np.zeros(n_variables)
    min_V, max_V = np.full(n_variables, np.inf), np.full(n_variables, -np.inf)
    for variable_N, value_N in numbers():
        count_V += np.bincount(variable_N, minlength=n_variables)
        sum_V += np.bincount(variable_N, value_N, minlength=n_variables)
        np.minimum.at(min_V, variable_N, value_N)
        np.maximum.at(max_V, variable_N, value_N)
    has_number_V = count_V > 0
    min_V, max_V = np.where(has_number_V, min_V, 0.0), np.where(has_number_V, max_V, 0.0)
    divisor_V = np.maximum(count_V, 1)
    mean_V = sum_V / divisor_V
    for variable_N, value_N in numbers():
        square_V += np.bincount(variable_N, (value_N - mean_V[variable_N]) ** 2, minlength=n_variables)
    low_V, q1_V, median_V, q3_V, high_V = quantiles(numbers, count_V, (0.001, 0.25, 0.5, 0.75, 0.999)).T
    low_V, high_V = (np.where(has_number_V, q_V, np.nan) for q_V in (low_V, high_V))
    std_V = np.sqrt(square_V / divisor_V)
    return Statistics(count_V, mean_V, std_V, min_V, max_V, median_V, q3_V - q1_V, low_V, high_V, events_V)


def _numbers_of(values: Values) -> Values:
    variable_N, value_N = values
    number_N = ~np.isnan(value_N)
    return values if number_N.all() else (variable_N[number_N], value_N[number_N])


def quantiles(
    shards: Callable[[], Iterable[Values]], count_V: NDArray[np.int64], shares: tuple[float, ...]
) -> NDArray[np.float64]:
    """Linearly interpolated quantiles (V, len(shares)), as `numpy.quantile` gives them, in three passes.

    >>> one = (np.zeros(4, np.int32), np.array([1, 2, 3, 10], np.float32))
    >>> quantiles(lambda: [one], np.array([4]), (0.25, 0.5))
    array([[1.75, 2.5 ]])
    """
    position_VQ = np.outer(np.maximum(count_V - 1, 0), np.asarray(shares))
    below_VQ = np.floor(position_VQ).astype(np.int64)
    above_VQ = np.ceil(position_VQ).astype(np.int64)
    rank_VR = np.stack([below_VQ, above_VQ], axis=2).reshape(len(count_V), -1)
    pair_VQ2 = np.zeros((*below_VQ.shape, 2))
    # Only what has values is histogrammed: most codes of a hospital never carry a number.
    numeric_V = np.flatnonzero(count_V > 0)
    row_of_V = np.cumsum(count_V > 0, dtype=np.int32) - np.int32(1)
    found = order_statistics(lambda: ((row_of_V[v_N], y_N) for v_N, y_N in shards()), rank_VR[numeric_V])
    pair_VQ2[numeric_V] = found.reshape(len(numeric_V), len(shares), 2)
    return pair_VQ2[..., 0] + (position_VQ - below_VQ) * (pair_VQ2[..., 1] - pair_VQ2[..., 0])


def order_statistics(shards: Callable[[], Iterable[Values]], rank_VR: NDArray[np.int64]) -> NDArray[np.float32]:
    """The value of each rank (0: the smallest) of each variable, exactly: radix selection over three digits of the float's bits.

    Each pass histograms the next digit of the values that share the digits found so far, and steps into the bin that holds the rank.
    """
    n_variables, n_ranks = rank_VR.shape
    prefix_VR = np.zeros(rank_VR.shape, dtype=np.uint32)
    left_VR = rank_VR.copy()
    for shift, width in _DIGITS:
        parent_VR = prefix_VR.copy()
        for r in range(n_ranks):
            # Neighbouring ranks mostly share the digits found so far; one pass then serves both.
            if r == 0 or (parent_VR[:, r] != parent_VR[:, r - 1]).any():
                up_to = np.cumsum(_histogram(shards(), parent_VR[:, r], shift, width), axis=1)
            digit_V = (up_to <= left_VR[:, r, None]).sum(axis=1)
            left_VR[:, r] -= np.where(digit_V > 0, up_to[np.arange(n_variables), digit_V - 1], 0)
            prefix_VR[:, r] = (parent_VR[:, r] << np.uint32(width)) | digit_V.astype(np.uint32)
    return _unsortable(prefix_VR)


def _histogram(passing: Iterable[Values], prefix_V: NDArray[np.uint32], shift: int, width: int) -> NDArray[np.int64]:
    """(V, 2**width) counts of the digit at `shift`, among the values whose digits above it are the variable's prefix."""
    bins = 1 << width
    counts = np.zeros(len(prefix_V) * bins, dtype=np.int64)
    for variable_N, value_N in passing:
        key_N = _sortable(value_N)
        same = np.flatnonzero(_above(key_N, shift + width) == prefix_V[variable_N])
        digit = (key_N[same] >> np.uint32(shift)) & np.uint32(bins - 1)
        counts += np.bincount(variable_N[same].astype(np.int64) * bins + digit, minlength=len(counts))
    return counts.reshape(-1, bins)


def _above(key: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    return key >> np.uint32(bits) if bits < 32 else np.zeros_like(key)


def _sortable(value: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Unsigned integers in the order of the floats: flip all bits of negative numbers, the sign bit of the others."""
    bits = (value + np.float32(0.0)).view(np.uint32)
    return np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))


def _unsortable(key: NDArray[np.uint32]) -> NDArray[np.float32]:
    bits = np.where(key >> np.uint32(31), key ^ np.uint32(1 << 31), ~key)
    return bits.astype(np.uint32).view(np.float32)
