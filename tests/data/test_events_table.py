"""A table of events gives what the store gives, and says which row is wrong."""

from __future__ import annotations

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
