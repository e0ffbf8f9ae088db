"""A table of events gives what the store gives, and says which row is wrong."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from seqsetvae.data.demo_store import open_store
from seqsetvae.data.events_table import read_events
from seqsetvae.errors import InputError


def test_the_same_batch_as_from_the_store_whatever_the_order_of_rows(demo_frame):
    store = open_store("demo")
    names = store.subject_ids("test", [0, 1, 2])
    frame = demo_frame[demo_frame["subject_id"].astype(str).isin(names)]
    frame = frame.rename(columns={"subject_id": "subject"}).sort_values("variable", kind="stable")
    table = read_events(frame, store.vocabulary).require_all()
    assert sorted(table.subjects) == sorted(names)
    rows = np.array([names.index(name) for name in table.subjects])
    expected, found = store.gather("test", 0, rows), table.batch(store.vocabulary)
    for key in ("variable_N", "value_N", "set_N", "minute_S", "subject_S"):
        np.testing.assert_array_equal(getattr(found, key), getattr(expected, key))


def test_bad_rows_are_named_and_spare_the_other_subjects():
    table = pd.DataFrame(
        {
            "subject": ["a", "b", "c", "d", "e"],
            "minute": [0.0, -1.0, 0.0, 0.0, np.nan],
            "variable": ["HR", "HR", "Pulse", "HR", "HR"],
            "value": [80.0, 80.0, 80.0, np.inf, 80.0],
        }
    )
    read = read_events(table, open_store("demo").vocabulary)
    assert list(read.problems) == ["b", "c", "d", "e"]
    assert "row 3: variable 'Pulse' is unknown to the model" in read.problems["c"]
    assert read.packed is not None
    assert list(read.packed.subject_id) == ["a"]
    with pytest.raises(InputError, match="row 2: minute"):
        read.require_all()
    with pytest.raises(InputError, match="lacks the column 'value'"):
        read_events(table.drop(columns="value"), open_store("demo").vocabulary)
    with pytest.raises(InputError, match="has the column 'value' twice"):
        read_events(pd.concat([table, table["value"]], axis=1), open_store("demo").vocabulary)


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("value", None, "value is missing"),
        ("value", "", "value is missing"),
        ("value", pd.NA, "value is missing"),
        ("value", "8,5", "value '8,5' is not a finite number"),
        ("value", 1e39, "value 1e\\+39 is not a finite number"),
        ("value", 10**400, "value 10{38}… is not a finite number"),
        ("value", [80.0], "value \\[80.0\\] is not a finite number"),
        ("minute", "noon", "minute 'noon' is not a time"),
        ("minute", -1, "minute -1 is not a time"),
        ("variable", None, "variable is missing"),
        ("variable", 7, "variable 7 is unknown to the model"),
    ],
)
def test_any_cell_is_refused_in_words_and_spares_the_other_subject(column, cell, said):
    rows = [["a", 0.0, "HR", 80.0], ["b", 0.0, "HR", 80.0]]
    table = pd.DataFrame(rows, columns=["subject", "minute", "variable", "value"], dtype=object)
    table.at[0, column] = cell
    read = read_events(table, open_store("demo").vocabulary)
    assert list(read.problems) == ["a"]
    assert re.match(f"row 1: {said}", read.problems["a"])
    assert read.packed is not None
    assert list(read.packed.subject_id) == ["b"]


@pytest.mark.parametrize("nobody", [None, np.nan, ""])
def test_a_row_of_no_subject_is_reported_and_counts_for_nobody(nobody):
    rows = [["a", 0.0, "HR", 80.0], [nobody, 5.0, "HR", 200.0], ["b", 0.0, "HR", 70.0]]
    read = read_events(
        pd.DataFrame(rows, columns=["subject", "minute", "variable", "value"]), open_store("demo").vocabulary
    )
    assert read.subjects == ["a", "", "b"]
    assert read.problems == {"": "row 2: subject is missing"}
    assert read.packed is not None
    assert read.packed.value_N.tolist() == [80.0, 70.0]


def test_a_number_is_the_same_subject_with_and_without_a_gap_in_its_column():
    table = pd.DataFrame({"subject": [7, None], "minute": 0.0, "variable": "HR", "value": 80.0})
    assert table["subject"].dtype == float
    assert read_events(table, open_store("demo").vocabulary).subjects == ["7", ""]
