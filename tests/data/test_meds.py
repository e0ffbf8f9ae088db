"""MEDS in: the store of the same data in another form, whatever the cut into files; splits, static events, codes and admissions."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from seqsetvae.data.demo_store import open_store
from seqsetvae.data.prepare import prepare
from seqsetvae.data.report import PrepareReport
from seqsetvae.data.sources import Meds, meds_rows
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from tests.support.meds_data import Row, write_events, write_meds
from tests.support.small_ehr import events


def prepared(root: Path, output: Path, least: int = 1, **options: Any) -> tuple[Store, PrepareReport]:
    report = prepare(Meds(root, **options), output, min_subjects=least, progress=False)
    return Store.open(output), report


@pytest.mark.parametrize("at_a_time", [500_000, 997])
@pytest.mark.parametrize("files", ["one for each split", "five that hold all splits"])
def test_the_demo_data_make_the_same_store_from_their_meds_form(
    tmp_path: Path, demo_frame: pd.DataFrame, files: str, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meds_rows, "ROWS_AT_A_TIME", at_a_time)
    root = write_events(tmp_path / "in", demo_frame, files == "one for each split")
    store, report = prepared(root, tmp_path / "store")
    demo = open_store("demo")
    mine_V, its_V = store.vocabulary.to_table().to_pydict(), demo.vocabulary.to_table().to_pydict()
    for key in its_V:  # Sums depend on the order of the subjects in their last bit, everything else on nothing.
        assert mine_V[key] == (pytest.approx(its_V[key], rel=1e-12) if key in ("mean", "std") else its_V[key])
    assert report.repeated_measurements == demo.manifest["report"]["repeated_measurements"]
    for split in demo.splits:
        mine, its = store.shard(split, 0), demo.shard(split, 0)
        order = [list(map(str, mine.subject_id)).index(str(name)) for name in its.subject_id]
        mine = mine.take(np.array(order))
        for key in ("first_set", "first_event", "minute_S", "variable_N", "value_N", "start_B"):
            np.testing.assert_array_equal(getattr(mine, key), getattr(its, key))
    assert store.provenance["dataset"] == {"dataset_name": "made up", "meds_version": "0.4"}


HEART = [(0, "HR", 80.0, None)]


def subject(number: int, *rows: tuple[float | None, str, float | None, str | None]) -> list[Row]:
    return [(number, *row) for row in rows]


def three(train: list[Row], held_out: list[Row] | None = None) -> dict[str, list[Row]]:
    """A file for each split: the given train rows, and one subject in each other split."""
    other = subject(900, (0, "HR", 80.0, None))
    last = [(901, *row[1:]) for row in other] if held_out is None else held_out
    return {"train/0": train, "tuning/0": other, "held_out/0": last}


def test_static_events_texts_and_events_without_a_number(tmp_path: Path) -> None:
    train = subject(
        7,
        (None, "GENDER//F", None, None),
        (1e7, "HR", 80.0, None),
        (1e7, "DX//I10", None, None),
        (1e7 + 5, "Urine", None, "positive"),
        (1e7 + 5, "Note", None, "x" * 61),
        (1e7 + 9, "Lab", 3.5, "3.5 (high)"),
    )
    store, report = prepared(write_meds(tmp_path / "in", three(train)), tmp_path / "store")
    found = events(store)
    assert [(minute, name) for minute, name, _ in found] == [
        (0.0, "DX//I10"),
        (0.0, "GENDER//F"),
        (0.0, "HR"),
        (5.0, "Note"),
        (5.0, "Urine//positive"),
        (9.0, "Lab"),
    ]
    np.testing.assert_array_equal([value for _, _, value in found], [math.nan, math.nan, 80.0, math.nan, math.nan, 3.5])
    assert store.shard("train", 0).start_B.tolist() == [10_000_000 * 60_000_000]
    assert report.rules[1] == "Events without a number are kept as their variable."


def test_codes_and_scaling_come_from_the_train_split_alone(tmp_path: Path) -> None:
    train = [row for n in range(4) for row in subject(n, (0, "HR", 70.0 + n, None), (1, f"RARE//{n}", None, None))]
    held_out = subject(901, (0, "HR", 1e6, None), (1, "PLANTED", None, None))
    store, report = prepared(write_meds(tmp_path / "in", three(train, held_out)), tmp_path / "store", least=2)
    assert store.vocabulary.names == ("HR",)
    assert store.vocabulary.statistics.max_V.tolist() == [73.0]
    assert store.vocabulary.center_V.tolist() == [71.5]
    assert report.rare_variables == 4
    assert report.unknown_variables == {"PLANTED": 1}


def test_admissions_are_stays_of_their_own(tmp_path: Path) -> None:
    train = subject(
        7,
        (None, "GENDER//F", None, None),
        (0, "DX//old", None, None),
        (100, "HR", 1.0, None),
        (100, "HOSPITAL_ADMISSION//ER", None, None),
        (100, "HOSPITAL_ADMISSION//ER2", None, None),
        (110, "HR", 2.0, None),
        (200, "HOSPITAL_DISCHARGE//HOME", None, None),
        (200, "HR", 3.0, None),
        (250, "HR", 4.0, None),
        (300, "HOSPITAL_ADMISSION//ER", None, None),
        (310, "HR", 5.0, None),
    ) + subject(8, (5, "HOSPITAL_ADMISSION//ER", None, None), (6, "HR", 6.0, None))
    other = [(900, 0, "HOSPITAL_ADMISSION//ER", None, None), (900, 1, "HR", 9.0, None)]
    rows = {"train/0": train, "tuning/0": other, "held_out/0": [(901, *row[1:]) for row in other]}
    store, report = prepared(write_meds(tmp_path / "in", rows), tmp_path / "store", stay="admission")
    assert store.subject_ids("train", range(3)) == ["7/1", "7/2", "8/1"]
    heart = [[(m, v) for m, name, v in events(store, row=row) if name == "HR"] for row in range(3)]
    assert heart == [[(0.0, 1.0), (10.0, 2.0), (100.0, 3.0)], [(10.0, 5.0)], [(1.0, 6.0)]]
    assert [any(name == "GENDER//F" for _, name, _ in events(store, row=row)) for row in range(3)] == [
        True,
        True,
        False,
    ]
    assert "DX//old" not in store.vocabulary.names
    assert report.left_out_by_source == {"events_outside_admissions": 2}
    assert store.shard("train", 0).start_B.tolist() == [100 * 60_000_000, 300 * 60_000_000, 5 * 60_000_000]


def test_codes_may_be_replaced_by_their_parents(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "in", three(subject(7, (0, "LAB//1", 1.0, None), (1, "LAB//2", 2.0, None), *HEART)))
    codes = pa.table({"code": ["LAB//1", "LAB//2"], "parent_codes": [["LOINC/K"], None]})
    pq.write_table(codes, root / "metadata" / "codes.parquet")
    store, _ = prepared(root, tmp_path / "store", parent_codes=True)
    assert store.vocabulary.names == ("HR", "LAB//2", "LOINC/K")


def test_a_data_set_without_splits_is_divided_and_the_same_each_time(tmp_path: Path) -> None:
    rows = {"0": [row for n in range(50) for row in subject(n, (0, "HR", float(n), None))]}
    root = write_meds(tmp_path / "in", rows)
    first, report = prepared(root, tmp_path / "a")
    assert [report.splits[split].subjects for split in first.splits] == [32, 8, 10]
    assert "its subjects are divided 64/16/20 by --seed 0" in str(report)
    assert prepared(root, tmp_path / "b")[0].content_hash == first.content_hash
    assert prepared(root, tmp_path / "c", seed=1)[0].content_hash != first.content_hash


def cast(name: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    def of(table: pa.Table) -> pa.Table:
        column = table[name].combine_chunks()
        zoned = pa.types.is_timestamp(kind) and kind.tz
        found = pc.assume_timezone(column, "UTC").cast(kind) if zoned else column.cast(kind)
        return table.set_column(table.column_names.index(name), name, found)

    return of


PERMITTED: dict[str, Callable[[pa.Table], pa.Table]] = {
    "numbers of 64 bits": cast("numeric_value", pa.float64()),
    "a text as string_view": cast("text_value", pa.string_view()),
    "codes as large_string": cast("code", pa.large_string()),
    "codes as a dictionary": lambda table: table.set_column(2, "code", table["code"].dictionary_encode()),
    "times with a zone": cast("time", pa.timestamp("ns", "Europe/Paris")),
    "times in seconds": cast("time", pa.timestamp("s")),
    "whole numbers of 32 bits": cast("subject_id", pa.int32()),
    "further columns": lambda table: table.append_column("hadm_id", pa.array([{"a": [1]}] * len(table))),
    "rows twice": lambda table: table.take(np.repeat(np.arange(len(table)), 2)),
    "empty files": lambda table: table,
    "folders in folders": lambda table: table,
    "no metadata": lambda table: table,
}


@pytest.mark.parametrize("case", PERMITTED)
def test_what_meds_permits_makes_the_same_store(tmp_path: Path, case: str) -> None:
    events = [(None, "SEX//F", None, None), (0, "HR", 80.0, None), (1, "UA", None, "++"), (9, "HR", 82.5, None)]
    files = {
        f"{folder}/0": [row for n in range(4) for row in subject(10 * place + n, *events)]
        for place, folder in enumerate(("train", "tuning", "held_out"))
    }
    plain, _ = prepared(write_meds(tmp_path / "plain", files), tmp_path / "a")
    root = write_meds(tmp_path / "odd", files | ({"train/1": [], "train/2": []} if case == "empty files" else {}))
    for path in root.rglob("*.parquet"):
        pq.write_table(PERMITTED[case](pq.read_table(path)), path)
    if case == "folders in folders":
        for path in list(root.rglob("*.parquet")):
            (path.parent / "part" / "1").mkdir(parents=True)
            path.rename(path.parent / "part" / "1" / path.name)
    if case == "no metadata":
        shutil.rmtree(root / "metadata")
    assert prepared(root, tmp_path / "b")[0].content_hash == plain.content_hash


def test_a_data_set_of_codes_alone_has_no_number_anywhere(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "in", three(subject(7, (0, "ICD//1", None, None), (5, "HR", None, None))))
    for path in root.rglob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["numeric_value", "text_value"]), path)
    store, report = prepared(root, tmp_path / "store")
    assert report.without_number == {"HR": 1.0, "ICD//1": 1.0}
    assert np.isnan(store.shard("train", 0).value_N).all()


def test_subjects_of_further_splits_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [row for n in range(5) for row in subject(n, (0, "HR", float(n), None))]
    splits = {0: "train", 1: "tuning", 2: "held_out", 3: "calibration"}  # and 4 in none
    store, report = prepared(write_meds(tmp_path / "in", {"0": rows}, splits), tmp_path / "store")
    assert [store.n_subjects(split) for split in store.splits] == [1, 1, 1]
    assert report.left_out_by_source == {"events_of_subjects_in_none_of_these_splits": 2}


GOOD = subject(7, (0, "HR", 80.0, None))
BAD: dict[str, tuple[dict[str, list[Row]], dict[int, str] | None, str]] = {
    "apart in a file": (three([*GOOD, *subject(8, (0, "HR", 1.0, None)), *GOOD]), None, "rows of subject 7 do not lie"),
    "in two files": (three(GOOD) | {"train/1": GOOD}, None, "rows of subject 7 do not lie together"),
    "in two splits": (three(GOOD) | {"tuning/1": GOOD}, None, "subject 7 is in two splits"),
    "folder against table": (
        three(GOOD),
        {7: "held_out", 8: "train", 900: "tuning", 901: "held_out"},
        "subject 7 lies in the folder of split 'train', but subject_splits.parquet puts it in 'held_out'",
    ),
    "a split of another name": (
        three(GOOD),
        {7: "dev"},
        "no subject is in split 'train': the folders of data/ are held_out, train, ",
    ),
    "folders of other names": (
        {"train/0": GOOD, "val/0": subject(8, (0, "HR", 80.0, None))},
        None,
        "split 'tuning': the folders of data/ are train, val. Name them train, tuning, held_out, or ",
    ),
    "infinite": (
        three(subject(7, (0, "HR", math.inf, None))),
        None,
        "row 1, column 'numeric_value': inf is not a finite",
    ),
    "nameless": (three(subject(7, (0, " ", 1.0, None))), None, "row 1, column 'code': '' is empty; it must name"),
    "centuries apart": (
        three(subject(7, (0, "HR", 80.0, None), (525960.0 * 900, "HR", 80.0, None))),
        None,
        "row [12], column 'time': (1970-01-01T|28[67]).* is beyond any stay",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_meds_is_refused_in_words(tmp_path: Path, case: str) -> None:
    rows, splits, said = BAD[case]
    with pytest.raises(InputError, match=said):
        prepared(write_meds(tmp_path / "in", rows, splits), tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"subject_id": [1], "time": [None]}), "column 'code': missing"),
        (pa.table({"subject_id": ["a"], "time": pa.array([0], pa.timestamp("us")), "code": ["HR"]}), "no whole numbers|cannot be read"),
        (pa.table({"subject_id": [None, 7], "time": pa.array([0, 0], pa.timestamp("us")), "code": ["HR"] * 2}), "row 1.*without a subject"),
        (pa.table({"subject_id": [7], "time": [5.0], "code": ["HR"]}), "column 'time': holds double, but must hold timestamps"),
        (pa.table({"subject_id": [7], "time": pa.array([0], pa.timestamp("us")), "code": [5]}), "column 'code': holds int64"),
    ],
)  # fmt: skip
def test_files_of_other_columns_are_refused(tmp_path: Path, table: pa.Table, said: str) -> None:
    root = write_meds(tmp_path / "in", three(GOOD))
    pq.write_table(table, root / "data" / "train" / "0.parquet")
    with pytest.raises(InputError, match=rf"train/0.parquet.*({said})"):
        prepared(root, tmp_path / "store")
    (root / "data" / "train" / "0.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"train/0.parquet"):
        prepared(root, tmp_path / "store")


def test_no_folder_and_too_few_subjects_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data: no such folder. --input is the folder of a MEDS data set"):
        prepared(tmp_path, tmp_path / "store")
    root = write_meds(tmp_path / "in", three(GOOD))
    with pytest.raises(InputError, match="--min_subjects is 10, but no variable"):
        prepare(Meds(root), tmp_path / "store", progress=False)


@pytest.mark.parametrize("files", ["with folders of splits", "without"])
def test_a_row_without_a_subject_is_left_out_and_counted_or_named(tmp_path: Path, files: str) -> None:
    rows = [*subject(7, (0, "HR", 80.0, None), (1, "HR", 90.0, None)), *subject(8, (0, "HR", 70.0, None))]
    table = pa.table(
        {
            "subject_id": pa.array([7, None, 7, 8], pa.int64()),
            "time": pa.array([0, 0, 60_000_000, 0], pa.timestamp("us")),
            "code": ["HR"] * 4,
            "numeric_value": pa.array([80.0, 5000.0, 90.0, 70.0], pa.float32()),
        }
    )
    root = write_meds(tmp_path / "in", three(rows))
    right, _ = prepared(root, tmp_path / "right")
    pq.write_table(table, root / "data" / "train" / "0.parquet")
    if files == "without":
        shutil.move(root / "data" / "train" / "0.parquet", root / "data" / "all.parquet")
        splits = {"subject_id": [7, 8, 900, 901], "split": ["train", "train", "tuning", "held_out"]}
        (root / "metadata").mkdir(exist_ok=True)
        pq.write_table(pa.table(splits), root / "metadata" / "subject_splits.parquet")
    with pytest.raises(InputError, match=r"parquet, row 2, column 'subject_id': a row without a subject"):
        prepared(root, tmp_path / "stopped")
    report = prepare(Meds(root), tmp_path / "store", min_subjects=1, on_error="drop_row", progress=False)
    assert report.rows_dropped == {"subject is missing": 1}
    assert Store.open(tmp_path / "store").content_hash == right.content_hash
    assert "a row without a subject" in (tmp_path / "store" / "dropped_rows.csv").read_text()
