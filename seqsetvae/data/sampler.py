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
WINDOW = 8
"""Steps whose batches are exchanged between them, so that those of one step are of like size."""
MOST_REPEATED = 1.05
"""Work of the node with most of it over the mean, up to which every node keeps to shards of its own."""


class BatchSpec(NamedTuple):
    """The subjects of one batch."""

    shard: int
    rows: NDArray[np.int64]
    """Rows within the shard."""


class EventBatchSampler(Sampler[BatchSpec]):
    """Deals the subjects of a split out to batches, every subject once per epoch; a batch comes from one shard.

    The order depends on (seed, epoch) alone. The number of batches is the same in every epoch and on every rank: where it does not
    divide by `world_size`, the first batches of the epoch are dealt out once more. What the ranks train on in one step has like numbers of
    events, so that none waits long for another. With enough shards each node reads its own and no others.

    Args:
        lengths: For each shard, the events of each subject (after the cut at `max_sequence_length`).
        batch_size: Subjects per batch.
        max_events_per_batch: Replaces `batch_size`: subjects of like length are put together, up to this many events.
        shuffle: Permute subjects within, and batches across shards. Without it rows (or lengths) ascend.
        seed: Of the permutations.
        rank: Number of this process.
        world_size: Processes that share the batches.
        nodes: Machines that these are spread over evenly, those of one machine one after another.

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
        nodes: int = 1,
    ) -> None:
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start = 0
        """Batches of this rank that the next iteration skips."""
        self._lengths = lengths
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
        self._node_of_cut = share_out(self._cuts[:, 0], nodes if shuffle else 1)
        self._lanes = world_size // (int(self._node_of_cut.max()) + 1)

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch."""
        self.epoch = epoch

    @property
    def batches(self) -> int:
        """Different batches of an epoch, of all ranks."""
        return len(self._cuts)

    def __len__(self) -> int:
        """Batches per epoch and rank."""
        return (int(np.bincount(self._node_of_cut).max()) + self._lanes - 1) // self._lanes

    def __iter__(self) -> Iterator[BatchSpec]:
        rng = np.random.default_rng([self.seed, self.epoch])
        shuffled = rng.permutation if self.shuffle else np.asarray
        rows = [np.concatenate([shuffled(group) for group in groups]) for groups in self._groups]
        order = shuffled(np.arange(len(self._cuts)))
        for batch in self._dealt(order, rows)[self.start :, self.rank]:
            shard, start, stop = (int(i) for i in self._cuts[batch])
            yield BatchSpec(shard, rows[shard][start:stop])

    def _dealt(self, order: NDArray[np.int64], rows: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        """The batch of every step and rank, shape (steps, world_size)."""
        nodes = self.world_size // self._lanes
        shares = [order[self._node_of_cut[order] == node] for node in range(nodes)]
        table = np.stack([np.resize(share, (len(self), self._lanes)) for share in shares], axis=1)
        if self.shuffle and self.world_size > 1:
            table = evened(table, self._events(rows))
        return table.reshape(len(self), self.world_size)

    def _events(self, rows: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        """Events of every batch."""
        up_to = [np.concatenate(([0], np.cumsum(length[row]))) for length, row in zip(self._lengths, rows, strict=True)]
        return np.array([up_to[shard][stop] - up_to[shard][start] for shard, start, stop in self._cuts])


def share_out(shard_of_cut: NDArray[np.int64], nodes: int) -> NDArray[np.int64]:
    """The node of every batch, such that a shard is read by one node only; 0 for all where shards are too few to give each its due.

    >>> share_out(np.array([0, 0, 0, 1, 1, 2]), nodes=2)
    array([0, 0, 0, 1, 1, 1])
    >>> share_out(np.array([0, 0, 0, 1]), nodes=2)
    array([0, 0, 0, 0])
    """
    work = np.bincount(shard_of_cut)
    load, node_of_shard = np.zeros(nodes), np.zeros(len(work), dtype=np.int64)
    for shard in np.argsort(-work, kind="stable"):  # the largest first, each to the node that has least
        node_of_shard[shard] = load.argmin()
        load[node_of_shard[shard]] += work[shard]
    if load.max() > MOST_REPEATED * load.mean():
        return np.zeros_like(shard_of_cut)
    return node_of_shard[shard_of_cut]


def evened(table: NDArray[np.int64], events: NDArray[np.int64]) -> NDArray[np.int64]:
    """Exchange the batches of each node between the steps of a window, so that those of one step have like numbers of events.

    Steps stay where the first of their batches was drawn: where all batches are alike nothing changes.

    Args:
        table: batch of every step, node and process of the node.
        events: of every batch.

    >>> evened(np.array([[[0, 1]], [[2, 3]]]), events=np.array([9, 1, 2, 8])).tolist()
    [[[3, 0]], [[1, 2]]]
    """
    made = np.empty_like(table)
    for start in range(0, len(table), WINDOW):
        drawn = table[start : start + WINDOW].swapaxes(0, 1)
        nodes, steps, lanes = drawn.shape
        drawn = drawn.reshape(nodes, -1)
        by_size = np.argsort(events[drawn], axis=1, kind="stable")
        alike = np.take_along_axis(drawn, by_size, axis=1).reshape(nodes, steps, lanes).swapaxes(0, 1)
        first = by_size.reshape(nodes, steps, lanes).min(axis=(0, 2))
        made[start : start + steps] = alike[np.argsort(first, kind="stable")]
    return made


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
