"""Whatever the raw data are, `prepare` makes a store of finite numbers or says in words what is wrong: never a traceback."""

from __future__ import annotations

import datetime as dt
import gzip
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import SPLITS, Meds, PatientEhr, PhysioNet2012, Source
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from tests.support.meds_data import Row, write_meds
from tests.support.small_ehr import stay, write_ehr

FUZZ = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

NUMBERS = st.one_of(
    st.floats(width=64),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([2**53 + 1, 1e39, 3.4e38, -0.0, 5e-324, 1e300]),
)
TEXTS = st.one_of(st.text(max_size=6), st.sampled_from(["", " HR ", "nan", "1_0", "²", "1e400", "9" * 5000, "HR//x"]))
MOMENTS = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))
COLUMNS = st.one_of(
    st.lists(st.one_of(st.none(), st.floats(width=64)), min_size=3, max_size=3).map(
        lambda x: pa.array(x, pa.float64())
    ),
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=3, max_size=3).map(
        lambda x: pa.array(x, pa.int64())
    ),
    st.lists(st.one_of(st.none(), TEXTS), min_size=3, max_size=3).map(lambda x: pa.array(x, pa.string())),
    st.lists(st.binary(max_size=4), min_size=3, max_size=3).map(lambda x: pa.array(x, pa.binary())),
    st.lists(st.one_of(st.none(), MOMENTS), min_size=3, max_size=3).map(lambda x: pa.array(x, pa.timestamp("us"))),
    st.lists(st.one_of(st.none(), st.dates()), min_size=3, max_size=3).map(lambda x: pa.array(x, pa.date32())),
    st.lists(st.booleans(), min_size=3, max_size=3).map(pa.array),
    st.just(pa.nulls(3)),
)

MEDS_COLUMNS = ("subject_id", "time", "code", "numeric_value", "text_value")
MEDS_ROWS: dict[str, list[Row]] = {
    f"{split}/0": [(number, minute, "HR", 80.0, None) for minute in (0.0, 5.0)]
    for number, split in enumerate(("train", "tuning", "held_out"), start=900)
}
"""A subject in each split."""


