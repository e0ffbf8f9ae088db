"""Numbers and names of whatever type Arrow can turn into them make the store of the plain types; what is no data is left alone."""

from __future__ import annotations

import decimal
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from seqsetvae.data.statistics import Statistics
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError
from tests.support.small_ehr import events, prepared, stay, write_ehr

MINUTES, NAMES, VALUES = [0, 5, 65], ["Age", "HR", "SBP"], [60.0, 80.5, 120.0]


@pytest.fixture(scope="module")
def plain_hash(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("plain")
    root = write_ehr(folder / "in", lambda _: stay([float(m) for m in MINUTES], NAMES, VALUES))
    return prepared(root, folder / "store")[0].content_hash


TYPES: dict[str, pa.Table] = {
    "decimal": stay(MINUTES, NAMES, [decimal.Decimal(str(v)) for v in VALUES], value=pa.decimal128(12, 1)),
    "decimal256": stay(MINUTES, NAMES, [decimal.Decimal(str(v)) for v in VALUES], value=pa.decimal256(60, 20)),
    "float16": stay(MINUTES, NAMES, np.array(VALUES, np.float16), value=pa.float16()),
    "float32": stay(MINUTES, NAMES, VALUES, value=pa.float32()),
    "numbers as text": stay(MINUTES, NAMES, ["60", "8.05e1", " 120.0 "]),
    "numbers as text views": stay(MINUTES, NAMES, ["60", "80.5", "120"], value=pa.string_view()),
    "numbers in a dictionary": stay(MINUTES, NAMES, VALUES, value=pa.dictionary(pa.int8(), pa.float64())),
    "large text": stay(MINUTES, NAMES, VALUES, variable=pa.large_string()),
    "text views": stay(MINUTES, NAMES, VALUES, variable=pa.string_view()),
    "a dictionary": stay(MINUTES, NAMES, VALUES, variable=pa.dictionary(pa.int32(), pa.string())),
    "bytes": stay(MINUTES, [name.encode() for name in NAMES], VALUES, variable=pa.binary()),
    "minutes as decimals": stay([decimal.Decimal(m) for m in MINUTES], NAMES, VALUES, minute=pa.decimal128(9, 2)),
    "small minutes": stay(MINUTES, NAMES, VALUES, minute=pa.int8()),
}


@pytest.mark.parametrize("case", TYPES)
def test_every_type_makes_the_store_of_the_plain_ones(tmp_path: Path, case: str, plain_hash: str) -> None:
    root = write_ehr(tmp_path / "in", lambda _: TYPES[case])
    assert prepared(root, tmp_path / "store")[0].content_hash == plain_hash


def test_types_may_differ_between_the_stays(tmp_path: Path, plain_hash: str) -> None:
    tables = list(TYPES.values())[-9:]
    root = write_ehr(tmp_path / "in", lambda n: tables[n])
    assert prepared(root, tmp_path / "store")[0].content_hash == plain_hash


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (stay([0], [b"HR\xff"], [1.0]), "column 'variable': bytes that are not UTF-8"),
        (stay([0], [["HR"]], [1.0]), r"column 'variable': holds list<.*>, but must hold text"),
        (stay([0], ["HR"], [[1.0]]), r"column 'value': holds list<.*>, but must hold numbers"),
        (stay(["00:07"], ["HR"], [1.0]), "column 'minute': holds string, but must hold numbers, timestamps or dates"),
        (
            pa.table([[0.0], ["HR"], [1.0], [2.0]], names=["minute", "variable", "value", "value"]),
            "'value': there twice",
        ),
        (
            pa.table({"subject_id": [1], "time": [None], "code": ["HR"]}),
            "This looks like MEDS: `seqsetvae prepare meds`",
        ),
        (pa.table({"variable": pa.nulls(0), "value": pa.nulls(0), "minute": pa.nulls(0)}), "the stay holds no event"),
    ],
)
def test_what_is_none_of_these_is_refused_in_words(tmp_path: Path, table: pa.Table, said: str) -> None:
    good = stay(MINUTES, NAMES, VALUES)
    root = write_ehr(tmp_path / "in", lambda n: table if n == 1 else good)
    with pytest.raises(InputError, match=rf"train/200001.parquet.*{said}"):
        prepared(root, tmp_path / "store")
    _, report = prepared(root, tmp_path / "store", on_error="quarantine")
    assert report.quarantined == 1


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    bytes_of = pa.array([b"HR", b"H\xff"], pa.binary())
    names = pa.StringArray.from_buffers(2, *bytes_of.buffers()[1:])
    table = pa.table({"variable": names, "value": [1.0, 2.0], "minute": [0.0, 1.0]})
    root = write_ehr(tmp_path / "in", lambda n: table if n == 1 else stay(MINUTES, NAMES, VALUES))
    with pytest.raises(InputError, match=r"200001.parquet, column 'variable': text that is not UTF-8"):
        prepared(root, tmp_path / "store")


