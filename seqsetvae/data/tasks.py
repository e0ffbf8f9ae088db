"""Tasks chosen after a store was prepared: a table of outcomes, cut to what was known when each is to be predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.packed import Packed, concatenate
from seqsetvae.data.store import HeldStore, Store
from seqsetvae.data.task_labels import NEVER, TaskLabels, read_task
from seqsetvae.data.times import MICROSECONDS
from seqsetvae.errors import InputError


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


def up_to_hours(packed: Packed, hours: float) -> Packed:
    """The stays as they were some hours after their first event."""
    return up_to(packed, np.full(packed.n_subjects, round(hours * 60 * MICROSECONDS)))


def up_to(packed: Packed, last_B: NDArray[np.int64]) -> Packed:
    """Of each subject the sets up to a time, `last_B` microseconds after its first event; subjects without any are left out.

    A set's minute is that of its last event, so that no event after the time is left in a set.
    """
    subject_S = packed.subject_S
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