def finite_store_or_words(source: Source, **options: Any) -> None:
    """Prepare; what comes out is a store with finite batches, or an error in words with nothing written."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "store"
        try:
            prepare(source, output, progress=False, **options)
        except InputError:
            assert list(Path(folder).iterdir()) == []
            return
        store = Store.open(output)
        for split in store.splits:
            batch = store.gather(split, 0, np.arange(store.shards(split)[0].subjects))
            assert np.isfinite(batch.value_N.numpy()).all()
            assert np.isfinite(batch.minute_S.numpy()).all()
            same = batch.subject_S[1:] == batch.subject_S[:-1]
            assert (batch.minute_S.diff()[same] > 0).all()


@FUZZ
@given(
    columns=st.tuples(COLUMNS, COLUMNS, COLUMNS),
    names=st.lists(st.sampled_from(["variable", "value", "minute", "set_index", "time"]), min_size=3, max_size=4),
    on_error=st.sampled_from(["stop", "quarantine", "drop_row"]),
    without_number=st.sampled_from(["refuse", "keep"]),
    window=st.sampled_from([0.0, 1.0, 60.0]),
)
@example(
    (pa.array([1e39, 0.0, 1.0]), pa.array(["a"] * 3), pa.array([1.0, 2.0, 3.0])),
    ["minute", "variable", "value"],
    "drop_row",
    "keep",
    1.0,
)
def test_any_table_of_a_stay(columns, names, on_error, without_number, window) -> None:
    arrays = [*columns, columns[0]][: len(names)]
    table = pa.Table.from_arrays(arrays, names=names)
    with tempfile.TemporaryDirectory() as folder:
        root = write_ehr(Path(folder), lambda n: table if n % 2 else stay([0.0, 1.0], ["HR", "BP"], [80.0, 120.0]))
        finite_store_or_words(PatientEhr(root), on_error=on_error, without_number=without_number, set_window=window)


@FUZZ
@given(
    variable=st.lists(TEXTS, min_size=4, max_size=4),
    value=st.lists(st.one_of(st.none(), NUMBERS.map(float)), min_size=4, max_size=4),
    minute=st.lists(st.one_of(NUMBERS.map(float), st.floats(0.0, 1e7)), min_size=4, max_size=4),
    on_error=st.sampled_from(["quarantine", "drop_row"]),
)
def test_any_cells_of_the_right_columns(variable, value, minute, on_error) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write_ehr(
            Path(folder), lambda n: stay(minute, variable, value) if n % 2 else stay([0.0], ["HR"], [80.0])
        )
        finite_store_or_words(PatientEhr(root), on_error=on_error, without_number="keep")


@FUZZ
@given(
    content=st.binary(max_size=60),
    name=st.sampled_from(["oc.csv", "oc.csv.gz", "oc.parquet", "stats.csv", "cached.csv"]),
)
@example(b"ts_id,in_hospital_mortality\n\xff,1\n", "oc.csv")
@example(gzip.compress(b"a,b\n1")[:-4], "oc.csv.gz")
@example(b"Key\nHR\nBP\n", "cached.csv")
@example(b"variable,mean,std\n", "stats.csv")
@example(b"ts_id,in_hospital_mortality\n200000," + b"9" * 5000 + b"\n", "oc.csv")
@example(b'"' + b"a" * 200_000, "oc.csv")
def test_any_bytes_in_the_tables_beside_the_stays(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write_ehr(Path(folder), lambda _: stay([0.0, 5.0], ["HR", "BP"], [80.0, 120.0]), labels=None)
        (root / name).write_bytes(content)
        finite_store_or_words(PatientEhr(root), scaling="stats" if name == "stats.csv" else "robust")


@FUZZ
@given(content=st.binary(max_size=80), on_error=st.sampled_from(["stop", "quarantine", "drop_row"]))
@example(b"", "stop")
def test_any_bytes_in_place_of_a_stay(content: bytes, on_error: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write_ehr(Path(folder), lambda _: stay([0.0, 5.0], ["HR", "BP"], [80.0, 120.0]))
        (root / "train" / "200000.parquet").write_bytes(content)
        finite_store_or_words(PatientEhr(root), on_error=on_error)


@FUZZ
@given(
    columns=st.tuples(*[COLUMNS] * 5),
    lacking=st.sets(st.sampled_from(MEDS_COLUMNS), max_size=2),
    stay=st.sampled_from(["subject", "admission"]),
    where=st.sampled_from(["data/train/0.parquet", "metadata/subject_splits.parquet", "metadata/codes.parquet"]),
    on_error=st.sampled_from(["stop", "quarantine", "drop_row"]),
)
def test_any_table_of_a_meds_data_set(columns, lacking, stay, where, on_error) -> None:
    named = {name: column for name, column in zip(MEDS_COLUMNS, columns, strict=True) if name not in lacking}
    if where.startswith("metadata"):
        named |= {"split": columns[0], "parent_codes": columns[1]}
    with tempfile.TemporaryDirectory() as folder:
        root = write_meds(Path(folder), MEDS_ROWS)
        pq.write_table(pa.table(named), root / where)
        source = Meds(root, stay=stay, parent_codes=where.endswith("codes.parquet"))
        finite_store_or_words(source, on_error=on_error, min_subjects=1)


@FUZZ
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([1, 2, 2**62, -1]),
            st.one_of(st.none(), st.floats(-1e9, 1e9), st.sampled_from([0.0, 5.0])),
            st.one_of(TEXTS, st.sampled_from(["HOSPITAL_ADMISSION", "HOSPITAL_DISCHARGE", "HR"])),
            st.one_of(st.none(), st.floats(width=32)),
            st.one_of(st.none(), TEXTS),
        ),
        min_size=1,
        max_size=6,
    ).map(lambda rows: sorted(rows, key=lambda row: row[0])),
    stay=st.sampled_from(["subject", "admission"]),
    on_error=st.sampled_from(["quarantine", "drop_row"]),
)
def test_any_cells_of_a_meds_data_set(rows, stay, on_error) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write_meds(Path(folder), MEDS_ROWS | {"train/1": rows})
        finite_store_or_words(Meds(root, stay=stay), on_error=on_error, min_subjects=1)


@FUZZ
@given(
    content=st.binary(max_size=60),
    where=st.sampled_from(["data/train/0.parquet", "metadata/subject_splits.parquet", "metadata/dataset.json"]),
)
@example(b"[1]", "metadata/dataset.json")
@example(b"\xff", "metadata/dataset.json")
@example(b"[" * 5000, "metadata/dataset.json")
def test_any_bytes_in_a_meds_data_set(content: bytes, where: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write_meds(Path(folder), MEDS_ROWS)
        (root / where).write_bytes(content)
        finite_store_or_words(Meds(root), min_subjects=1)


ROWS = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.tuples(
            st.sampled_from(["00:07", "²:00", "-1:30", "99999999999999:00", "7", "", "00:60", "\u0661:00"]),
            st.sampled_from(["HR", "", " ", "RecordID", "Age", "\u00e9"]),
            st.sampled_from(["80", "-1", "nan", "inf", "1e999", "1_0", "", "high", "9" * 400, "0x10"]),
        ).map(lambda cells: ",".join(cells).encode()),
    ),
    max_size=5,
)


@FUZZ
@given(
    rows=ROWS, on_error=st.sampled_from(["stop", "quarantine", "drop_row"]), ending=st.sampled_from([b"\n", b"\r\n"])
)
def test_any_rows_of_a_record(rows: list[bytes], on_error: str, ending: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "set-a").mkdir()
        for number in range(12):
            body = [b"Time,Parameter,Value", b"00:00,Age,70", *(rows if number % 3 == 0 else [b"00:07,HR,80"])]
            (root / "set-a" / f"{1000 + number}.txt").write_bytes(ending.join(body) + ending)
        outcomes = ["RecordID,In-hospital_death", *(f"{1000 + number},{number % 2}" for number in range(12))]
        (root / "Outcomes-a.txt").write_text("\n".join(outcomes))
        finite_store_or_words(PhysioNet2012(root), on_error=on_error)


@pytest.mark.parametrize("split", SPLITS)
def test_empty_folders_and_files_without_bytes(tmp_path: Path, split: str) -> None:
    root = write_ehr(tmp_path / "in", lambda _: stay([0.0], ["HR"], [80.0]))
    for path in (root / split).iterdir():
        path.write_bytes(b"")
    for on_error in ("stop", "quarantine", "drop_row"):
        finite_store_or_words(PatientEhr(root), on_error=on_error)
    for path in (root / split).iterdir():
        path.unlink()
    finite_store_or_words(PatientEhr(root))
    finite_store_or_words(PatientEhr(tmp_path / "nowhere"))
    finite_store_or_words(PhysioNet2012(root))
