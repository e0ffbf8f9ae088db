"""What every source's events must be: known times, finite values, named variables, whole subjects. Pure numpy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.quarantine import Quarantine
from seqsetvae.data.sources.base import Chunk, Source, WithoutNumber
from seqsetvae.data.times import MICROSECONDS, impossible_minutes
from seqsetvae.errors import InputError

REMEDY = "Correct or remove the row."


def strip_names(chunk: Chunk) -> tuple[Chunk, int]:
    """Names of variables without blanks around them, each name once; also return how many events had such blanks.

    >>> chunk = Chunk(
    ...     ["7"], ["7.parquet"], np.array([np.nan], np.float32), ["HR ", "HR"], subject_N=np.zeros(3, int),
    ...     minute_N=np.zeros(3), variable_N=np.array([0, 1, 1]), value_N=np.zeros(3), row_N=np.arange(3),
    ... )
    >>> stripped, events = strip_names(chunk)
    >>> stripped.variables, stripped.variable_N.tolist(), events
    (['HR'], [0, 0, 0], 1)
    """
    stripped = [name.strip() for name in chunk.variables]
    if stripped == list(chunk.variables) and len(set(stripped)) == len(stripped):
        return chunk, 0
    row_of = {name: row for row, name in enumerate(dict.fromkeys(stripped))}
    new_number = np.array([row_of[name] for name in stripped], dtype=np.int64)
    had_blanks = np.array([old != new for old, new in zip(chunk.variables, stripped, strict=True)])
    texts = {int(new_number[row]): text for row, text in chunk.texts.items()}
    events = int(had_blanks[chunk.variable_N].sum())
    return replace(chunk, variables=list(row_of), variable_N=new_number[chunk.variable_N], texts=texts), events


def check(
    chunk: Chunk,
    split: str,
    quarantine: Quarantine,
    without_number: WithoutNumber = "refuse",
    columns: tuple[str, str, str] = Source.columns,
) -> Chunk:
    """Leave out rows, or subjects, with an unusable time, value or name, and subjects with an unusable label or no event.

    Refused: a label other than 0, 1 or NaN; a minute that is NaN, infinite, negative or beyond any stay; a value that does not fit
    float32; a value that is NaN, unless events without a number are kept; an event without a variable name; a subject without any
    event. `columns` are the source's names of time, variable and value.
    """
    good_B = np.ones(chunk.n_subjects, dtype=bool)
    drop_N = np.zeros(len(chunk.row_N), dtype=bool)
    time, variable, value = columns
    for column, bad_N, reason in (
        *((time, bad_N, reason) for bad_N, reason in impossible_minutes(chunk)),
        (variable, _nameless(chunk), "is empty; it must name the variable"),
        (value, _no_value(chunk, without_number), "is not a finite number"),
    ):
        for event in np.flatnonzero(bad_N & ~drop_N).tolist():
            subject = int(chunk.subject_N[event])
            if good_B[subject]:
                text, what = _cell(chunk, columns.index(column), event), reason
                if column == value and int(chunk.variable_N[event]) in chunk.texts:
                    what = f"{reason}. --without_number keep makes such texts events of their own"
                error = InputError(
                    f"{chunk.files[subject]}, row {chunk.row_N[event]}, column {column!r}: {text} {what}. {REMEDY}"
                )
                kind = f"{column} {reason.split(';')[0].split(':')[0]}"
                drop_N[event] = quarantine.reject_row(split, chunk.subject_ids[subject], kind, error)
                good_B[subject] = drop_N[event]

    def reject(subject: int, message: str) -> None:
        if good_B[subject]:
            good_B[subject] = False
            quarantine.reject(split, chunk.subject_ids[subject], InputError(f"{chunk.files[subject]}{message}"))

    for subject in np.flatnonzero(~(np.isnan(chunk.label_B) | (chunk.label_B == 0) | (chunk.label_B == 1))).tolist():
        reject(
            subject,
            f": label {chunk.label_B[subject]:g} of subject {chunk.subject_ids[subject]!r} is not 0 or 1. Correct it.",
        )
    left = chunk.select_events(~drop_N)
    lost_B = np.bincount(chunk.subject_N, minlength=chunk.n_subjects) > 0
    for subject in np.flatnonzero(np.bincount(left.subject_N, minlength=chunk.n_subjects) == 0).tolist():
        reject(
            subject, ": the stay has no usable event." if lost_B[subject] else ": the stay holds no event. Remove it."
        )
    return left.select(good_B)


def drop_unknown(
    chunk: Chunk, known_names: Collection[str], split: str, quarantine: Quarantine, rare_are_dropped: bool = False
) -> tuple[Chunk, dict[str, int]]:
    """Leave out events of variables that the train split never showed; also return how many, by name.

    A subject that keeps no event is rejected, or, where rare variables are dropped, which makes such subjects likely, left out.
    """
    known = np.array([name in known_names for name in chunk.variables] or [False])
    keep_N = known[chunk.variable_N]
    if keep_N.all():
        return chunk, {}
    counts = np.bincount(chunk.variable_N[~keep_N], minlength=len(known))
    dropped = {name: int(count) for name, count in zip(chunk.variables, counts, strict=False) if count}
    left = chunk.select_events(keep_N)
    good_B = np.bincount(left.subject_N, minlength=left.n_subjects) > 0
    for subject in np.flatnonzero(~good_B & (not rare_are_dropped)).tolist():
        message = f"{chunk.files[subject]}: no variable of this stay occurs in the train split. Remove the stay."
        quarantine.reject(split, chunk.subject_ids[subject], InputError(message))
    return left.select(good_B), dropped


def near_duplicates(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Names that differ in nothing but case, blanks, dots, dashes and underscores: probably one variable written in several ways.

    >>> near_duplicates(["HR", "hr", "Heart Rate", "heart_rate", "pH"])
    [('HR', 'hr'), ('Heart Rate', 'heart_rate')]
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault("".join(c for c in name.casefold() if c not in " \t\n\u00a0_.-"), []).append(name)
    return [tuple(group) for group in alike.values() if len(group) > 1]


def _nameless(chunk: Chunk) -> NDArray[np.bool_]:
    return np.array([not name for name in chunk.variables] or [False])[chunk.variable_N]


def _no_value(chunk: Chunk, without_number: WithoutNumber) -> NDArray[np.bool_]:
    with np.errstate(over="ignore"):
        value_N = chunk.value_N.astype(np.float32)
    return np.isinf(value_N) if without_number == "keep" else ~np.isfinite(value_N)


def _cell(chunk: Chunk, column: int, event: int) -> str:
    """A cell of time (0), variable (1) or value (2) as an error shows it."""
    if column == 1:
        return "''"
    if column == 2 and (text := chunk.texts.get(int(chunk.variable_N[event]))) is not None:
        return repr(text if len(text) <= 40 else f"{text[:39]}…")
    if column == 0 and chunk.start_B is not None and np.isfinite(minute := chunk.minute_N[event]):
        return str(np.datetime64(int(chunk.start_B[chunk.subject_N[event]]) + round(minute * MICROSECONDS), "us"))
    return f"{(chunk.minute_N if column == 0 else chunk.value_N)[event]:g}"
