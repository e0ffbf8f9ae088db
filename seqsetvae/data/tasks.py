"""Tasks chosen after a store was prepared: a table of outcomes, cut to what was known when each is to be predicted."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.outcomes import CATEGORICAL_KINDS, Outcome, read_outcomes
from seqsetvae.data.packed import Packed, concatenate
from seqsetvae.data.sources.base import normalise_id
from seqsetvae.data.store import HeldStore, Store
from seqsetvae.data.tables import as_number, read_table
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
    ids = table.column(_first(path, table.columns, ID_COLUMNS, "of the subjects"))
    time_column = next((name for name in TIME_COLUMNS if name in table.columns), None)
    times = [""] * len(ids) if time_column is None else table.column(time_column)
    rows: list[tuple[str, int, Outcome]] = []
    for row, (subject, time, outcome) in enumerate(zip(ids, times, found.values, strict=True), start=1):
        if outcome is None:
            continue
        tick = NEVER if time_column is None else _tick(time)
        if tick is None:
            raise InputError(f"{path}, row {row}, column {time_column!r}: {time[:40]!r} is no time. Correct the cell.")
        rows.append((normalise_id(subject), tick, outcome))
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


def kind_of(store: Store) -> str:
    """The kind of a store's outcomes; its own are 0 or 1."""
    return store.kind if isinstance(store, TaskStore) else "binary"


def names_of(store: Store) -> tuple[str, ...]:
    """Names of the numbers of an outcome."""
    return store.names if isinstance(store, TaskStore) else ("outcome",)


class TaskStore(HeldStore):
    """A store as a task sees it: a subject for each outcome, with the sets up to its prediction time and nothing after it.

    Subjects keep their names where they have one outcome; with several they are called NAME@1, NAME@2, ... in the order of the table.
    """

    def __init__(self, store: Store, labels: TaskLabels, at_hours: float | None = None) -> None:
        found = {split: _of_split(store, split, labels, at_hours) for split in store.splits}
        self.rows, matched = len(labels.subject), sum(one.matched for one in found.values())
        self.without_stay = self.rows - matched
        held = {split: one.packed for split, one in found.items() if one.packed is not None}
        self.without_events = matched - sum(packed.n_subjects for packed in held.values())
        seen = f"{store.content_hash} {labels.task} {at_hours} {labels.subject} {labels.time} {labels.outcome}"
        self.kind, self.names = labels.kind, labels.names
        super().__init__(store, hashlib.sha256(seen.encode()).hexdigest(), held)


def open_task(
    store: Store,
    labels: str | None,
    task: str | None,
    at_hours: float | None,
    kind: str = "auto",
    categories: Sequence[str] = (),
) -> Store:
    """The store itself where no task is chosen: then its own labels and whole stays count.

    Args:
        store: where the events are.
        labels: table of outcomes.
        task: its column.
        at_hours: hours from a stay's first event at which outcomes without a prediction time are predicted.
        kind: of the outcomes; `auto`: by the table's columns.
        categories: that a model has learned, in their order; empty: those of the table.

    Raises:
        InputError: the table cannot be used, or none of its rows is of a stay.
    """
    if labels is None:
        if task is not None or at_hours is not None or kind != "auto":
            raise InputError(
                "--task, --kind and --at_hours choose from a table of outcomes: give it with --labels FILE."
            )
        return store
    if at_hours is not None and not at_hours > 0:
        raise InputError(f"--at_hours is {at_hours}, but must be above 0.")
    rows = read_task(Path(labels), task, kind, categories)
    found = TaskStore(store, rows, at_hours)
    if found.without_stay == found.rows:
        first = store.subject_ids(store.splits[0], [0])[0]
        raise InputError(
            f"{labels}: {found.rows} rows, 0 match a stay, e.g. {rows.subject[0]!r} against {first!r}. "
            "Write the ids as the stays are called."
        )
    return found