def test_names_are_stripped_counted_and_merged_and_near_duplicates_are_reported(tmp_path: Path) -> None:
    spellings = ["HR", " HR ", "HR\t", "hr", "H_R"]
    root = write_ehr(tmp_path / "in", lambda _: stay([0, 1, 2, 3, 4], spellings, [1.0, 2.0, 3.0, 4.0, 5.0]))
    store, report = prepared(root, tmp_path / "store")
    assert store.vocabulary.names == ("HR", "H_R", "hr")
    assert report.names_stripped == 2 * 9
    assert report.near_duplicates == [("HR", "H_R", "hr")]
    assert "nearly the same, kept apart: 'HR', 'H_R', 'hr'" in str(report)


def test_repeats_are_found_under_both_spellings_of_a_name(tmp_path: Path) -> None:
    root = write_ehr(tmp_path / "in", lambda _: stay([0, 0], ["HR", "HR "], [1.0, 2.0]))
    store, report = prepared(root, tmp_path / "store")
    assert events(store) == [(0.0, "HR", 2.0)]
    assert report.repeated_measurements == 9


def test_files_that_are_not_data_are_skipped_and_counted(tmp_path: Path, plain_hash: str) -> None:
    root = write_ehr(tmp_path / "in", lambda _: stay(MINUTES, NAMES, VALUES))
    for name in ("._200000.parquet", ".DS_Store", "_SUCCESS", "notes.txt"):
        (root / "train" / name).write_bytes(b"\0\5\x16\7")
    (root / "train" / "200000.parquet").rename(root / "train" / "200000.PARQUET")
    store, report = prepared(root, tmp_path / "store")
    assert report.left_out_by_source == {"files_that_are_not_data": 4}
    assert store.content_hash == plain_hash


def test_a_pipe_and_a_folder_named_as_stays_are_refused_and_do_not_hang(tmp_path: Path) -> None:
    root = write_ehr(tmp_path / "in", lambda _: stay(MINUTES, NAMES, VALUES))
    os.mkfifo(root / "train" / "300000.parquet")
    (root / "valid" / "300001.parquet").mkdir()
    _, report = prepared(root, tmp_path / "store", on_error="quarantine")
    assert report.quarantined == 2
    assert all("not a file" in reason for reason in report.first_reasons)


def test_every_value_that_float32_holds_is_finite_after_scaling(tmp_path: Path) -> None:
    """3e36 with a spread of 0.001 was finite as given, and infinite once scaled."""
    wild = [3e36, -3.4e38, 3.4e38, 1e-45]
    values = [*(7.38 + 0.001 * k for k in range(-3, 4)), *wild]
    root = write_ehr(tmp_path / "in", lambda _: stay(list(range(len(values))), ["pH"] * len(values), values))
    store, _ = prepared(root, tmp_path / "store")
    scaled = store.gather("valid", 0, np.array([0, 1])).value_N.numpy()
    assert np.isfinite(scaled).all()
    center, spread = store.vocabulary.center_V[0], store.vocabulary.spread_V[0]
    expected = np.arcsinh((np.float64(np.float32(3e36)) - center) / spread)
    assert scaled[7] == pytest.approx(expected, rel=1e-5)

    tiny = Vocabulary(("x", "y"), Statistics.empty(2), np.array([0.0, -3e38]), np.array([1.2e-38, 1e-3]))
    value = np.array([3.4e38, -3.4e38, 0.0, 3.4e38, -3e38], np.float32)
    found = tiny.scale(np.array([0, 0, 0, 1, 1]), value)
    exact = np.arcsinh((value.astype(np.float64) - [0, 0, 0, -3e38, -3e38]) / [1.2e-38, 1.2e-38, 1.2e-38, 1e-3, 1e-3])
    np.testing.assert_allclose(found[:4], exact[:4], rtol=1e-5)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("std", ["0", "-1", "1e-300", "1e-40"])
def test_a_published_spread_that_cannot_divide_is_replaced_and_said(tmp_path: Path, std: str) -> None:
    root = write_ehr(tmp_path / "in", lambda _: stay(MINUTES, NAMES, VALUES))
    (root / "stats.csv").write_text(f"variable,mean,std\nAge,60,{std}\nHR,80,10\nSBP,120,10\n")
    store, report = prepared(root, tmp_path / "store", scaling="stats")
    assert store.vocabulary.spread_V.tolist() == [1.0, 10.0, 10.0]
    assert any("'Age'" in warning and "1 is used" in warning for warning in report.warnings)
    (root / "stats.csv").write_text("variable,mean,std\nAge,1e300,1\nHR,80,10\nSBP,120,10\n")
    with pytest.raises(InputError, match=r"stats.csv, row 1, column 'mean': '1e300' is not a finite number"):
        prepared(root, tmp_path / "store", scaling="stats")
