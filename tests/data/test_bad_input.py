"""Every unusable input is refused with file, row or column and a remedy, and leaves nothing behind."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import PatientEhr
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError

Edit = Callable[..., Path]
Rows = Callable[[list[list[str]]], list[list[str]]]
Change = Callable[[pd.DataFrame], pd.DataFrame]


def set_cell(column: str, row: int, value: Any) -> Change:
    """Put `value` into a 1-based data row."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row - 1, column] = value
        return frame

    return change


def two_minutes_in_one_set(frame: pd.DataFrame) -> pd.DataFrame:
    frame["set_index"] = frame["minute"].rank(method="dense").astype("int32") - 1
    return set_cell("minute", len(frame), frame["minute"].max() + 1.0)(frame)


BAD_STAYS: dict[str, tuple[Change, str]] = {
    "no column": (lambda f: f.drop(columns="minute"), r"column 'minute': missing. The file has variable, value"),
    "text values": (
        lambda f: set_cell("value", 3, "high")(f.astype({"value": object})).astype({"value": str}),
        r", row 3, column 'value': 'high' is not a finite number. --without_number keep",
    ),
    "two of a column": (
        lambda f: pd.concat([f, f[["value"]].rename(columns={"value": "extra"})], axis=1).rename(
            columns={"extra": "set_index"}
        ),
        r"column 'set_index': set",
    ),
    "number names": (lambda f: f.assign(variable=1), r"column 'variable': holds int64, but must hold text"),
    "NaN value": (set_cell("value", 3, float("nan")), r", row 3, column 'value': nan is not a finite number"),
    "infinite value": (set_cell("value", 2, float("inf")), r", row 2, column 'value': inf is not a finite number"),
    "beyond float32": (set_cell("value", 2, 1e300), r", row 2, column 'value': 1e\+300 is not a finite number"),
    "NaN time": (set_cell("minute", 4, float("nan")), r", row 4, column 'minute': nan is not a time"),
    "negative time": (set_cell("minute", 5, -1.0), r", row 5, column 'minute': -1 is negative"),
    "null name": (set_cell("variable", 1, None), r", row 1, column 'variable': .* empty"),
    "empty stay": (lambda f: f.iloc[:0], r"the stay holds no event. Remove it"),
    "empty stay without columns": (lambda f: pd.DataFrame(), r"the stay holds no event. Remove it"),
    "torn set": (two_minutes_in_one_set, r"column 'set_index': set \d+ has minute"),
}


@pytest.mark.parametrize("case", BAD_STAYS)
def test_a_bad_stay_stops_or_is_set_aside(ehr_folder: Path, edit_stay: Edit, tmp_path: Path, case: str) -> None:
    change, message = BAD_STAYS[case]
    path = edit_stay(change)
    output = tmp_path / "store"
    with pytest.raises(InputError, match=message) as caught:
        prepare(PatientEhr(ehr_folder), output, progress=False)
    assert str(caught.value).startswith(str(path))
    assert "--on_error quarantine" in str(caught.value)
    assert list(tmp_path.iterdir()) == [ehr_folder]

    report = prepare(PatientEhr(ehr_folder), output, on_error="quarantine", progress=False)
    assert report.quarantined == 1
    assert report.splits["train"].subjects == 3
    with (output / "quarantine.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["split"], row["subject_id"]) for row in rows] == [("train", path.name.removesuffix(".0.parquet"))]
    assert rows[0]["reason"].startswith(str(path))
    assert json.loads((output / "manifest.json").read_text())["report"]["quarantined"] == 1
    page = (output / "report.html").read_text()
    assert "subjects quarantined: 1; " in page
    assert path.name.removesuffix(".0.parquet") not in page


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"not parquet", lambda data: b""])
def test_a_truncated_or_foreign_file_is_named(
    ehr_folder: Path, edit_stay: Edit, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = edit_stay(lambda frame: frame)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="not a readable Parquet file"):
        prepare(PatientEhr(ehr_folder), tmp_path / "store", progress=False)
    assert prepare(PatientEhr(ehr_folder), tmp_path / "store", on_error="quarantine", progress=False).quarantined == 1


