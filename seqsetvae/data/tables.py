"""The small CSV files beside the events: outcomes, published statistics, frozen variable embeddings."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.sources.base import normalise_id
from seqsetvae.errors import InputError


@dataclass
class Labels:
    """Outcome of each subject, and what is wrong with the outcome of some."""

    values: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def of(self, subject_id: str) -> float:
        """0, 1, or NaN where the table has no outcome for the subject: never a guess. Raises InputError for an unusable one."""
        if subject_id in self.problems:
            raise InputError(self.problems[subject_id])
        return self.values.get(subject_id, float("nan"))

    def update(self, other: Labels) -> None:
        self.values.update(other.values)
        self.problems.update(other.problems)


@dataclass(frozen=True)
class Csv:
    """A small CSV file as text, so that an error can quote what stands there."""

    path: Path
    columns: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """All cells of a column. Raises InputError if there is none of that name."""
        if name not in self.columns:
            raise InputError(f"{self.path}, column {name!r}: missing. The file has {', '.join(self.columns[:5])}.")
        index = self.columns.index(name)
        return [row[index].strip() for row in self.rows]

    def numbers(self, columns: Sequence[str]) -> NDArray[np.float64]:
        """Columns as an array (rows, columns). Raises InputError at the first cell that is not a finite number."""
        text = np.array([self.column(name) for name in columns], dtype=object).T
        numbers = np.array([[_as_number(cell) for cell in row] for row in text], dtype=np.float64)
        bad = np.argwhere(~np.isfinite(numbers))
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise InputError(
                f"{self.path}, row {row + 1}, column {columns[column]!r}: {text[row, column]!r} is not a finite number. "
                "Correct the cell."
            )
        return numbers

    def rows_of(self, key_column: str, names: Sequence[str]) -> list[int]:
        """The row of each name. Raises InputError naming those that have none."""
        row_of = {key: row for row, key in enumerate(self.column(key_column))}
        missing = [name for name in names if name not in row_of]
        if missing:
            raise InputError(
                f"{self.path}: no row for {', '.join(map(repr, missing))}, which the train split contains. "
                "Add the row, or remove the variable from the data."
            )
        return [row_of[name] for name in names]


def read_csv(path: Path) -> Csv:
    """Read a CSV file with a header. Raises InputError if it is missing, not text, or has rows of unequal width."""
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable CSV file ({error}). Write it again.") from error
    rows = [row for row in rows if row]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise InputError(
                f"{path}, row {number}: {len(row)} cells, but the header has {len(header)}. Correct the row."
            )
    return Csv(path, [name.strip() for name in header], rows)


def read_labels(path: Path, id_column: str, label_column: str) -> Labels:
    """Read an outcome table. Ids may be written as integer or float; an empty label is no label.

    Raises InputError if the file or a column is missing; a label other than 0 or 1 and contradicting rows are kept as problems of
    their subject, so that they count only where the subject occurs.
    """
    table = read_csv(path)
    labels = Labels()
    first_row: dict[str, int] = {}
    for row, (raw_id, text) in enumerate(
        zip(table.column(id_column), table.column(label_column), strict=True), start=1
    ):
        subject_id = normalise_id(raw_id)
        if text.lower() in ("", "nan", "na", "none"):
            continue
        label = _as_number(text)
        if label not in (0.0, 1.0):
            labels.problems[subject_id] = (
                f"{path}, row {row}, column {label_column!r}: {text!r} is not a label. Use 0 or 1, or leave the cell empty."
            )
        elif labels.values.setdefault(subject_id, label) != label:
            labels.problems[subject_id] = (
                f"{path}, row {row}: subject {subject_id!r} has label {label:g} here and "
                f"{labels.values[subject_id]:g} in row {first_row[subject_id]}. Keep one of the two rows."
            )
        first_row.setdefault(subject_id, row)
    return labels


def read_scaling(path: Path, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (V,), (V,) of `names` from a stats.csv with the columns variable, mean, std."""
    table = read_csv(path)
    mean, std = table.numbers(("mean", "std"))[table.rows_of("variable", names)].T
    return mean, std


def read_embedding(path: Path, names: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings (V, E) of `names` from a cached.csv with the columns Key, 0, 1, ..., E-1."""
    table = read_csv(path)
    rows = table.rows_of("Key", names)
    return table.numbers([name for name in table.columns if name != "Key"])[rows].astype(np.float32)


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
