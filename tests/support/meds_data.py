"""MEDS data sets as the `meds` package describes them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from meds.schema import DataSchema, SubjectSplitSchema

EPOCH = dt.datetime(1970, 1, 1)
Row = tuple[int, float | None, str, float | None, str | None]
"""Subject, minutes since 1970 (None: static), code, number, text."""


def write_meds(root: Path, rows: Mapping[str, Sequence[Row]], splits: Mapping[int, str] | None = None) -> Path:
    """Files `data/<name>.parquet` (a name such as train/0), and metadata/subject_splits.parquet where `splits` is given."""
    for name, of_file in rows.items():
        path = root / "data" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = list(zip(*of_file, strict=True)) or [()] * 5
        times = [None if minute is None else EPOCH + dt.timedelta(minutes=minute) for minute in columns[1]]
        table = pa.table(
            {
                "subject_id": pa.array(columns[0], pa.int64()),
                "time": pa.array(times, pa.timestamp("us")),
                "code": pa.array(columns[2], pa.string()),
                "numeric_value": pa.array(columns[3], pa.float32()),
                "text_value": pa.array(columns[4], pa.large_string()),
            }
        )
        pq.write_table(DataSchema.align(table), path)
    (root / "metadata").mkdir(exist_ok=True)
    (root / "metadata" / "dataset.json").write_text(json.dumps({"dataset_name": "made up", "meds_version": "0.4"}))
    if splits is not None:
        table = pa.table({"subject_id": pa.array(list(splits), pa.int64()), "split": pa.array(list(splits.values()))})
        pq.write_table(SubjectSplitSchema.align(table), root / "metadata" / "subject_splits.parquet")
    return root
