"""Values far from what the train split has shown: another unit, another hospital, a typing error."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from seqsetvae.data.packed import Packed
from seqsetvae.data.statistics import Values
from seqsetvae.data.vocabulary import Vocabulary

FAR_SHARE = 0.05
"""Of the values of a variable outside train's 0.1 and 99.9 percentiles, where 0.002 would be expected."""
FEWEST_FAR = 5
"""Values outside, below which a share says nothing."""
FEWEST_IN_TRAIN = 30
"""Values in train, below which its percentiles say nothing."""


def far_from_train(split: Iterable[Values], vocabulary: Vocabulary) -> dict[str, float]:
    """Variables of a split with many values outside the percentiles of train, and the share of those."""
    size = len(vocabulary)
    count_V, outside_V = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    for variable_N, value_N in split:
        count_V += np.bincount(variable_N[~np.isnan(value_N)], minlength=size)
        outside_V += np.bincount(variable_N[vocabulary.outside(variable_N.astype(np.int64), value_N)], minlength=size)
    share_V = outside_V / np.maximum(count_V, 1)
    of_train = vocabulary.statistics
    # A model keeps the percentiles that say something, and no counts.
    trusted_V = (of_train.count_V >= FEWEST_IN_TRAIN) | (of_train.events_V == 0)
    far_V = (share_V >= FAR_SHARE) & (outside_V >= FEWEST_FAR) & trusted_V
    return {vocabulary.names[row]: float(share_V[row]) for row in np.flatnonzero(far_V).tolist()}


def unusual_values(packed: Packed, vocabulary: Vocabulary) -> list[str]:
    """For each subject: variables of which at least half of its values lie outside train's percentiles, in words; else ''.

    A wrong unit moves all values of a variable, a wild value only one of many.
    """
    size, statistics = len(vocabulary), vocabulary.statistics
    cell_N = packed.subject_N * np.int64(size) + packed.variable_N
    number_N = ~np.isnan(packed.value_N)
    outside_N = vocabulary.outside(packed.variable_N.astype(np.int64), packed.value_N)
    cells, position_N = np.unique(cell_N[number_N], return_inverse=True)
    count = np.bincount(position_N, minlength=len(cells))
    outside = np.bincount(position_N[outside_N[number_N]], minlength=len(cells))
    texts: dict[int, list[str]] = {}
    for cell in np.flatnonzero(2 * outside >= np.maximum(count, 1)).tolist():
        subject, variable = divmod(int(cells[cell]), size)
        first = packed.value_N[(cell_N == cells[cell]) & outside_N][0]
        low, high = statistics.low_V[variable], statistics.high_V[variable]
        texts.setdefault(subject, []).append(
            f"{vocabulary.names[variable]} {first:g} lies outside {low:g} to {high:g}, which 99.8 % of the training values do not: "
            "check its unit"
        )
    return ["; ".join(texts.get(subject, ())) for subject in range(packed.n_subjects)]
