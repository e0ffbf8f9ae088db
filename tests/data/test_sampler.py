"""Batches: every subject once, the same number in every epoch and on every rank, never above the budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqsetvae.batch import EventBatch
from seqsetvae.config import DataConfig
from seqsetvae.data.loader import EventLoader
from seqsetvae.data.module import EventDataModule
from seqsetvae.data.sampler import BatchSpec, EventBatchSampler
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError


def stay_lengths() -> list[np.ndarray]:
    """Three shards of heavily skewed lengths."""
    rng = np.random.default_rng(0)
    return [np.clip(rng.lognormal(6, 0.8, n), 1, 5000).astype(np.int64) for n in (700, 300, 1)]


def epoch_of(sampler: EventBatchSampler, epoch: int) -> list[tuple[int, ...]]:
    sampler.set_epoch(epoch)
    return [(spec.shard, *spec.rows.tolist()) for spec in sampler]


MODES: list[dict[str, Any]] = [{"batch_size": 8}, {"max_events_per_batch": 6000}]


@pytest.mark.parametrize("mode", MODES)
def test_every_subject_once_in_an_order_of_seed_and_epoch(mode: dict[str, Any]) -> None:
    lengths = stay_lengths()
    sampler = EventBatchSampler(lengths, seed=1, **mode)
    epochs = [epoch_of(sampler, epoch) for epoch in range(4)]
    for batches in epochs:
        assert len(batches) == len(sampler)
        subjects = sorted((shard, row) for shard, *rows in batches for row in rows)
        assert subjects == [(shard, row) for shard, length in enumerate(lengths) for row in range(len(length))]
    assert epochs[0] != epochs[1]
    assert epochs[1] == epoch_of(EventBatchSampler(lengths, seed=1, **mode), 1)
    assert epochs[1] != epoch_of(EventBatchSampler(lengths, seed=2, **mode), 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_batches_evenly(mode: dict[str, Any], world_size: int) -> None:
    lengths = stay_lengths()
    alone = epoch_of(EventBatchSampler(lengths, seed=1, **mode), 5)
    ranks = [EventBatchSampler(lengths, seed=1, rank=r, world_size=world_size, **mode) for r in range(world_size)]
    dealt = [epoch_of(rank, 5) for rank in ranks]
    assert {len(batches) for batches in dealt} == {len(ranks[0])}
    together = [batch for rank in dealt for batch in rank]
    assert set(together) == set(alone)
    repeated = len(together) - len(alone)
    assert 0 <= repeated < world_size
    assert len(set(together)) == len(alone)


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_have_like_work_in_every_step(world_size: int) -> None:
    """As dealt by turns a step of 4 batches of 8 stays takes a third longer than the mean of its ranks."""
    lengths = stay_lengths()[:2]
    alone = EventBatchSampler(lengths, seed=1)
    turns = [events_of(spec, lengths) for spec in alone][: len(alone) // world_size * world_size]
    dealt = [
        [events_of(spec, lengths) for spec in EventBatchSampler(lengths, seed=1, rank=rank, world_size=world_size)]
        for rank in range(world_size)
    ]

    def waiting(steps: np.ndarray) -> float:
        return float((steps.max(1) / steps.mean(1)).mean() - 1.0)

    assert waiting(np.array(dealt).T) < 0.4 * waiting(np.array(turns).reshape(-1, world_size))


def test_batches_that_are_all_alike_are_dealt_by_turns() -> None:
    lengths = [np.full(50, 10)]
    alone = epoch_of(EventBatchSampler(lengths, seed=1, batch_size=2), 3)
    ranks = [
        epoch_of(EventBatchSampler(lengths, seed=1, batch_size=2, rank=rank, world_size=5), 3) for rank in range(5)
    ]
    assert [batch for turn in zip(*ranks, strict=True) for batch in turn] == alone


@pytest.mark.parametrize("mode", MODES)
def test_each_node_reads_shards_of_its_own(mode: dict[str, Any]) -> None:
    lengths = [np.concatenate(stay_lengths())[rows] for rows in np.array_split(np.arange(1001), 12)]
    ranks = [EventBatchSampler(lengths, seed=1, rank=rank, world_size=4, nodes=2, **mode) for rank in range(4)]
    dealt = [epoch_of(rank, 2) for rank in ranks]
    assert len({len(batches) for batches in dealt}) == 1
    read = [{shard for shard, *_ in batches} for batches in dealt]
    assert read[0] == read[1]
    assert read[2] == read[3]
    assert not read[0] & read[2]
    subjects = {(shard, row) for batches in dealt for shard, *rows in batches for row in rows}
    assert len(subjects) == 1001


def events_of(spec: BatchSpec, lengths: list[np.ndarray]) -> int:
    return int(lengths[spec.shard][spec.rows].sum())


def test_the_budget_holds_and_lengths_are_alike() -> None:
    lengths = stay_lengths()
    sampler = EventBatchSampler(lengths, max_events_per_batch=6000)
    fill, spread = [], []
    for epoch in range(3):
        for shard, *rows in epoch_of(sampler, epoch):
            events = lengths[shard][rows]
            assert events.sum() <= 6000
            fill.append(events.sum() / 6000)
            spread.append(events.max() / events.min())
    assert np.mean(fill) > 0.85
    assert np.median(spread) < 1.25


def test_batch_size_is_kept_but_for_the_last_of_a_shard() -> None:
    sizes = sorted(len(rows) for _, *rows in epoch_of(EventBatchSampler(stay_lengths(), batch_size=16), 0))
    assert sizes == [1, 300 % 16, 700 % 16, *[16] * (300 // 16 + 700 // 16)]


def test_without_shuffling_rows_ascend() -> None:
    batches = epoch_of(EventBatchSampler(stay_lengths(), batch_size=16, shuffle=False), 3)
    assert [(shard, row) for shard, *rows in batches for row in rows] == [
        (shard, row) for shard, length in enumerate(stay_lengths()) for row in range(len(length))
    ]


def test_a_stay_beyond_the_budget_is_refused_unless_it_is_cut(synthetic_store: Store) -> None:
    longest = synthetic_store.longest("train")[0]
    config = DataConfig(store=str(synthetic_store.path), max_events_per_batch=longest - 1)
    with pytest.raises(
        InputError, match=rf"--data.max_events_per_batch is {longest - 1}, but the longest stay has {longest}"
    ):
        EventDataModule(config).train_dataloader()
    data = EventDataModule(replace(config, max_sequence_length=longest - 1))
    batches = list(data.train_dataloader())
    assert len(batches) == data.batches_per_epoch()
    assert max(batch.n_events for batch in batches) <= longest - 1
    assert sum(batch.n_subjects for batch in batches) == synthetic_store.n_subjects("train")


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_goes_through_the_split_in_order(synthetic_store: Store, split: str) -> None:
    data = EventDataModule(DataConfig(store=str(synthetic_store.path), batch_size=7))
    loader = getattr(data, f"{split}_dataloader")()
    rows = [row for batch in loader for row in batch.row_B.tolist()]
    assert rows == list(range(synthetic_store.n_subjects({"val": "valid"}.get(split, split))))


def test_fixed_padding_has_the_grid_of_the_longest_stay_of_any_split(synthetic_store: Store) -> None:
    data = EventDataModule(DataConfig(store=str(synthetic_store.path), use_dynamic_padding=False))
    longest = max(synthetic_store.longest(split)[1] for split in synthetic_store.splits)
    grids = [batch.grid for batch in data.train_dataloader()]
    assert {columns for grid in grids for _, columns in grid} == {longest}
    assert all(len(grid) == 1 for grid in grids)
    dynamic = EventDataModule(DataConfig(store=str(synthetic_store.path)))
    assert all(batch.grid[0][1] == batch.position_S.max() + 1 for batch in dynamic.train_dataloader())


def test_worker_processes_yield_the_same_batches(synthetic_store: Store) -> None:
    def rows(workers: int) -> list[list[int]]:
        config = DataConfig(store=str(synthetic_store.path), num_workers=workers, batch_size=20)
        loader = EventDataModule(config, seed=5).train_dataloader()
        return [batch.row_B.tolist() for _ in range(2) for batch in loader]

    assert rows(0) == rows(2)


def test_the_loader_continues_where_its_state_says(synthetic_store: Store) -> None:
    def loader() -> EventLoader:
        return EventDataModule(DataConfig(store=str(synthetic_store.path), batch_size=10)).train_dataloader()

    def rows(batches: Iterable[EventBatch]) -> list[list[int]]:
        return [batch.row_B.tolist() for batch in batches]

    whole = loader()
    first = rows(whole)
    whole.sampler.set_epoch(1)
    second = rows(whole)

    stopped = loader()
    iterator = iter(stopped)
    seen = [next(iterator).row_B.tolist() for _ in range(3)]
    assert stopped.state_dict() == {"epoch": 0, "batches": 3}
    resumed = loader()
    resumed.load_state_dict(stopped.state_dict())
    assert resumed.state_dict() == {"epoch": 0, "batches": 3}
    assert len(resumed) == len(first)
    assert seen + rows(resumed) == first
    resumed.load_state_dict({"epoch": 0, "batches": len(first)})
    assert rows(resumed) == second
