"""Which subjects make a batch: of a fixed number, or of like length up to a budget of events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from seqsetvae.errors import InputError

BUCKET_GROWTH = 1.09
"""Longest over shortest stay of a length bucket."""


class BatchSpec(NamedTuple):
    """The subjects of one batch."""

    shard: int
    rows: NDArray[np.int64]
    """Rows within the shard."""


class EventBatchSampler(Sampler[BatchSpec]):
    """Deals the subjects of a split out to batches, every subject once per epoch; a batch comes from one shard.

    The order depends on (seed, epoch) alone. The number of batches is the same in every epoch and on every rank: where it does not
    divide by `world_size`, the first batches of the epoch are dealt out once more.

    Args:
        lengths: For each shard, the events of each subject (after the cut at `max_sequence_length`).
        batch_size: Subjects per batch.
        max_events_per_batch: Replaces `batch_size`: subjects of like length are put together, up to this many events.
        shuffle: Permute subjects within, and batches across shards. Without it rows (or lengths) ascend.
        seed: Of the permutations.
        rank: Number of this process.
        world_size: Processes that share the batches.

    Raises InputError if one stay alone is longer than the budget.

    >>> sampler = EventBatchSampler([np.array([5, 9, 5, 1])], batch_size=3, shuffle=False)
    >>> [spec.rows.tolist() for spec in sampler]
    [[0, 1, 2], [3]]
    >>> sampler = EventBatchSampler([np.array([5, 9, 5, 1])], max_events_per_batch=11, shuffle=False)
    >>> [spec.rows.tolist() for spec in sampler]
    [[3, 0, 2], [1]]
    """

    def __init__(
        self,
        lengths: Sequence[NDArray[np.int64]],
        *,
        batch_size: int = 8,
        max_events_per_batch: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start = 0
        """Batches of this rank that the next iteration skips."""
        self._groups: list[list[NDArray[np.int64]]] = []
        """For each shard: rows that may be exchanged for one another."""
        cuts: list[tuple[int, int, int]] = []
        for shard, length_B in enumerate(lengths):
            if max_events_per_batch is None:
                self._groups.append([np.arange(len(length_B))])
                edges = [*range(0, len(length_B), batch_size), len(length_B)]
            else:
                self._groups.append(length_buckets(length_B))
                edges = _budget_edges(length_B, self._groups[-1], max_events_per_batch)
            cuts += [(shard, start, stop) for start, stop in pairwise(edges)]
        self._cuts = np.array(cuts, dtype=np.int64)

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches per epoch and rank."""
        return (len(self._cuts) + self.world_size - 1) // self.world_size

    def __iter__(self) -> Iterator[BatchSpec]:
        rng = np.random.default_rng([self.seed, self.epoch])
        shuffled = rng.permutation if self.shuffle else np.asarray
        rows = [np.concatenate([shuffled(group) for group in groups]) for groups in self._groups]
        order = shuffled(np.arange(len(self._cuts)))
        dealt = np.resize(order, len(self) * self.world_size)
        for batch in dealt[self.rank :: self.world_size][self.start :]:
            shard, start, stop = (int(i) for i in self._cuts[batch])
            yield BatchSpec(shard, rows[shard][start:stop])


def length_buckets(length_B: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows grouped by length, short to long; within a group lengths differ by a factor of at most 1.09.

    >>> [rows.tolist() for rows in length_buckets(np.array([500, 7, 505, 7, 90]))]
    [[1, 3], [4], [0, 2]]
    """
    bucket_B = np.floor(np.log(np.maximum(length_B, 1)) / np.log(BUCKET_GROWTH)).astype(np.int64)
    order = np.argsort(bucket_B, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(bucket_B[order])) + 1)


def _budget_edges(length_B: NDArray[np.int64], groups: list[NDArray[np.int64]], budget: int) -> list[int]:
    """Where to cut the rows of all groups, end to end, so that no batch exceeds the budget however a group is permuted.

    Every row counts as the longest of its group, so that the cuts, and with them the number of batches, are the same in every epoch.
    """
    longest = int(length_B.max())
    if longest > budget:
        raise InputError(
            f"--data.max_events_per_batch is {budget}, but the longest stay has {longest} events. "
            f"Raise it to {longest} or more, or cut stays with --data.max_sequence_length {budget}."
        )
    cost = np.concatenate([np.full(len(rows), length_B[rows].max()) for rows in groups])
    up_to = np.concatenate(([0], np.cumsum(cost)))
    edges = [0]
    while edges[-1] < len(cost):
        edges.append(int(np.searchsorted(up_to, up_to[edges[-1]] + budget, side="right")) - 1)
    return edges
