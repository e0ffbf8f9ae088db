"""From raw events to packed sets: the checks and the rules that every source shares. Pure numpy."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.packed import Packed
from seqsetvae.data.quarantine import Quarantine
from seqsetvae.data.sources.base import Chunk
from seqsetvae.errors import InputError


def check(chunk: Chunk, split: str, quarantine: Quarantine) -> Chunk:
    """Reject subjects with an unusable label, time, value or no event; return the others.

    Refused: a label other than 0, 1 or NaN; a minute that is NaN, infinite or negative; a value that is NaN or does not fit float32;
    an event without a variable name; a subject without any event.
    """
    with np.errstate(over="ignore"):
        value_N = chunk.value_N.astype(np.float32)
    nameless = np.array([not name for name in chunk.variables] or [False])
    faults = (
        ("minute", ~np.isfinite(chunk.minute_N), "is not a time"),
        ("minute", chunk.minute_N < 0, "is negative; minutes count from the start of the stay"),
        ("value", ~np.isfinite(value_N), "is not a finite number"),
        ("variable", nameless[chunk.variable_N], "names the variable: it is empty"),
    )
    good_B = np.ones(chunk.n_subjects, dtype=bool)

    def reject(subject: int, message: str) -> None:
        if good_B[subject]:
            good_B[subject] = False
            error = InputError(f"{chunk.files[subject]}{message}")
            quarantine.reject(split, chunk.subject_ids[subject], error)

    for column, bad_N, fault in faults:
        for event in np.flatnonzero(bad_N).tolist():
            cell = {"minute": chunk.minute_N, "value": chunk.value_N}.get(column, chunk.variable_N)[event]
            text = "''" if column == "variable" else f"{cell:g}"
            reject(
                int(chunk.subject_N[event]),
                f", row {chunk.row_N[event]}, column {column!r}: {text} {fault}. Correct or remove the row.",
            )
    for subject in np.flatnonzero(~(np.isnan(chunk.label_B) | (chunk.label_B == 0) | (chunk.label_B == 1))).tolist():
        reject(
            subject,
            f": label {chunk.label_B[subject]:g} of subject {chunk.subject_ids[subject]!r} is not 0 or 1. Correct it.",
        )
    for subject in np.flatnonzero(np.bincount(chunk.subject_N, minlength=chunk.n_subjects) == 0).tolist():
        reject(subject, ": the stay has no event. Remove it.")
    return chunk.select(good_B)


def arrange(chunk: Chunk, index_of_variable: NDArray[np.int32]) -> tuple[Packed, int]:
    """Sort the events of checked subjects into sets; also return how many repeated measurements were dropped.

    Rules: all events of one minute are one set; sets ascend in time, the events of a set in alphabetical order of their variable;
    of repeated measurements of a variable in one minute the last recorded stays. The result does not depend on the order
    of the rows otherwise. `index_of_variable` (len(chunk.variables),) gives the number each variable is stored under.

    >>> heart, temp = 0, 1
    >>> chunk = Chunk(
    ...     ["7"], ["7.parquet"], np.array([1.0], np.float32), ["HR", "Temp"],
    ...     subject_N=np.zeros(4, int), minute_N=np.array([30.0, 0.0, 30.0, 30.0]),
    ...     variable_N=np.array([temp, heart, heart, heart]), value_N=np.array([37.5, 80.0, 90.0, 95.0]), row_N=np.arange(4),
    ... )
    >>> packed, repeats = arrange(chunk, np.array([0, 1], np.int32))
    >>> packed.minute_S.tolist(), packed.first_event.tolist(), packed.value_N.tolist(), repeats
    ([0.0, 30.0], [0, 1, 3], [80.0, 95.0, 37.5], 1)
    """
    minute_N = chunk.minute_N.astype(np.float32)
    rank_N = np.argsort(np.argsort(np.array(chunk.variables, dtype=object)))[chunk.variable_N]
    order = _stable_order(chunk.subject_N, minute_N, rank_N)
    subject_N, minute_N, rank_N = chunk.subject_N[order], minute_N[order], rank_N[order]

    new_set_N = np.ones(len(order), dtype=bool)
    new_set_N[1:] = (subject_N[1:] != subject_N[:-1]) | (minute_N[1:] != minute_N[:-1])
    last_N = np.ones(len(order), dtype=bool)
    last_N[:-1] = new_set_N[1:] | (rank_N[1:] != rank_N[:-1])

    first_S = np.flatnonzero(new_set_N)
    kept_before = np.concatenate(([0], np.cumsum(last_N)))
    packed = Packed(
        subject_id=np.array(chunk.subject_ids, dtype=object),
        label_B=chunk.label_B,
        first_set=_starts(np.bincount(subject_N[first_S], minlength=chunk.n_subjects)),
        first_event=kept_before[np.append(first_S, len(order))].astype(np.int32),
        minute_S=minute_N[first_S],
        variable_N=index_of_variable[chunk.variable_N[order][last_N]],
        value_N=chunk.value_N[order][last_N].astype(np.float32),
    )
    return packed, int(len(order) - last_N.sum())


def drop_unknown(
    chunk: Chunk, known_names: Collection[str], split: str, quarantine: Quarantine
) -> tuple[Chunk, dict[str, int]]:
    """Leave out events of variables that the train split never showed; also return how many, by name.

    A subject that keeps no event is rejected.
    """
    known = np.array([name in known_names for name in chunk.variables])
    if known.all():
        return chunk, {}
    keep_N = known[chunk.variable_N]
    counts = np.bincount(chunk.variable_N[~keep_N], minlength=len(known))
    dropped = {name: int(count) for name, count in zip(chunk.variables, counts, strict=True) if count}
    left = Chunk(
        chunk.subject_ids,
        chunk.files,
        chunk.label_B,
        chunk.variables,
        chunk.subject_N[keep_N],
        chunk.minute_N[keep_N],
        chunk.variable_N[keep_N],
        chunk.value_N[keep_N],
        chunk.row_N[keep_N],
    )
    good_B = np.bincount(left.subject_N, minlength=left.n_subjects) > 0
    for subject in np.flatnonzero(~good_B).tolist():
        message = f"{chunk.files[subject]}: no variable of this stay occurs in the train split. Remove the stay."
        quarantine.reject(split, chunk.subject_ids[subject], InputError(message))
    return left.select(good_B), dropped


def _stable_order(*keys: NDArray[Any]) -> NDArray[np.int64]:
    """Order that sorts by the first key, then the second, ...; ties stay as they are. Events usually are in order."""
    ahead = np.zeros(max(len(keys[0]) - 1, 0), dtype=bool)
    level = np.ones_like(ahead)
    for key in keys:
        ahead |= level & (key[1:] < key[:-1])
        level &= key[1:] == key[:-1]
    return np.lexsort(keys[::-1]) if ahead.any() else np.arange(len(keys[0]))


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
