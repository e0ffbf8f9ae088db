"""Of which kind the outcomes of a table are, by its columns, and what they are."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from meds.schema import LabelSchema

from seqsetvae.data.task_labels import TaskLabels, read_task
from seqsetvae.errors import InputError

NOON = dt.datetime(2024, 1, 1, 12)
NAN = math.nan


def meds(path: Path, **columns: Any) -> TaskLabels:
    """A table in the MEDS label schema, of two subjects and two times."""
    table = {"subject_id": pa.array([1, 2, 2], pa.int64()), "prediction_time": pa.array([NOON] * 3, pa.timestamp("us"))}
    pq.write_table(LabelSchema.align(pa.table(table | {key: pa.array(x) for key, x in columns.items()})), path)
    return read_task(path, None)


def test_the_columns_of_meds_say_the_kind(tmp_path: Path) -> None:
    path = tmp_path / "task.parquet"
    assert meds(path, boolean_value=[True, True, False]).outcome == (1.0, 1.0, 0.0)
    found = meds(path, integer_value=pa.array([0, 1, 1], pa.int64()))
    assert (found.kind, found.outcome) == ("binary", (0.0, 1.0, 1.0))
    found = meds(path, integer_value=pa.array([0, 7, 1], pa.int64()))
    assert (found.kind, found.outcome) == ("regression", (0.0, 7.0, 1.0))
    found = meds(path, float_value=pa.array([0, 1, 1], pa.float32()))
    assert (found.kind, found.outcome) == ("regression", (0.0, 1.0, 1.0))


def test_categories_are_classes_where_they_exclude_each_other_and_else_labels(tmp_path: Path) -> None:
    path = tmp_path / "task.parquet"
    found = meds(path, categorical_value=["home", "icu", "icu"])
    assert (found.kind, found.names) == ("multiclass", ("home", "icu"))
    assert list(zip(found.subject, found.outcome, strict=True)) == [("1", (1.0, 0.0)), ("2", (0.0, 1.0))]
    found = meds(path, categorical_value=["home", "icu", "ward"])
    assert (found.kind, found.names) == ("multilabel", ("home", "icu", "ward"))
    assert list(zip(found.subject, found.outcome, strict=True)) == [("1", (1.0, 0.0, 0.0)), ("2", (0.0, 1.0, 1.0))]
    with pytest.raises(InputError, match="subject '2' has several categories at one time"):
        read_task(path, None, "multiclass")
    elsewhere = read_task(path, None, "multilabel", ("icu", "spa", "home", "ward"))
    assert elsewhere.outcome == ((0.0, 0.0, 1.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    with pytest.raises(InputError, match="row 3, column 'categorical_value': 'ward' is none of the categories that"):
        read_task(path, None, "multilabel", ("home", "icu"))
    found = of_csv(tmp_path, "severity", "multiclass", "subject_id,severity\n1,0\n2,3\n3,\n")
    assert (found.kind, found.names, found.outcome) == ("multiclass", ("0", "3"), ((1.0, 0.0), (0.0, 1.0)))


def test_of_several_columns_of_meds_the_one_with_values_counts(tmp_path: Path) -> None:
    text = "subject_id,boolean_value,float_value\n1,,1.5\n2,,2\n"
    found = of_csv(tmp_path, "length_of_stay", text=text)
    assert (found.task, found.kind, found.outcome) == ("length_of_stay", "regression", (1.5, 2.0))


CSV = "subject_id,died,readmitted,died_hours,los,unit\n1,1,0,30.5,2.25,icu\n2,0,,72,9,\n3,,1,5,,ward\n"


def of_csv(tmp_path: Path, task: str | None, kind: str = "auto", text: str = CSV) -> TaskLabels:
    path = tmp_path / "tasks.csv"
    path.write_text(text)
    return read_task(path, task, kind)


def test_the_columns_of_a_csv_say_the_kind_or_the_user_does(tmp_path: Path) -> None:
    found = of_csv(tmp_path, "readmitted")
    assert (found.kind, found.subject, found.outcome) == ("binary", ("1", "3"), (0.0, 1.0))
    found = of_csv(tmp_path, "died")
    assert (found.kind, found.names) == ("time_to_event", ("event", "hours"))
    assert found.outcome == ((1.0, 30.5), (0.0, 72.0))
    assert of_csv(tmp_path, "died", "binary").outcome == (1.0, 0.0)
    found = of_csv(tmp_path, "died, readmitted")
    assert (found.kind, found.names) == ("multilabel", ("died", "readmitted"))
    assert str(found.outcome) == str(((1.0, 0.0), (0.0, NAN), (NAN, 1.0)))
    assert of_csv(tmp_path, "los", "regression").outcome == (2.25, 9.0)
    found = of_csv(tmp_path, "unit", "multilabel")
    assert (found.names, found.subject, found.outcome) == (("icu", "ward"), ("1", "3"), ((1.0, 0.0), (0.0, 1.0)))


@pytest.mark.parametrize(
    ("task", "kind", "said"),
    [
        ("los", "auto", r"row 1, column 'los': '2\.25' is not 0 or 1\. .* with --kind regression"),
        ("unit", "regression", r"row 1, column 'unit': 'icu' is no number"),
        ("died,readmitted", "regression", "names 2 columns, but a task of kind regression has one"),
        ("died,nothing", "auto", "no column of task 'died,nothing': nothing, boolean_value"),
        ("readmitted", "time_to_event", "column 'readmitted_hours': missing"),
        (None, "auto", r"which column is the outcome\? Name it with --task: the file has subject_id, .*died"),
        ("died,los", "auto", r"row 1, column 'los': '2\.25' is not 0 or 1"),
    ],
)  # fmt: skip
def test_what_is_no_outcome_of_that_kind_is_refused_in_words(
    tmp_path: Path, task: str | None, kind: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        of_csv(tmp_path, task, kind)


def test_a_time_before_the_prediction_and_too_many_categories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 1, column 'died_hours': '-3' is before the prediction"):
        of_csv(tmp_path, "died", text="subject_id,died,died_hours\n1,1,-3\n")
    rows = "".join(f"{n},name-{n}\n" for n in range(201))
    with pytest.raises(InputError, match="201 categories, of at most 200"):
        of_csv(tmp_path, "t", "multilabel", text=f"subject_id,t\n{rows}")