def rewrite(path: Path, change: Rows) -> None:
    """Change the data rows of a CSV file; the header stays."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *change(rows)])


def test_a_label_other_than_0_and_1_is_refused(ehr_folder: Path, tmp_path: Path) -> None:
    rewrite(ehr_folder / "oc.csv", lambda rows: [[rows[0][0], "2"], *rows[1:]])
    with pytest.raises(InputError, match=r"oc.csv, row 1, column 'in_hospital_mortality': '2' is not a label"):
        prepare(PatientEhr(ehr_folder), tmp_path / "store", progress=False)


def test_contradicting_labels_are_refused_and_repeated_ones_are_not(ehr_folder: Path, tmp_path: Path) -> None:
    rewrite(ehr_folder / "oc.csv", lambda rows: [*rows, rows[0]])
    prepare(PatientEhr(ehr_folder), tmp_path / "store", progress=False)
    rewrite(ehr_folder / "oc.csv", lambda rows: [*rows, [rows[0][0] + ".0", str(1 - int(rows[0][1]))]])
    with pytest.raises(InputError, match=r"oc.csv, row 14: subject '\d+' has label . here and . in row 1"):
        prepare(PatientEhr(ehr_folder), tmp_path / "store", progress=False)


@pytest.mark.parametrize("drop", [lambda rows: rows[1:], lambda rows: [[rows[0][0], ""], *rows[1:]]])
def test_a_missing_label_is_missing_and_never_0(ehr_folder: Path, tmp_path: Path, drop: Rows) -> None:
    with (ehr_folder / "oc.csv").open() as file:
        first = list(csv.reader(file))[1][0]
    rewrite(ehr_folder / "oc.csv", drop)
    report = prepare(PatientEhr(ehr_folder), tmp_path / "store", progress=False)
    assert sum(split.subjects - split.labelled for split in report.splits.values()) == 1
    assert "(1 without label)" in str(report)
    store = Store.open(tmp_path / "store")
    unlabelled = [
        name
        for split in store.splits
        for name, label in zip(
            store.subject_ids(split, range(store.n_subjects(split))), store.labels(split), strict=True
        )
        if math.isnan(label)
    ]
    assert unlabelled == [first]


def test_no_outcome_table_at_all_means_no_labels(ehr_folder: Path, tmp_path: Path) -> None:
    (ehr_folder / "oc.csv").unlink()
    report = prepare(PatientEhr(ehr_folder), tmp_path / "store", progress=False)
    assert sum(split.labelled for split in report.splits.values()) == 0
    with pytest.raises(InputError, match="no such file"):
        prepare(PatientEhr(ehr_folder, label_path=ehr_folder / "oc.csv"), tmp_path / "store", progress=False)


def test_an_outcome_table_without_its_column_is_refused(ehr_folder: Path, tmp_path: Path) -> None:
    (ehr_folder / "oc.csv").write_text("ts_id,died\n1,0\n")
    with pytest.raises(InputError, match=r"oc.csv, column 'in_hospital_mortality': missing. The file has ts_id, died"):
        prepare(PatientEhr(ehr_folder), tmp_path / "store", progress=False)


def without(name: str) -> Rows:
    return lambda rows: [row for row in rows if row[0] != name]


BAD_TABLES: dict[str, tuple[str, Rows, str]] = {
    "cached lacks a variable": ("cached.csv", without("HR"), "cached.csv: no row for 'HR'"),
    "cached holds text": (
        "cached.csv",
        lambda rows: [*rows[:2], [rows[2][0], "a", "0", "0"], *rows[3:]],
        "cached.csv, row 3, column '0': 'a' is not a finite number",
    ),
    "cached row is short": (
        "cached.csv",
        lambda rows: [rows[0][:-1], *rows[1:]],
        "cached.csv, row 1: 3 cells, but the header has 4",
    ),
    "cached row is long": (
        "cached.csv",
        lambda rows: [*rows[:-1], [*rows[-1], "1"]],
        r"cached.csv, row \d+: 5 cells, but the header has 4",
    ),
    "stats lacks a variable": ("stats.csv", without("Temp"), "stats.csv: no row for 'Temp'"),
    "stats holds text": (
        "stats.csv",
        lambda rows: [[rows[0][0], "x", *rows[0][2:]], *rows[1:]],
        "stats.csv, row 1, column 'mean': 'x' is not a finite number",
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused(ehr_folder: Path, tmp_path: Path, case: str) -> None:
    name, change, message = BAD_TABLES[case]
    rewrite(ehr_folder / name, change)
    with pytest.raises(InputError, match=message):
        prepare(PatientEhr(ehr_folder), tmp_path / "store", scaling="stats", progress=False)
    assert not (tmp_path / "store").exists()


def test_stats_scaling_without_a_table_is_refused(ehr_folder: Path, tmp_path: Path) -> None:
    (ehr_folder / "stats.csv").unlink()
    with pytest.raises(InputError, match=r"--scaling stats needs a stats.csv"):
        prepare(PatientEhr(ehr_folder), tmp_path / "store", scaling="stats", progress=False)


def test_a_missing_split_an_empty_split_and_a_shared_subject_are_refused(ehr_folder: Path, tmp_path: Path) -> None:
    train, test = (ehr_folder / "patient_ehr" / split for split in ("train", "test"))
    shared = train / sorted(test.iterdir())[0].name.replace(".0.parquet", ".parquet")
    shared.write_bytes(sorted(test.iterdir())[0].read_bytes())
    with pytest.raises(InputError, match=r"test/\d+.0.parquet: subject '\d+' is also in .*train/\d+.parquet"):
        prepare(PatientEhr(ehr_folder), tmp_path / "store", progress=False)
    shared.unlink()

    for path in test.iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"test: no .parquet file"):
        prepare(PatientEhr(ehr_folder), tmp_path / "store", progress=False)
    test.rmdir()
    with pytest.raises(InputError, match=r"test: no such folder. The input needs the folders train, valid, test.$"):
        prepare(PatientEhr(ehr_folder), tmp_path / "store", progress=False)
    (ehr_folder / "patient_ehr" / "data").mkdir()
    with pytest.raises(InputError, match="This looks like MEDS: `seqsetvae prepare meds` reads it"):
        prepare(PatientEhr(ehr_folder), tmp_path / "store", progress=False)


def test_a_split_with_no_usable_subject_is_refused(ehr_folder: Path, tmp_path: Path) -> None:
    for path in (ehr_folder / "patient_ehr" / "valid").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"split 'valid' .* has no usable subject"):
        prepare(PatientEhr(ehr_folder), tmp_path / "store", on_error="quarantine", progress=False)


@pytest.mark.parametrize(("option", "value"), [("on_error", "ignore"), ("scaling", "minmax"), ("shard_events", 0)])
def test_an_option_out_of_range_is_named(ehr_folder: Path, tmp_path: Path, option: str, value: object) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(InputError, match=f"--{option} is {value!r}"):
        prepare(PatientEhr(ehr_folder), tmp_path / "store", **options, progress=False)
