"""What a stay of a MEDS data set is, a whole subject or an admission, and stays as a chunk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.sources.base import Chunk
from seqsetvae.data.sources.columns import NO_TIME
from seqsetvae.data.sources.meds_rows import Rows
from seqsetvae.data.times import MICROSECONDS


def admissions(rows: Rows, begins: str, ends: str, counts: dict[str, int]) -> Rows:
    """The rows of each admission, one after another, with the static rows of its subject in front; `counts` takes what is left out.

    An admission begins with a code that starts with `begins` and goes on to the first code that starts with `ends` (rows of that time
    included), or to the next admission. Codes that begin an admission at one time are one admission.
    """
    is_begin = np.array([name.startswith(begins) for name in rows.names])
    is_end = np.array([name.startswith(ends) for name in rows.names])
    order = np.lexsort((rows.time_N, _runs(rows.subject_N)))
    rows = rows.take(order)
    static_N = rows.time_N == NO_TIME
    begin_N = is_begin[rows.variable_N] & ~static_N
    key_N = _runs(rows.subject_N)
    at = np.flatnonzero(begin_N)
    same = np.zeros(len(at), dtype=bool)
    same[1:] = (key_N[at[1:]] == key_N[at[:-1]]) & (rows.time_N[at[1:]] == rows.time_N[at[:-1]])
    starts = at[~same]
    # Rows of the time of an admission belong to it, also those that stand before its code.
    number_N = _count_up_to(key_N, rows.time_N, key_N[starts], rows.time_N[starts])
    before_N = np.searchsorted(key_N[starts], key_N)
    stay_N = number_N - before_N
    end_of = np.full(len(starts) + 1, np.iinfo(np.int64).max)
    ends_at = np.flatnonzero(is_end[rows.variable_N] & ~static_N & (stay_N > 0))
    np.minimum.at(end_of, number_N[ends_at] - 1, rows.time_N[ends_at])
    inside_N = ~static_N & (stay_N > 0) & (rows.time_N <= end_of[number_N - 1])
    counts["events_outside_admissions"] = counts.get("events_outside_admissions", 0) + int(
        (~inside_N & ~static_N).sum()
    )
    timed = replace(rows, stay_N=stay_N).take(np.flatnonzero(inside_N))
    return _with_static(timed, rows, static_N, key_N, starts)


def to_chunk(rows: Rows) -> Chunk:
    """Stays, whole subjects or admissions, as every source hands them on. Static rows have the time of the stay's first event."""
    stay_N = np.zeros(len(rows), dtype=np.int64) if rows.stay_N is None else rows.stay_N
    new_N = np.ones(len(rows), dtype=bool)
    new_N[1:] = (rows.subject_N[1:] != rows.subject_N[:-1]) | (stay_N[1:] != stay_N[:-1])
    first_B = np.flatnonzero(new_N)
    subject_N = np.cumsum(new_N) - 1
    latest = np.iinfo(np.int64).max
    start_B = np.minimum.reduceat(np.where(rows.time_N == NO_TIME, latest, rows.time_N), first_B)
    start_B = np.where(start_B == latest, 0, start_B)
    time_N = np.where(rows.time_N == NO_TIME, start_B[subject_N], rows.time_N)
    names = [str(subject) for subject in rows.subject_N[first_B].tolist()]
    if rows.stay_N is not None:
        names = [f"{name}/{stay}" for name, stay in zip(names, stay_N[first_B].tolist(), strict=True)]
    return Chunk(
        subject_ids=names,
        files=[str(rows.path)] * len(names),
        label_B=np.full(len(names), np.nan, dtype=np.float32),
        variables=rows.names,
        subject_N=subject_N,
        minute_N=(time_N - start_B[subject_N]) / MICROSECONDS,
        variable_N=rows.variable_N,
        value_N=rows.value_N,
        row_N=rows.row_N,
        start_B=start_B,
        texts=rows.texts,
    )


def _runs(subject_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2, ... of each subject in the order in which they come.

    >>> _runs(np.array([7, 7, 3, 9])).tolist()
    [0, 0, 1, 2]
    """
    return np.cumsum(np.diff(subject_N, prepend=subject_N[:1]) != 0)


def _count_up_to(
    key_N: NDArray[np.int64], time_N: NDArray[np.int64], key_A: NDArray[np.int64], time_A: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many of the sorted pairs A are at or before each of the sorted pairs N.

    >>> _count_up_to(np.array([0, 0, 1]), np.array([5, 9, 1]), np.array([0, 1]), np.array([9, 0])).tolist()
    [0, 1, 2]
    """
    if not len(key_A):
        return np.zeros(len(key_N), dtype=np.int64)
    is_a = np.repeat([True, False], [len(key_A), len(key_N)])
    keys, times = np.concatenate([key_A, key_N]), np.concatenate([time_A, time_N])
    order = np.lexsort((~is_a, times, keys))
    count = np.cumsum(is_a[order])
    found = np.empty(len(order), dtype=np.int64)
    found[order] = count
    return found[len(key_A) :]


def _with_static(
    timed: Rows, rows: Rows, static_N: NDArray[np.bool_], key_N: NDArray[np.int64], starts: NDArray[np.int64]
) -> Rows:
    """The static rows of a subject in front of each of its admissions."""
    if not static_N.any() or not len(starts):
        return timed
    assert timed.stay_N is not None
    place = np.flatnonzero(static_N)
    first, last = (
        np.searchsorted(key_N[starts], key_N[place]),
        np.searchsorted(key_N[starts], key_N[place], side="right"),
    )
    copies = np.repeat(place, last - first)
    number = np.arange(len(copies)) - np.repeat(np.cumsum(last - first) - (last - first), last - first) + 1
    static = replace(rows.take(copies), stay_N=number)
    both = Rows.join([replace(static, names=timed.names), timed])
    stay_N = np.concatenate([number, timed.stay_N])
    return replace(both, stay_N=stay_N).take(np.lexsort((both.time_N, stay_N, both.subject_N)))
