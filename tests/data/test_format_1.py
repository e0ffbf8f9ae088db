"""A store that version 0.1.0 has written still opens, and gives the batches of the same data prepared today."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from seqsetvae.data.demo_store import open_store
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError

EVENT = pa.struct([pa.field("variable", pa.int32(), nullable=False), pa.field("value", pa.float32(), nullable=False)])
SET = pa.struct([pa.field("minute", pa.float32(), nullable=False), pa.field("events", pa.list_(EVENT), nullable=False)])
SCHEMA = pa.schema(
    [
        pa.field("subject_id", pa.string(), nullable=False),
        pa.field("label", pa.int8()),
        pa.field("n_events", pa.int32(), nullable=False),
        pa.field("sets", pa.list_(SET), nullable=False),
    ]
)
VOCABULARY = ("name", "count", "mean", "std", "min", "max", "median", "iqr", "center", "spread")
"""What format 1 held, written down here so that a change of the code cannot change it."""


def write_format_1(store: Store, folder: Path) -> None:
    folder.mkdir()
    shards = []
    for split in store.splits:
        for number, shard in enumerate(store.shards(split)):
            rows = store.shard(split, number)
            sets = [
                [
                    {
                        "minute": rows.minute_S[s],
                        "events": [
                            {"variable": rows.variable_N[e], "value": rows.value_N[e]}
                            for e in range(rows.first_event[s], rows.first_event[s + 1])
                        ],
                    }
                    for s in range(rows.first_set[b], rows.first_set[b + 1])
                ]
                for b in range(rows.n_subjects)
            ]
            columns = [
                pa.array([str(name) for name in rows.subject_id]),
                pa.array(rows.label_B, from_pandas=True).cast(pa.int8()),
                pa.array(np.diff(rows.events_before_B), pa.int32()),
                pa.array(sets, pa.list_(SET)),
            ]
            with pa.OSFile(str(folder / shard.file), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
                writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            entry = {key: value for key, value in vars(shard).items() if key != "longest_minutes"}
            shards.append(entry | {"bytes": (folder / shard.file).stat().st_size})
    table = store.vocabulary.to_table().select(list(VOCABULARY)).replace_schema_metadata(None)
    with pa.ipc.new_file(str(folder / "vocabulary.arrow"), table.schema) as writer:
        writer.write_table(table)
    vocabulary = {"file": "vocabulary.arrow", "bytes": (folder / "vocabulary.arrow").stat().st_size, "sha256": ""}
    manifest = {
        "format_version": 1,
        "content_hash": "old",
        "source": {"source": "demo", "scaling": "robust"},
        "report": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | {"vocabulary": vocabulary, "shards": shards}))


def test_an_old_store_opens_and_gives_the_same_batches(tmp_path: Path) -> None:
    now = open_store("demo")
    write_format_1(now, tmp_path / "old")
    old = Store.open(tmp_path / "old")
    rows = np.array([3, 0, 41])
    before, after = old.gather("test", 0, rows), now.gather("test", 0, rows)
    for key in ("variable_N", "value_N", "set_N", "minute_S", "subject_S", "position_S", "label_B"):
        left, right = getattr(before, key), getattr(after, key)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert old.longest_minutes() == 0.0
    assert old.vocabulary.set_window == 1.0
    assert np.isnan(old.vocabulary.statistics.low_V).all()
    assert not old.vocabulary.statistics.without_number_V.any()


@pytest.mark.parametrize(
    ("version", "said"), [(3, "newer seqsetvae"), ("x", "prepare` again"), (None, "prepare` again")]
)
def test_a_format_that_is_not_known_is_named(tmp_path: Path, version: object, said: str) -> None:
    write_format_1(open_store("demo"), tmp_path / "old")
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest | {"format_version": version}))
    with pytest.raises(InputError, match=rf"store format {version!r}, but this version reads 2.*{said}"):
        Store.open(tmp_path / "old")
