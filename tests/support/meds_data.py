"""MEDS data sets as the `meds` package describes them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from meds.schema import DataSchema, LabelSchema, SubjectSplitSchema

EPOCH = dt.datetime(1970, 1, 1)
Row = tuple[int, float | None, str, float | None, str | None]
"""Subject, minutes since 1970 (None: static), code, number, text."""


SPLIT_NAME = {"train": "train", "valid": "tuning", "test": "held_out"}


def write_events(root: Path, events: pd.DataFrame, one_file_a_split: bool = True) -> Path:
    """A table with subject_id, split, minute, variable, value (NaN: no number) as a MEDS data set.

    There is a file for each split, or five that hold all of them.
    """
    frame = events.astype({"subject_id": str, "split": str, "variable": str})
    rows: dict[str, list[Row]] = {}
    for number, (subject, of_subject) in enumerate(frame.groupby("subject_id")):
        place = f"{SPLIT_NAME[of_subject['split'].iloc[0]]}/0" if one_file_a_split else str(number % 5)
        ordered = of_subject.sort_values("minute", kind="stable")
        rows.setdefault(place, []).extend(
            (int(str(subject)), float(minute), variable, None if pd.isna(value) else float(value), None)
            for minute, variable, value in zip(ordered["minute"], ordered["variable"], ordered["value"], strict=True)
        )
    splits = {int(str(s)): SPLIT_NAME[name] for s, name in frame.groupby("subject_id")["split"].first().items()}
    return write_meds(root, rows, splits)


def write_labels(path: Path, minute: float, outcome: Mapping[str, bool | float]) -> Path:
    """An outcome of each subject in the MEDS label schema, asked for `minute` minutes after 1970 began."""
    values = pa.array(list(outcome.values()))
    columns = {
        "subject_id": pa.array([int(one) for one in outcome], pa.int64()),
        "prediction_time": pa.array([EPOCH + dt.timedelta(minutes=minute)] * len(outcome), pa.timestamp("us")),
        "boolean_value" if pa.types.is_boolean(values.type) else "float_value": values,
    }
    if "float_value" in columns:
        columns["float_value"] = values.cast(pa.float32())
    pq.write_table(LabelSchema.align(pa.table(columns)), path)
    return path


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
