"""Further outcomes of stays, to be learned along with a task: columns of a table, a row for each stay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.outcomes import BINARY, number_of
from seqsetvae.data.sources.physionet2012_tasks import FILE
from seqsetvae.data.store import Store
from seqsetvae.data.tables import TextTable, read_table
from seqsetvae.data.task_labels import subjects_of
from seqsetvae.errors import InputError


def table_of_tasks(labels: str | None, store: Store) -> Path:
    """The table that is named, else the one that `prepare` has written into a store. Raises InputError where there is none."""
    path = Path(labels) if labels else store.path / FILE
    if labels is None and not path.is_file():
        raise InputError(
            f"--auxiliary names columns of a table of outcomes, but none is given, and {store.path} has no {FILE}. Give one with "
            "--labels FILE --task NAME."
        )
    return path


def read_auxiliary(path: Path, columns: Sequence[str], stays: Sequence[str]) -> NDArray[np.float64]:
    """Outcomes of some stays, (B, A); NaN where the table says nothing.

    Args:
        path: .csv, .csv.gz or .parquet.
        columns: A of its columns, of numbers, or of true and false.
        stays: B names; NAME@1, NAME@2, ... are one stay at several times, and have the outcomes of NAME.

    Raises:
        InputError: a column is missing, a cell is no number, a stay has two rows that differ, or none of the rows is of a stay.
    """
    table = read_table(path)
    ids = subjects_of(table)
    outcome_RA = np.array([_numbers(table, name) for name in columns], dtype=np.float64).T
    row_of: dict[str, int] = {}
    for row, name in enumerate(ids):
        first = row_of.setdefault(name, row)
        if not np.array_equal(outcome_RA[first], outcome_RA[row], equal_nan=True):
            raise InputError(
                f"{path}, row {row + 1}: {', '.join(columns)} of {name!r} differ from those in row {first + 1}, but are learned along as "
                "one outcome of the stay. Leave one of the rows."
            )
    rows = [row_of.get(name, row_of.get(name.rpartition("@")[0])) for name in stays]
    if all(row is None for row in rows):
        raise InputError(
            f"{path}: {len(ids)} rows, 0 match a stay that is learned from, e.g. {(ids or [''])[0]!r} against {stays[0]!r}. "
            "Write the ids as the stays are called."
        )
    nothing = np.full(len(columns), np.nan)
    return np.stack([nothing if row is None else outcome_RA[row] for row in rows])


def _numbers(table: TextTable, column: str) -> list[float]:
    cells = enumerate(table.column(column), start=1)
    found = [
        BINARY[text.lower()] if text.lower() in BINARY else number_of(table, column, row, text) for row, text in cells
    ]
    return [np.nan if number is None else number for number in found]
