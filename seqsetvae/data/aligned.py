"""Data prepared with one vocabulary, read by a model that was trained with another: variables are matched by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.packed import Packed, concatenate
from seqsetvae.data.store import Store
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError


@dataclass(frozen=True, eq=False)
class Aligned:
    """A split as a model sees it. Values are raw still: the model's vocabulary scales them."""

    packed: Packed
    unknown: dict[str, int]
    """Events left out, by variable that the model does not know."""
    without_events: int
    """Subjects left out because none of their variables is known."""


def align(store: Store, split: str, vocabulary: Vocabulary, rows_B: NDArray[np.int64] | None = None) -> Aligned:
    """Renumber the variables of a split to those of a model; what the model does not know is left out, and counted.

    Args:
        store: where the split lies.
        split: its name.
        vocabulary: the model's.
        rows_B: rows of the split, ascending, at least one: nothing but these is read. None: the whole split.

    Raises:
        InputError: no variable is known.
    """
    parts = _parts(store, split, rows_B)
    names = store.vocabulary.names
    if names == vocabulary.names:
        return Aligned(concatenate(parts), {}, 0)
    row_of = {name: row for row, name in enumerate(vocabulary.names)}
    number_V = np.array([row_of.get(name, -1) for name in names], dtype=np.int32)
    if (number_V < 0).all():
        raise InputError(
            f"The model knows none of the {len(names)} variables of {store.path}: they are matched by name, and it was trained with "
            f"{', '.join(vocabulary.names[:5])}, ..."
        )
    unknown_V = np.zeros(len(names), dtype=np.int64)
    for part in parts:
        unknown_V += np.bincount(part.variable_N[number_V[part.variable_N] < 0], minlength=len(names))
    kept = [keep_known(part, number_V) for part in parts]
    before, after = sum(part.n_subjects for part in parts), sum(part.n_subjects for part in kept)
    return Aligned(concatenate(kept), _by_name(names, unknown_V), before - after)


def listed(unknown: Mapping[str, int], most: int = 5) -> str:
    """Variables with their number of events, the most frequent first, for a message.

    >>> listed({"Pulse": 3, "Lactate": 1200, "EEG": 1}, most=2)
    'Lactate (1,200 events), Pulse (3 events) and 1 more'
    """
    by_count = sorted(unknown.items(), key=lambda item: -item[1])
    named = ", ".join(f"{name} ({count:,} events)" for name, count in by_count[:most])
    return named if len(by_count) <= most else f"{named} and {len(by_count) - most} more"


def _parts(store: Store, split: str, rows_B: NDArray[np.int64] | None) -> list[Packed]:
    shards = [store.shard(split, number) for number in range(len(store.shards(split)))]
    if rows_B is None:
        return shards
    shard_B = np.searchsorted(store.first_rows[split], rows_B, side="right") - 1
    first_B = store.first_rows[split][shard_B]
    return [shards[number].take((rows_B - first_B)[shard_B == number]) for number in np.unique(shard_B)]


def keep_known(packed: Packed, number_V: NDArray[np.int32]) -> Packed:
    """Renumber variables, and keep events of those with a number of 0 or more, sets that keep an event, subjects that keep a set."""
    number_N = number_V[packed.variable_N]
    return keep_events(replace(packed, variable_N=number_N), number_N >= 0)


def keep_events(packed: Packed, keep_N: NDArray[np.bool_]) -> Packed:
    """Some events, the sets that keep one, and the subjects that keep a set."""
    if keep_N.all():
        return packed
    events_before = np.concatenate(([0], np.cumsum(keep_N)))
    n_events_S = np.diff(events_before[packed.first_event])
    sets_before = np.concatenate(([0], np.cumsum(n_events_S > 0)))
    n_sets_B = np.diff(sets_before[packed.first_set])
    return Packed(
        subject_id=np.array(packed.subject_id, dtype=object)[n_sets_B > 0],
        label_B=packed.label_B[n_sets_B > 0],
        first_set=_offsets(n_sets_B[n_sets_B > 0]),
        first_event=_offsets(n_events_S[n_events_S > 0]),
        minute_S=packed.minute_S[n_events_S > 0],
        variable_N=packed.variable_N[keep_N],
        value_N=packed.value_N[keep_N],
        start_B=packed.start_B[n_sets_B > 0],
    )


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)


def _by_name(names: Sequence[str], count_V: NDArray[np.int64]) -> dict[str, int]:
    return {name: int(count) for name, count in zip(names, count_V, strict=True) if count}
