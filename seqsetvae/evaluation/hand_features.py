"""Hand-made features of a stay: last, mean, least and greatest value and number of measurements of each variable."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.packed import Packed
from seqsetvae.data.vocabulary import Vocabulary

KINDS = ("last", "mean", "min", "max", "count")
MOST_VARIABLES = 1000
"""Of which there are features: those of thousands of codes, nearly all of them rare, would fill the memory and slow the baselines down."""


def most_frequent(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """The variables that have features, ascending: all, or the most frequent ones of the train split."""
    events_V = vocabulary.statistics.events_V
    return np.sort(np.argsort(-events_V, kind="stable")[:MOST_VARIABLES])


def features_of(packed: Packed, vocabulary: Vocabulary) -> NDArray[np.float64]:
    """Hand-made features of the most frequent variables."""
    chosen_V = most_frequent(vocabulary)
    place_V = np.full(len(vocabulary), -1, dtype=np.int64)
    place_V[chosen_V] = np.arange(len(chosen_V))
    return hand_features(packed, len(chosen_V), place_V)


def hand_features(packed: Packed, variables: int, place_V: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """(B, 5V): the kinds above, each for all variables, of raw values. NaN where a variable was not measured; counts are 0 there.

    Events without a number are counted, and otherwise as if they were not there. `place_V` gives the variables other numbers, below
    `variables`; those with -1 are left out.

    >>> packed = Packed(
    ...     np.array(["a"], object), np.array([1.0], np.float32), np.array([0, 2], np.int32), np.array([0, 2, 3], np.int32),
    ...     np.array([0.0, 60.0], np.float32), np.array([0, 1, 0], np.int32), np.array([80.0, 37.0, 90.0], np.float32),
    ... )
    >>> hand_features(packed, variables=2).reshape(5, 2).tolist()
    [[90.0, 37.0], [85.0, 37.0], [80.0, 37.0], [90.0, 37.0], [2.0, 1.0]]
    """
    n_subjects = packed.n_subjects
    variable_N = packed.variable_N if place_V is None else place_V[packed.variable_N]
    cell_N, value_N = packed.subject_N * variables + variable_N, packed.value_N.astype(np.float64)
    if (variable_N < 0).any():
        cell_N, value_N = cell_N[variable_N >= 0], value_N[variable_N >= 0]
    cells = n_subjects * variables
    count = np.bincount(cell_N, minlength=cells).astype(np.float64)
    number_N = ~np.isnan(value_N)
    cell_N, value_N = cell_N[number_N], value_N[number_N]
    values = np.bincount(cell_N, minlength=cells)
    measured = values > 0
    last, least, greatest = np.full(cells, np.nan), np.full(cells, np.inf), np.full(cells, -np.inf)
    last[cell_N] = value_N  # events ascend in time, and of several assignments numpy keeps the last
    np.minimum.at(least, cell_N, value_N)
    np.maximum.at(greatest, cell_N, value_N)
    mean = np.bincount(cell_N, value_N, minlength=cells) / np.maximum(values, 1)
    columns = [last, *(np.where(measured, x, np.nan) for x in (mean, least, greatest)), count]
    return np.concatenate([x.reshape(n_subjects, variables) for x in columns], axis=1)
