"""From checked events to packed sets: the rules that every source shares. Pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.packed import Packed
from seqsetvae.data.sources.base import Chunk
from seqsetvae.data.times import MICROSECONDS, microseconds

SET_WINDOW = 1.0
"""Minutes."""


def arrange(chunk: Chunk, index_of_variable: NDArray[np.int32], set_window: float = SET_WINDOW) -> tuple[Packed, int]:
    """Sort the events of checked subjects into sets; also return how many repeated measurements were dropped.

    Rules: all events of one window of the clock are one set, whose minute is that of its last event: what was known then. Minutes count
    from the subject's first event. Sets ascend in time, the events of a set in alphabetical order of their variable; of repeated
    measurements of a variable in one set the last stays, and of those at one time the last recorded. The result does not depend on
    the order of the rows otherwise. Times are compared as whole microseconds.

    Args:
        chunk: checked events.
        index_of_variable: (len(chunk.variables),) the number each variable is stored under.
        set_window: minutes; 0: events of exactly the same time are a set.

    >>> heart, temp = 0, 1
    >>> chunk = Chunk(
    ...     ["7"], ["7.parquet"], np.array([1.0], np.float32), ["HR", "Temp"],
    ...     subject_N=np.zeros(4, int), minute_N=np.array([30.5, 0.0, 30.0, 30.5]),
    ...     variable_N=np.array([temp, heart, heart, heart]), value_N=np.array([37.5, 80.0, 90.0, 95.0]), row_N=np.arange(4),
    ... )
    >>> packed, repeats = arrange(chunk, np.array([0, 1], np.int32))
    >>> packed.minute_S.tolist(), packed.first_event.tolist(), packed.value_N.tolist(), repeats
    ([0.0, 30.5], [0, 1, 3], [80.0, 95.0, 37.5], 1)
    """
    tick_N = microseconds(chunk.minute_N)
    if chunk.start_B is not None:
        tick_N += chunk.start_B[chunk.subject_N]
    width = round(set_window * MICROSECONDS)
    window_N = tick_N // width if width else tick_N
    rank_N = np.argsort(np.argsort(np.array(chunk.variables, dtype=object)))[chunk.variable_N]
    order = _order(chunk.subject_N, window_N, rank_N, tick_N)
    subject_N, window_N, rank_N, tick_N = chunk.subject_N[order], window_N[order], rank_N[order], tick_N[order]

    new_set_N = np.ones(len(order), dtype=bool)
    new_set_N[1:] = (subject_N[1:] != subject_N[:-1]) | (window_N[1:] != window_N[:-1])
    last_N = np.ones(len(order), dtype=bool)
    last_N[:-1] = new_set_N[1:] | (rank_N[1:] != rank_N[:-1])

    first_S = np.flatnonzero(new_set_N)
    first_set = _starts(np.bincount(subject_N[first_S], minlength=chunk.n_subjects))
    start_B = np.minimum.reduceat(tick_N, first_S)[first_set[:-1]]
    kept_before = np.concatenate(([0], np.cumsum(last_N)))
    packed = Packed(
        subject_id=np.array(chunk.subject_ids, dtype=object),
        label_B=chunk.label_B,
        first_set=first_set,
        first_event=kept_before[np.append(first_S, len(order))].astype(np.int32),
        minute_S=(np.maximum.reduceat(tick_N, first_S) - np.repeat(start_B, np.diff(first_set))) / MICROSECONDS,
        variable_N=index_of_variable[chunk.variable_N[order][last_N]],
        value_N=chunk.value_N[order][last_N].astype(np.float32),
        start_B=start_B,
    )
    return packed, int(len(order) - last_N.sum())


def _order(
    subject_N: NDArray[np.int64], window_N: NDArray[np.int64], rank_N: NDArray[np.int64], tick_N: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Order by subject, window, rank and time; ties stay as they are. Most sources have their events in order of time: one key will do."""
    same_N = subject_N[1:] == subject_N[:-1]
    if ((subject_N[1:] < subject_N[:-1]) | (same_N & (tick_N[1:] < tick_N[:-1]))).any():
        return np.lexsort((tick_N, rank_N, window_N, subject_N))
    set_N = np.cumsum(np.concatenate(([False], ~same_N | (window_N[1:] != window_N[:-1]))))
    return np.argsort(set_N * (rank_N.max(initial=0) + 1) + rank_N, kind="stable")


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