def up_to(packed: Packed, last_B: NDArray[np.int64]) -> Packed:
    """Of each subject the sets up to a time, `last_B` microseconds after its first event; subjects without any are left out.

    A set's minute is that of its last event, so that no event after the time is left in a set.
    """
    subject_S = np.repeat(np.arange(packed.n_subjects), np.diff(packed.first_set))
    keep_S = np.rint(packed.minute_S.astype(np.float64) * MICROSECONDS) <= last_B[subject_S]
    n_sets_B = np.bincount(subject_S[keep_S], minlength=packed.n_subjects)
    n_events_S = np.diff(packed.first_event)
    keep_N = np.repeat(keep_S, n_events_S)
    return Packed(
        np.array(packed.subject_id, dtype=object)[n_sets_B > 0],
        packed.label_B[n_sets_B > 0],
        np.concatenate(([0], np.cumsum(n_sets_B[n_sets_B > 0]))).astype(np.int32),
        np.concatenate(([0], np.cumsum(n_events_S[keep_S]))).astype(np.int32),
        packed.minute_S[keep_S],
        packed.variable_N[keep_N],
        packed.value_N[keep_N],
        packed.start_B[n_sets_B > 0],
    )


@dataclass(frozen=True)
class _Found:
    packed: Packed | None
    matched: int
    """Rows of the table whose subject is in the split."""


def _of_split(store: Store, split: str, labels: TaskLabels, at_hours: float | None) -> _Found:
    packed = concatenate([store.shard(split, number) for number in range(len(store.shards(split)))])
    stays = _StayFinder([str(name) for name in packed.subject_id], packed.start_B)
    found = [(stays.row(*who), i) for i, who in enumerate(zip(labels.subject, labels.time, strict=True))]
    rows_B = np.array([row for row, _ in found if row is not None], dtype=np.int64)
    if not len(rows_B):
        return _Found(None, 0)
    number_B = np.array([i for row, i in found if row is not None])
    whole = NEVER if at_hours is None else round(at_hours * 60 * MICROSECONDS)
    time_B = np.array(labels.time, dtype=np.int64)[number_B]
    last_B = np.where(time_B == NEVER, whole, time_B - packed.start_B[rows_B])
    taken = packed.take(rows_B)
    named = Packed(
        _numbered(rows_B, taken.subject_id),
        np.array(labels.outcome, dtype=np.float32)[number_B],
        taken.first_set,
        taken.first_event,
        taken.minute_S,
        taken.variable_N,
        taken.value_N,
        taken.start_B,
    )
    cut = up_to(named, last_B)
    return _Found(cut if cut.n_subjects else None, len(rows_B))


class _StayFinder:
    """Finds the stay that a row of a table is about: by its name, or, of a subject's admissions, the one that had begun by then."""

    def __init__(self, names: Sequence[str], start_B: NDArray[np.int64]) -> None:
        self._row = {name: row for row, name in enumerate(names)}
        self._start_B = start_B
        self._admissions: dict[str, list[int]] = {}
        for name, row in self._row.items():
            subject, slash, _ = name.rpartition("/")
            if slash:
                self._admissions.setdefault(subject, []).append(row)

    def row(self, subject: str, time: int) -> int | None:
        if subject in self._row:
            return self._row[subject]
        begun = [row for row in self._admissions.get(subject, ()) if self._start_B[row] <= time]
        return max(begun, key=lambda row: int(self._start_B[row]), default=None) if time != NEVER else None


def _numbered(rows_B: NDArray[np.int64], names: Sequence[str] | NDArray[np.object_]) -> NDArray[np.object_]:
    """Names, with @1, @2, ... behind those that come several times."""
    counts = np.bincount(rows_B)
    seen: dict[int, int] = {}
    found = []
    for row, name in zip(rows_B.tolist(), names, strict=True):
        seen[row] = seen.get(row, 0) + 1
        found.append(f"{name}@{seen[row]}" if counts[row] > 1 else str(name))
    return np.array(found, dtype=object)


def _first(path: Path, columns: Sequence[str], wanted: Sequence[str | None], what: str) -> str:
    for name in wanted:
        if name in columns:
            return str(name)
    raise InputError(
        f"{path}: no column {what}: {', '.join(str(name) for name in wanted)} is missing. The file has {', '.join(columns[:8])}."
    )


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
