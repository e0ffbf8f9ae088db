"""The leak audit: everything after each prediction time is scrambled, and every answer must stay the same to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqsetvae.config import EvaluateConfig
from seqsetvae.data.packed import Packed, concatenate
from seqsetvae.data.store import ALL, HeldStore, Store
from seqsetvae.data.task_labels import NEVER, TaskLabels, read_task
from seqsetvae.data.tasks import TaskStore
from seqsetvae.data.times import MICROSECONDS, microseconds
from seqsetvae.errors import InputError, RunFailure

Answers = dict[str, NDArray[np.float64]]
"""By stay: all numbers of its answer."""
Answer = Callable[[Store], Answers]
"""What is audited: from a store with a task to answers."""
SHARE_DROPPED = 0.3
"""Of the sets after the prediction time."""
WILD = 1e4
"""Spread of the values that stand in place of those after the prediction time."""


@dataclass
class Audit:
    """What was compared, and what changed."""

    task: str
    predictions: int = 0
    events: int = 0
    """After the prediction times, all of them scrambled."""

    def __str__(self) -> str:
        if not self.events:
            return f"Leak audit of task {self.task!r}: no event comes after its prediction times, so that nothing could leak."
        return (
            f"Leak audit of task {self.task!r}: everything after the times of {self.predictions:,} predictions was scrambled "
            f"({self.events:,} events, and the outcomes), and every answer is the same to the last bit."
        )


def leak_audit(answers: Mapping[str, Answer], store: Store, config: EvaluateConfig, seed: int = 0) -> Audit:
    """Ask twice for the answers about a task: of the stays as they are, and with other events after each prediction time.

    Both times the task's table is read and the stays are cut by the same code that evaluates them. What is after a prediction time is
    found by the clock alone: of all stays of the subject, values, variables, times and number of events become others, and so do the
    outcomes. A stay with several prediction times is tried at one after another.

    Args:
        answers: what is audited, by name.
        store: whole stays.
        config: the task.
        seed: of what is put in place.

    Raises:
        InputError: the task has no prediction times.
        RunFailure: an answer has changed: something looks ahead.
    """
    if config.labels is None:
        raise InputError(
            "--leak_audit needs a task with prediction times: --labels FILE, and --at_hours if it has none."
        )
    labels = read_task(Path(config.labels), config.task, config.kind)
    if config.at_hours is None and NEVER in labels.time:
        raise InputError(f"--leak_audit: {config.labels} has no prediction_time. Choose one with --at_hours.")
    splits = store.splits if config.split == ALL else (config.split,)
    audit, rng = Audit(labels.task), np.random.default_rng(seed)
    for some in _one_of_each_subject(labels):
        whole = {split: found for split in splits if (found := _of(store, split, some)) is not None}
        late = {split: _after(packed, some, config.at_hours) for split, packed in whole.items()}
        other = {split: scrambled(packed, late[split], len(store.vocabulary), rng) for split, packed in whole.items()}
        audit.events += sum(
            int(np.diff(packed.first_event)[_late(packed, late[split])].sum()) for split, packed in whole.items()
        )
        turned = replace(some, outcome=some.outcome[::-1])
        first, second = (
            TaskStore(HeldStore(store, store.content_hash, held), task, config.at_hours)
            for held, task in ((whole, some), (other, turned))
        )
        audit.predictions += sum(first.n_subjects(split) for split in first.splits)
        for name, answer in answers.items():
            _compare(name, labels.task, answer(first), answer(second))
    return audit


def scrambled(packed: Packed, late_B: NDArray[np.int64], variables: int, rng: np.random.Generator) -> Packed:
    """Other events after a moment of each stay, `late_B` microseconds on the clock; every stay keeps its first set."""
    late_S = _late(packed, late_B)
    first_S = np.zeros(len(late_S), dtype=bool)
    first_S[packed.first_set[:-1]] = True
    keep_S = ~late_S | first_S | (rng.random(len(late_S)) >= SHARE_DROPPED)
    n_events_S, subject_S = np.diff(packed.first_event), packed.subject_S
    keep_N, late_N = np.repeat(keep_S, n_events_S), np.repeat(late_S, n_events_S)
    value_N, variable_N, minute_S = packed.value_N.copy(), packed.variable_N.copy(), packed.minute_S.copy()
    value_N[late_N] = rng.normal(0.0, WILD, int(late_N.sum()))
    variable_N[late_N] = rng.integers(0, variables, int(late_N.sum()))
    moment_S = ((np.minimum(late_B, NEVER // 2) - packed.start_B) / MICROSECONDS)[subject_S]
    stretch_S = rng.uniform(1.1, 2.0, packed.n_subjects)[subject_S]
    minute_S[late_S] = (moment_S + (minute_S - moment_S) * stretch_S)[late_S]
    return Packed(
        packed.subject_id,
        packed.label_B,
        _offsets(np.bincount(subject_S[keep_S], minlength=packed.n_subjects)),
        _offsets(n_events_S[keep_S]),
        minute_S[keep_S],
        variable_N[keep_N],
        value_N[keep_N],
        packed.start_B,
    )


def _one_of_each_subject(labels: TaskLabels) -> Iterator[TaskLabels]:
    """The rows of the table in turns, of which each has at most one of any subject."""
    seen: dict[str, int] = {}
    turns: dict[int, list[int]] = {}
    for row, subject in enumerate(labels.subject):
        seen[subject] = seen.get(subject, 0) + 1
        turns.setdefault(seen[subject], []).append(row)
    yield from map(labels.take, turns.values())


def _of(store: Store, split: str, labels: TaskLabels) -> Packed | None:
    """All stays of the subjects of a table."""
    packed = concatenate([store.shard(split, number) for number in range(len(store.shards(split)))])
    wanted = set(labels.subject)
    rows = [row for row, name in enumerate(map(str, packed.subject_id)) if wanted & {name, name.rpartition("/")[0]}]
    return packed.take(np.array(rows)) if rows else None


def _after(packed: Packed, labels: TaskLabels, at_hours: float | None) -> NDArray[np.int64]:
    """Of each stay the moment after which nothing may be known, in microseconds on the clock of the store."""
    time_of = dict(zip(labels.subject, labels.time, strict=True))
    names = [str(name) for name in packed.subject_id]
    time_B = np.array([time_of.get(name, time_of.get(name.rpartition("/")[0], NEVER)) for name in names])
    hours = NEVER if at_hours is None else packed.start_B + round(at_hours * 60 * MICROSECONDS)
    return np.where(time_B == NEVER, hours, time_B)


def _late(packed: Packed, late_B: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each set holds something of after the moment: its minute is that of its last event."""
    tick_S = packed.start_B[packed.subject_S] + microseconds(packed.minute_S.astype(np.float64))
    return tick_S > late_B[packed.subject_S]


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)


def _compare(name: str, task: str, first: Answers, second: Answers) -> None:
    """Raise :class:`RunFailure` where an answer is not the same to the bit, or is there only once."""
    changed = [
        stay
        for stay in sorted(first.keys() | second.keys())
        if stay not in first or stay not in second or first[stay].tobytes() != second[stay].tobytes()
    ]
    if changed:
        raise RunFailure(
            f"Leak audit of task {task!r}: {len(changed):,} of {len(first):,} answers of {name} change when everything after their "
            f"prediction times is scrambled, e.g. that of stay {changed[0]!r}. It looks ahead, so that none of its scores counts."
        )
