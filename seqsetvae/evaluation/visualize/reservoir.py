"""A random sample of bounded size from any number of batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Reservoir:
    """At most `most` rows of each group, every row of a group with the same chance, however the rows were cut into batches.

    Each row draws a key, and the smallest keys of each group stay (bottom-k sampling: Efraimidis & Spirakis 2006 with equal weights).

    >>> kept = Reservoir(most=2, groups=2, seed=0)
    >>> for start in (0, 50):
    ...     kept.add(np.zeros(50, dtype=int), np.arange(start, start + 50.0)[:, None])
    >>> kept.rows(0).shape, kept.rows(1).shape, kept.seen.tolist()
    ((2, 1), (0, 1), [100, 0])
    """

    def __init__(self, most: int, groups: int, seed: int) -> None:
        self.most = most
        self.seen = np.zeros(groups, dtype=np.int64)
        """Rows of each group so far."""
        self._random = np.random.default_rng(seed)
        self._group_N = np.zeros(0, dtype=np.int64)
        self._key_N = np.zeros(0)
        self._rows: list[NDArray[np.floating]] = []

    def add(self, group_N: NDArray[np.int64], row_NF: NDArray[np.floating]) -> None:
        """Take in a batch of rows, F numbers each."""
        self.seen += np.bincount(group_N, minlength=len(self.seen))
        group_N = np.concatenate([self._group_N, group_N])
        key_N = np.concatenate([self._key_N, self._random.random(len(row_NF))])
        order_N = np.lexsort((key_N, group_N))
        group_N = group_N[order_N]
        first_of_group_N = np.searchsorted(group_N, group_N)
        stay_N = np.arange(len(group_N)) - first_of_group_N < self.most
        kept_N = order_N[stay_N]
        self._group_N, self._key_N = group_N[stay_N], key_N[kept_N]
        self._rows = [np.concatenate([*self._rows, row_NF])[kept_N]]

    def rows(self, group: int) -> NDArray[np.floating]:
        """What was kept of a group."""
        start, stop = np.searchsorted(self._group_N, (group, group + 1))
        return self._rows[0][start:stop]
