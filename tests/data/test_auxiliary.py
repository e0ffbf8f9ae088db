"""Outcomes that are learned along: read by stay, never guessed, wrong cells named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqsetvae.data.auxiliary import read_auxiliary
from seqsetvae.errors import InputError

TABLE = "subject,days,died\n1,3.5,0\n002,,1\n3,10,\nelsewhere,7,true\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "tasks.csv"
    path.write_text(text)
    return path


def test_stays_get_their_row_and_nothing_where_the_table_is_silent(tmp_path):
    found = read_auxiliary(written(tmp_path, TABLE), ("died", "days"), ["3@2", "elsewhere", "1", "unheard of", "3@1"])
    nan = np.nan
    np.testing.assert_array_equal(found, [[nan, 10.0], [1.0, 7.0], [0.0, 3.5], [nan, nan], [nan, 10.0]])


def test_rows_of_one_stay_may_repeat_but_not_differ(tmp_path):
    path = written(tmp_path, TABLE + "1,3.5,0\n1,3.5,1\n")
    np.testing.assert_array_equal(read_auxiliary(path, ["days"], ["1"]), [[3.5]])
    with pytest.raises(InputError, match=r"tasks.csv, row 6: days, died of '1' differ from those in row 1"):
        read_auxiliary(path, ["days", "died"], ["1"])


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        (TABLE, ["age"], "column 'age': missing. The file has subject, days, died"),
        (TABLE.replace("3.5", "long"), ["days"], "row 1, column 'days': 'long' is no number"),
        (TABLE.replace("3.5", "inf"), ["days"], "row 1, column 'days': 'inf' is no number"),
        (TABLE.replace("subject", "who"), ["days"], "no column of the subjects"),
        (TABLE.splitlines()[0], ["days"], "0 match a stay that is learned from, e.g. '' against 'nobody'"),
        (TABLE, ["days"], "0 match a stay that is learned from, e.g. '1' against 'nobody'"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, text, columns, said):
    with pytest.raises(InputError) as error:
        read_auxiliary(written(tmp_path, text), columns, ["1"] if "match" not in said else ["nobody"])
    assert said in str(error.value)
