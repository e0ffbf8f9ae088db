"""A task's table of outcomes: of whom, predicted when, and what came."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqsetvae.data.outcomes import CATEGORICAL_KINDS, Outcome, read_outcomes
from seqsetvae.data.sources.base import normalise_id
from seqsetvae.data.tables import TextTable, as_number, named, read_table
from seqsetvae.data.times import MICROSECONDS
from seqsetvae.errors import InputError

ID_COLUMNS = ("subject_id", "ts_id", "RecordID", "subject")
TIME_COLUMNS = ("prediction_time", "prediction_minute")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
NEVER = np.iinfo(np.int64).max
"""Stands for a prediction from the whole stay."""


@dataclass(frozen=True)
class TaskLabels:
    """Rows of a task: who, when, and the outcome."""

    path: Path
    task: str
    subject: Sequence[str]
    """As :func:`normalise_id` spells it."""
    time: Sequence[int]
    """Microseconds on the clock of the store; `NEVER` without a time."""
    outcome: Sequence[Outcome]
    """A number, or several."""
    kind: str = "binary"
    names: tuple[str, ...] = ("outcome",)
    """Of the numbers of an outcome."""

    def take(self, rows: Sequence[int]) -> TaskLabels:
        """Some rows, in the order given."""
        return TaskLabels(
            self.path,
            self.task,
            [self.subject[row] for row in rows],
            [self.time[row] for row in rows],
            [self.outcome[row] for row in rows],
            self.kind,
            self.names,
        )


def read_task(path: Path, task: str | None, kind: str = "auto", categories: Sequence[str] = ()) -> TaskLabels:
    """Read a table of outcomes: .csv, .csv.gz or .parquet, one column for each task, or in the MEDS label schema.

    The subject stands in subject_id or ts_id; a prediction_time, if there is one, is a date and time, or minutes as the store's source
    counts them. Rows without an outcome are left out. Of which kind the outcomes are is settled by
    :func:`seqsetvae.data.outcomes.read_outcomes`. Raises InputError naming file, row and column.
    """
    table = read_table(path)
    found = read_outcomes(table, task, kind, categories)
    subjects_R = subjects_of(table)
    time_column = next((name for name in TIME_COLUMNS if name in table.columns), None)
    times = [""] * len(subjects_R) if time_column is None else table.column(time_column)
    rows: list[tuple[str, int, Outcome]] = []
    for row, (subject, time, outcome) in enumerate(zip(subjects_R, times, found.values, strict=True), start=1):
        if outcome is None:
            continue
        tick = NEVER if time_column is None else _tick(time)
        if tick is None:
            raise InputError(f"{path}, row {row}, column {time_column!r}: {time[:40]!r} is no time. Correct the cell.")
        rows.append((subject, tick, outcome))
    if not rows:
        raise InputError(f"{path}, column {', '.join(found.names)!r}: no row has an outcome.")
    rows, kind = _settled(path, rows, found.kind, said=kind)
    subjects, ticks, outcomes = zip(*rows, strict=True)
    return TaskLabels(path, task or path.name.split(".")[0], subjects, ticks, outcomes, kind, found.names)


def _settled(
    path: Path, rows: list[tuple[str, int, Outcome]], kind: str, said: str
) -> tuple[list[tuple[str, int, Outcome]], str]:
    """Categories of one subject and time as one row; where there are several they exclude each other in no class, but are labels."""
    if kind not in CATEGORICAL_KINDS:
        return rows, kind
    rows = list(_together(rows))
    several = [subject for subject, _, outcome in rows if isinstance(outcome, tuple) and sum(outcome) > 1]
    if kind == "multilabel" or not several:
        return rows, kind
    if said == "multiclass":
        raise InputError(
            f"{path}: subject {several[0]!r} has several categories at one time, but those of --kind multiclass exclude each other. "
            "Say --kind multilabel, or leave one of its rows."
        )
    return rows, "multilabel"


def _together(rows: Sequence[tuple[str, int, Outcome]]) -> Iterator[tuple[str, int, Outcome]]:
    """Rows of one subject and time as one: a label is 1 where any of them says so."""
    found: dict[tuple[str, int], list[Outcome]] = {}
    for subject, time, outcome in rows:
        found.setdefault((subject, time), []).append(outcome)
    for (subject, time), outcomes in found.items():
        of_label = zip(*(one for one in outcomes if isinstance(one, tuple)), strict=True)
        yield subject, time, tuple(next((x for x in (1.0, 0.0) if x in one), float("nan")) for one in of_label)


def subjects_of(table: TextTable) -> list[str]:
    """The subject of each row, as :func:`normalise_id` spells it. Raises InputError where no column has them."""
    column = next((name for name in ID_COLUMNS if name in table.columns), None)
    if column is None:
        raise InputError(
            f"{table.path}: no column of the subjects: {', '.join(ID_COLUMNS)} is missing. The file has {named(table.columns)}."
        )
    return [normalise_id(text) for text in table.column(column)]


def _tick(text: str) -> int | None:
    """Microseconds of minutes, or of a date and time (of UTC where it names no zone); None for what is neither."""
    minutes = as_number(text)
    if np.isfinite(minutes) and abs(minutes) < NEVER / MICROSECONDS / 2:
        return round(minutes * MICROSECONDS)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return (aware - EPOCH) // dt.timedelta(microseconds=1)
