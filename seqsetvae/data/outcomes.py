"""The outcomes of a task's table: of which kind they are, and as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqsetvae.data.sources.labels import NO_LABEL
from seqsetvae.data.tables import TextTable, as_number, named
from seqsetvae.errors import InputError

BOOLEAN, INTEGER, FLOAT, CATEGORICAL = MEDS_COLUMNS = (
    "boolean_value",
    "integer_value",
    "float_value",
    "categorical_value",
)
"""Where the MEDS label schema puts an outcome."""
HOURS = "_hours"
"""Behind a column's name: the column with the hours until its event, or until the stay was lost."""
BINARY = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "true": 1.0, "false": 0.0}
CATEGORICAL_KINDS = ("multiclass", "multilabel")
"""Of which an outcome is a number for each of several names."""
MOST_CATEGORIES = 200
LARGEST = float(np.finfo(np.float32).max)
Outcome = float | tuple[float, ...]


@dataclass(frozen=True)
class Outcomes:
    """Of each row of a table: a number, several, or None where there is no outcome."""

    kind: str
    names: tuple[str, ...]
    """Of the numbers of an outcome."""
    values: list[Outcome | None]


def read_outcomes(table: TextTable, task: str | None, kind: str, categories: Sequence[str] = ()) -> Outcomes:
    """The outcomes of a task.

    The kind is said by `kind`, or with `auto` by the columns: boolean_value is binary, float_value regression, integer_value binary where
    all are 0 or 1 and else regression, categorical_value multiclass, and several columns of 0 and 1 multilabel. A column with NAME_hours
    beside it is time_to_event. Any other column is binary. Of categories each has a number: 1 for what a row says, 0 for the others;
    `categories` are those that there may be, in their order (empty: those of the table).

    Raises:
        InputError: a column is missing, or a cell is no outcome of that kind; file, row and column are named.
    """
    columns = _columns(table, task)
    kind = _kind(table, columns) if kind == "auto" else kind
    if kind == "multilabel" and not _is_text(table, columns):
        return _several(table, columns)
    if len(columns) > 1:
        raise InputError(f"--task {task} names {len(columns)} columns, but a task of kind {kind} has one.")
    [column] = columns
    if kind in CATEGORICAL_KINDS:
        return _categories(table, column, kind, categories)
    if kind == "time_to_event":
        return _times(table, column)
    read = number_of if kind == "regression" else _zero_or_one
    values = [read(table, column, row, text) for row, text in enumerate(table.column(column), start=1)]
    return Outcomes(kind, (column,), list(values))


def _columns(table: TextTable, task: str | None) -> list[str]:
    wanted = [] if task is None else [name.strip() for name in task.split(",")]
    if wanted and all(name in table.columns for name in wanted):
        return wanted
    filled = [name for name in MEDS_COLUMNS if name in table.columns]
    filled = [name for name in filled if any(text.lower() not in NO_LABEL for text in table.column(name))] or filled
    if not filled or len(wanted) > 1:
        missing = [name for name in wanted if name not in table.columns]
        if not wanted:
            raise InputError(
                f"{table.path}: which column is the outcome? Name it with --task: the file has {named(table.columns)}, and "
                f"none of those of the MEDS label schema ({', '.join(MEDS_COLUMNS)})."
            )
        raise InputError(
            f"{table.path}: no column of task {task!r}: {', '.join([*missing, *MEDS_COLUMNS])} is missing. "
            f"The file has {named(table.columns)}."
        )
    return filled[:1]


def _kind(table: TextTable, columns: list[str]) -> str:
    if len(columns) > 1:
        return "multilabel"
    [column] = columns
    if column == CATEGORICAL:
        return "multiclass"
    if column + HOURS in table.columns:
        return "time_to_event"
    if column == FLOAT:
        return "regression"
    cells = table.column(column) if column == INTEGER else []
    return "binary" if all(text.lower() in (*BINARY, *NO_LABEL) for text in cells) else "regression"


def _is_text(table: TextTable, columns: list[str]) -> bool:
    [first, *others] = columns
    cells = table.column(first)
    return not others and any(text.lower() not in NO_LABEL and text.lower() not in BINARY for text in cells)


def _zero_or_one(table: TextTable, column: str, row: int, text: str) -> float | None:
    if text.lower() in NO_LABEL:
        return None
    if text.lower() not in BINARY:
        raise InputError(
            f"{table.path}, row {row}, column {column!r}: {text[:40]!r} is not 0 or 1. Correct the cell, or say what the outcomes are "
            "with --kind regression, multiclass or multilabel."
        )
    return BINARY[text.lower()]


def number_of(table: TextTable, column: str, row: int, text: str) -> float | None:
    """A cell as a number; None for an empty one. Raises InputError naming it where it is neither."""
    if text.lower() in NO_LABEL:
        return None
    if not abs(number := as_number(text)) <= LARGEST:
        raise InputError(f"{table.path}, row {row}, column {column!r}: {text[:40]!r} is no number. Correct the cell.")
    return number


def _several(table: TextTable, columns: list[str]) -> Outcomes:
    cells = zip(*(table.column(name) for name in columns), strict=True)
    values: list[Outcome | None] = []
    for row, texts in enumerate(cells, start=1):
        found = [_zero_or_one(table, name, row, text) for name, text in zip(columns, texts, strict=True)]
        nothing = all(one is None for one in found)
        values.append(None if nothing else tuple(float("nan") if one is None else one for one in found))
    return Outcomes("multilabel", tuple(columns), values)


def _categories(table: TextTable, column: str, kind: str, known: Sequence[str]) -> Outcomes:
    """A label for each category; what a row does not say is 0. Rows of one subject and time are put together by who reads them."""
    cells = [None if text.lower() in NO_LABEL else text for text in table.column(column)]
    names = list(known) or sorted({text for text in cells if text is not None})
    if len(names) > MOST_CATEGORIES:
        raise InputError(
            f"{table.path}, column {column!r}: {len(names)} categories, of at most {MOST_CATEGORIES}. Put rare ones together."
        )
    for row, text in enumerate(cells, start=1):
        if text is not None and text not in names:
            raise InputError(
                f"{table.path}, row {row}, column {column!r}: {text[:40]!r} is none of the categories that were learned: "
                f"{', '.join(names[:8])}. Write it as one of them, or leave the cell empty."
            )
    values = [None if text is None else tuple(float(text == name) for name in names) for text in cells]
    return Outcomes(kind, tuple(names), list(values))


def _times(table: TextTable, column: str) -> Outcomes:
    """(1: the event came, 0: the stay was lost; hours until then)."""
    values: list[Outcome | None] = []
    for row, (seen, text) in enumerate(zip(table.column(column), table.column(column + HOURS), strict=True), start=1):
        event, hours = _zero_or_one(table, column, row, seen), number_of(table, column + HOURS, row, text)
        if hours is not None and hours < 0:
            raise InputError(
                f"{table.path}, row {row}, column {column + HOURS!r}: {text[:40]!r} is before the prediction. Leave the row out."
            )
        values.append(None if event is None or hours is None else (event, hours))
    return Outcomes("time_to_event", ("event", "hours"), values)
