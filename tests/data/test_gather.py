"""A batch holds exactly what a plain loop over the raw events says it must."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from seqsetvae.data.demo_store import demo_store
from seqsetvae.data.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return demo_store(tmp_path_factory.mktemp("cache"))


def naive_stay(frame: pd.DataFrame, store: Store, limit: int | None) -> list[tuple[float, list[int], list[float]]]:
    """Sets of one stay, event by event: (minute, variables, scaled values)."""
    vocabulary = store.vocabulary
    sets: list[tuple[float, list[int], list[float]]] = []
    total = 0
    for minute in sorted(set(frame["minute"])):
        last = {row.variable: row.value for row in frame[frame["minute"] == minute].itertuples()}
        variables = [vocabulary.index(name) for name in sorted(last)]
        values = [
            float(np.arcsinh((last[name] - vocabulary.center_V[v]) / vocabulary.spread_V[v]))
            for name, v in zip(sorted(last), variables, strict=True)
        ]
        if limit is not None and total + len(variables) > limit:
            if not sets:
                sets.append((minute, variables[:limit], values[:limit]))
            break
        total += len(variables)
        sets.append((minute, variables, values))
    return sets


@pytest.mark.parametrize("limit", [None, 300, 40, 3])
def test_gather_equals_a_loop_over_subjects_sets_and_events(
    store: Store, demo_frame: pd.DataFrame, limit: int | None
) -> None:
    rows = np.array([7, 0, 79, 33, 7])
    batch = store.gather("valid", 0, rows, max_sequence_length=limit)
    names = store.subject_ids("valid", rows)
    expected = [naive_stay(demo_frame[demo_frame["subject_id"] == name], store, limit) for name in names]

    sets = [s for stay in expected for s in stay]
    assert batch.minute_S.tolist() == [minute for minute, _, _ in sets]
    assert batch.subject_S.tolist() == [b for b, stay in enumerate(expected) for _ in stay]
    assert batch.position_S.tolist() == [t for stay in expected for t in range(len(stay))]
    assert batch.set_N.tolist() == [s for s, (_, variables, _) in enumerate(sets) for _ in variables]
    assert batch.variable_N.tolist() == [v for _, variables, _ in sets for v in variables]
    np.testing.assert_allclose(
        batch.value_N.numpy(), [y for _, _, values in sets for y in values], rtol=2e-5, atol=2e-5
    )
    assert batch.grid[0][1] == max(map(len, expected))
    assert len(set(batch.slot_S.tolist())) == batch.n_sets  # no two sets share a slot
    assert batch.row_B.tolist() == rows.tolist()
    labels = demo_frame.groupby("subject_id")["label"].first()
    assert batch.label_B.tolist() == [labels[name] for name in names]


def test_dtypes_are_those_the_batch_promises(store: Store) -> None:
    batch = store.gather("test", 0, np.array([3]))
    for name in ("variable_N", "set_N", "subject_S", "position_S", "first_slot_B", "row_B"):
        assert getattr(batch, name).dtype == torch.int64
    for name in ("value_N", "label_B"):
        assert getattr(batch, name).dtype == torch.float32
    assert batch.minute_S.dtype == torch.float64
    assert batch.number_N is None


def test_a_fixed_grid_is_kept_and_one_too_short_refused(store: Store) -> None:
    assert store.gather("test", 0, np.array([3, 5]), grid_columns=200).grid == ((2, 200),)
    with pytest.raises(ValueError, match="1 columns is below"):
        store.gather("test", 0, np.array([3]), grid_columns=1)


def test_rows_of_later_shards_count_on(synthetic_store: Store) -> None:
    n_shards = len(synthetic_store.shards("train"))
    assert n_shards > 1
    batches = [
        synthetic_store.gather("train", i, np.arange(shard.subjects))
        for i, shard in enumerate(synthetic_store.shards("train"))
    ]
    assert torch.cat([b.row_B for b in batches]).tolist() == list(range(synthetic_store.n_subjects("train")))
    assert sum(b.n_events for b in batches) == synthetic_store.n_events("train")
    assert sum(b.n_sets for b in batches) == synthetic_store.n_sets("train")
    np.testing.assert_array_equal(torch.cat([b.label_B for b in batches]).numpy(), synthetic_store.labels("train"))
    last = synthetic_store.n_subjects("train") - 1
    assert synthetic_store.subject_ids("train", [0, last]) == ["train-0000000", f"train-{last:07d}"]
