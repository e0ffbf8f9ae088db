"""No label is lost in silence: every row and every stay is accounted for, whatever the file is and however the ids are written."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from tests.support.small_ehr import prepared, stay, write_ehr

EXPECTED = [0.0, 1.0, 0.0]
IDS = [str(200000 + number) for number in range(9)]
LABELS = [number % 2 for number in range(9)]


def ehr(root: Path) -> Path:
    return write_ehr(root, lambda _: stay([0.0, 5.0], ["HR", "BP"], [80.0, 120.0]), labels=None)


def table(ids: list[str], separator: str = ",", ending: str = "\n") -> str:
    rows = [separator.join(("ts_id", "in_hospital_mortality"))]
    rows += [f"{name}{separator}{label}" for name, label in zip(ids, LABELS, strict=True)]
    return ending.join(rows) + ending


def train_labels(store: Store) -> list[float]:
    return store.labels("train").tolist()


FILES = {
    "oc.csv": table(IDS).encode(),
    "oc.csv.gz": gzip.compress(table(IDS).encode()),
    "semicolons and a byte-order mark": b"\xef\xbb\xbf" + table(IDS, ";", "\r\n").encode(),
    "tabs": table(IDS, "\t").encode(),
    "ids as floats": table([f"{name}.0" for name in IDS]).encode(),
    "scientific ids": table([f"{int(name):.5e}" for name in IDS]).encode(),
    "blanks": table([f"  {name} " for name in IDS]).encode(),
}


@pytest.mark.parametrize("case", FILES)
def test_labels_are_read_alike(tmp_path: Path, case: str) -> None:
    root = ehr(tmp_path / "in")
    (root / (case if case.startswith("oc") else "oc.csv")).write_bytes(FILES[case])
    store, report = prepared(root, tmp_path / "store")
    assert train_labels(store) == EXPECTED
    assert report.labels is not None
    assert (report.labels.rows, report.labels.without_subject) == (9, 0)


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        (pa.array(IDS), pa.array(LABELS)),
        (pa.array([int(name) for name in IDS]), pa.array([bool(label) for label in LABELS])),
        (pa.array([float(name) for name in IDS]), pa.array([float(label) for label in LABELS])),
    ],
)
def test_a_parquet_table_of_any_type_is_read_like_a_csv_file(tmp_path: Path, ids: pa.Array, labels: pa.Array) -> None:
    root = ehr(tmp_path / "in")
    pq.write_table(pa.table({"ts_id": ids, "in_hospital_mortality": labels}), root / "oc.parquet")
    assert train_labels(prepared(root, tmp_path / "store")[0]) == EXPECTED


@pytest.mark.parametrize("ids", [[str(k) for k in range(9)], [f"0{name}" for name in IDS], ["1.23457e+06"] * 9])
def test_a_table_none_of_whose_rows_is_of_a_stay_is_an_error(tmp_path: Path, ids: list[str]) -> None:
    root = ehr(tmp_path / "in")
    (root / "oc.csv").write_text(table(ids))
    for on_error in ("stop", "quarantine", "drop_row"):
        with pytest.raises(
            InputError, match=rf"oc.csv: 9 rows, 0 match a stay, e.g. '{ids[0]}' against '200000'".replace("+", r"\+")
        ):
            prepared(root, tmp_path / "store", on_error=on_error)
    assert not (tmp_path / "store").exists()


def test_leading_zeros_are_part_of_an_id(tmp_path: Path) -> None:
    root = ehr(tmp_path / "in")
    for path in root.glob("*/*.parquet"):
        path.rename(path.with_name(path.name.replace("2", "0", 1)))
    (root / "oc.csv").write_text(table([name.replace("2", "0", 1) for name in IDS]))
    assert train_labels(prepared(root, tmp_path / "store")[0]) == EXPECTED


def test_rows_without_a_stay_and_stays_without_a_row_are_counted(tmp_path: Path) -> None:
    root = ehr(tmp_path / "in")
    (root / "oc.csv").write_text("ts_id,in_hospital_mortality\n200001,1\n999,0\n998,\n200002,\n")
    store, report = prepared(root, tmp_path / "store")
    np.testing.assert_array_equal(train_labels(store), [math.nan, 1.0, math.nan])
    assert report.labels is not None
    assert (report.labels.rows, report.labels.without_subject) == (4, 2)
    assert "4 rows, 2 of no subject, e.g. '999'" in str(report)
    assert "(2 without label)" in str(report)
    assert "nan" not in str(report)


BROKEN = {
    "other columns": (b"ts_id,died\n200000,0\n", "column 'in_hospital_mortality': missing"),
    "a column twice": (b"ts_id,ts_id,in_hospital_mortality\n1,1,0\n", "column 'ts_id': there twice"),
    "not text": (b"\xff\xfe\0\1", "not a readable CSV file"),
    "a short row": (b"ts_id,in_hospital_mortality\n200000\n", "row 1: 1 cells, but the header has 2"),
    "an open quote": (b'ts_id,in_hospital_mortality\n"200000,0\n', "not a readable CSV file"),
    "nothing": (b"", "column 'ts_id': missing"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("on_error", ["stop", "quarantine", "drop_row"])
def test_a_broken_table_is_one_error_about_that_table(tmp_path: Path, case: str, on_error: str) -> None:
    content, said = BROKEN[case]
    root = ehr(tmp_path / "in")
    (root / "oc.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"^{root}/oc.csv.*{said}"):
        prepared(root, tmp_path / "store", on_error=on_error)


@pytest.mark.parametrize(
    ("name", "content"), [("oc.csv.gz", b"\x1f\x8bbroken"), ("oc.parquet", b"PAR1"), ("oc.csv.gz", b"")]
)
def test_a_damaged_archive_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    root = ehr(tmp_path / "in")
    (root / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*(not a readable|missing)"):
        prepared(root, tmp_path / "store")


@pytest.mark.parametrize("name", ["oc.zip", "oc.xlsx", "OC.csv", "oc.CSV.gz"])
def test_a_table_of_another_form_is_named_and_not_passed_over(tmp_path: Path, name: str) -> None:
    root = ehr(tmp_path / "in")
    (root / name).write_text(table(IDS))
    with pytest.raises(InputError, match=rf"{name}: not read in this form. Write it as oc.csv, oc.csv.gz"):
        prepared(root, tmp_path / "store")
    (root / "oc.csv").write_text(table(IDS))
    prepared(root, tmp_path / "store")


def test_two_tables_of_outcomes_are_refused(tmp_path: Path) -> None:
    root = ehr(tmp_path / "in")
    (root / "oc.csv").write_text(table(IDS))
    (root / "oc.csv.gz").write_bytes(gzip.compress(table(IDS).encode()))
    with pytest.raises(InputError, match=r"oc.csv: oc.csv.gz is there too"):
        prepared(root, tmp_path / "store")


def test_a_bad_label_costs_the_label_alone_where_bad_rows_are_dropped(tmp_path: Path) -> None:
    root = ehr(tmp_path / "in")
    (root / "oc.csv").write_text(table(IDS).replace("200001,1", "200001,2"))
    store, report = prepared(root, tmp_path / "store", on_error="drop_row")
    np.testing.assert_array_equal(train_labels(store), [0.0, math.nan, 0.0])
    assert report.rows_dropped == {"label cannot be used": 1}
    _, report = prepared(root, tmp_path / "store", on_error="quarantine")
    assert report.quarantined == 1
