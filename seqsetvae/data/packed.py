"""`Packed`: many subjects end to end, in memory or memory-mapped from one Arrow file, and the gather that makes a batch of some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from seqsetvae.batch import EventBatch, lay_out
from seqsetvae.data.arrow import view
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError

EVENT = pa.struct([pa.field("variable", pa.int32(), nullable=False), pa.field("value", pa.float32(), nullable=False)])
SET = pa.struct([pa.field("minute", pa.float64(), nullable=False), pa.field("events", pa.list_(EVENT), nullable=False)])
SCHEMA = pa.schema(
    [
        pa.field("subject_id", pa.string(), nullable=False),
        pa.field("label", pa.int8()),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("n_events", pa.int32(), nullable=False),
        pa.field("sets", pa.list_(SET), nullable=False),
    ]
)
"""One row per subject. Nested lists are stored as offsets and flat values, so every array below is a view of the file."""


@dataclass(frozen=True, eq=False)
class Packed:
    """B subjects with S sets and N events, in order of subject, minute and variable name."""

    subject_id: NDArray[np.object_] | pa.StringArray
    """(B,)"""
    label_B: NDArray[np.float32]
    """0, 1, or NaN: no label. Of a task any numbers, and (B, L) where an outcome is several of them."""
    first_set: NDArray[np.int32]
    """(B + 1,) first set of each subject, and S."""
    first_event: NDArray[np.int32]
    """(S + 1,) first event of each set, and N."""
    minute_S: NDArray[np.float64]
    """Since the subject's first event. float32 in a store of format 1."""
    variable_N: NDArray[np.int32]
    value_N: NDArray[np.float32]
    """As recorded; scaled only on the way into a batch. NaN: the event carries no number."""
    start_B: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Time of each subject's first event: microseconds since 1970, or since the source's minute 0. Zeros if not given."""

    def __post_init__(self) -> None:
        if not len(self.start_B) and len(self.label_B):
            object.__setattr__(self, "start_B", np.zeros(len(self.label_B), dtype=np.int64))

    @property
    def n_subjects(self) -> int:
        return len(self.label_B)

    @property
    def subject_S(self) -> NDArray[np.int64]:
        """The row of each set's subject."""
        return np.repeat(np.arange(self.n_subjects), np.diff(self.first_set))

    @property
    def subject_N(self) -> NDArray[np.int64]:
        """The row of each event's subject."""
        return np.repeat(np.arange(self.n_subjects), np.diff(self.events_before_B))

    @property
    def set_N(self) -> NDArray[np.int64]:
        """The number of each event's set."""
        return np.repeat(np.arange(len(self.minute_S)), np.diff(self.first_event))

    @property
    def minute_N(self) -> NDArray[np.float64]:
        """Of each event its set's."""
        return np.repeat(self.minute_S, np.diff(self.first_event))

    @property
    def end_B(self) -> NDArray[np.float64]:
        """Minute of each subject's last set."""
        return self.minute_S[self.first_set[1:] - 1]

    @property
    def events_before_B(self) -> NDArray[np.int32]:
        """(B + 1,) events of all earlier subjects, and N."""
        return self.first_event[self.first_set]

    def rows(self, start: int, stop: int) -> Packed:
        """Subjects start..stop-1, without copying values."""
        set_0, set_1 = self.first_set[start], self.first_set[stop]
        event_0, event_1 = self.first_event[set_0], self.first_event[set_1]
        return Packed(
            self.subject_id[start:stop],
            self.label_B[start:stop],
            self.first_set[start : stop + 1] - set_0,
            self.first_event[set_0 : set_1 + 1] - event_0,
            self.minute_S[set_0:set_1],
            self.variable_N[event_0:event_1],
            self.value_N[event_0:event_1],
            self.start_B[start:stop],
        )

    def take(self, rows_B: NDArray[np.int64]) -> Packed:
        """Some subjects, at least one, in the order given; only their values are read and copied."""
        n_sets_B = (self.first_set[rows_B + 1] - self.first_set[rows_B]).astype(np.int64)
        set_S = ranges(self.first_set[rows_B].astype(np.int64), n_sets_B)
        n_events_S = (self.first_event[set_S + 1] - self.first_event[set_S]).astype(np.int64)
        event_N = ranges(self.first_event[set_S].astype(np.int64), n_events_S)
        return Packed(
            np.array([str(self.subject_id[int(row)]) for row in rows_B], dtype=object),
            self.label_B[rows_B],
            np.concatenate(([0], np.cumsum(n_sets_B))).astype(np.int32),
            np.concatenate(([0], np.cumsum(n_events_S))).astype(np.int32),
            self.minute_S[set_S],
            self.variable_N[event_N],
            self.value_N[event_N],
            self.start_B[rows_B],
        )


def concatenate(parts: Sequence[Packed]) -> Packed:
    """Subjects of all parts, in order."""

    def joined(offsets: list[NDArray[np.int32]]) -> NDArray[np.int32]:
        before = np.cumsum([0] + [part[-1] for part in offsets])
        shifted = [part[:-1] + start for part, start in zip(offsets, before, strict=False)]
        return np.concatenate([*shifted, before[-1:]]).astype(np.int32)

    if len(parts) == 1:
        return parts[0]
    return Packed(
        np.concatenate([part.subject_id for part in parts]),
        np.concatenate([part.label_B for part in parts]),
        joined([part.first_set for part in parts]),
        joined([part.first_event for part in parts]),
        np.concatenate([part.minute_S for part in parts]),
        np.concatenate([part.variable_N for part in parts]),
        np.concatenate([part.value_N for part in parts]),
        np.concatenate([part.start_B for part in parts]),
    )


def write_packed(path: Path, packed: Packed) -> None:
    """Write one uncompressed Arrow IPC file of one record batch."""
    events = pa.StructArray.from_arrays([pa.array(packed.variable_N), pa.array(packed.value_N)], fields=list(EVENT))
    events_of_set = pa.ListArray.from_arrays(pa.array(packed.first_event), events, type=pa.list_(EVENT))
    sets = pa.StructArray.from_arrays([pa.array(packed.minute_S, pa.float64()), events_of_set], fields=list(SET))
    columns = [
        pa.array(packed.subject_id, pa.string()),
        pa.array(packed.label_B, from_pandas=True).cast(pa.int8()),
        pa.array(packed.start_B),
        pa.array(np.diff(packed.events_before_B), pa.int32()),
        pa.ListArray.from_arrays(pa.array(packed.first_set), sets, type=pa.list_(SET)),
    ]
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=SCHEMA))


def read_packed(path: Path) -> Packed:
    """Map a file of :func:`write_packed`, or of format 1, into memory. Nothing but the labels is read until it is used."""
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path), "r")).get_batch(0)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable shard ({error}). Run `seqsetvae prepare` again.") from error
    sets: Any = batch.column("sets")
    events: Any = sets.values.field("events")
    return Packed(
        batch.column("subject_id"),
        _labels(batch.column("label")),
        view(sets.offsets),
        view(events.offsets),
        view(sets.values.field("minute")),
        view(events.values.field("variable")),
        view(events.values.field("value")),
        view(batch.column("start")) if "start" in batch.schema.names else np.zeros(len(batch), dtype=np.int64),
    )


def _labels(column: pa.Int8Array) -> NDArray[np.float32]:
    label_B = np.frombuffer(column.buffers()[1], np.int8, count=len(column), offset=column.offset)
    is_known_B = view(column.is_valid().cast(pa.int8()))
    return np.where(is_known_B, label_B, np.nan).astype(np.float32)


def gather(
    packed: Packed,
    rows_B: NDArray[np.int64],
    vocabulary: Vocabulary,
    *,
    max_sequence_length: int | None = None,
    grid_columns: int | None = None,
    first_row: int = 0,
) -> EventBatch:
    """The batch of the subjects `rows_B`, values scaled. No loop over subjects, sets or events.

    `max_sequence_length`: events per subject; later sets are left out, always whole sets, except that a first set beyond the limit is
    itself cut. `grid_columns`: see :func:`seqsetvae.batch.lay_out`. `first_row` is added to `rows_B`.
    """
    set_0_B = packed.first_set[rows_B].astype(np.int64)
    set_1_B = packed.first_set[rows_B + 1].astype(np.int64)
    event_0_B = packed.first_event[set_0_B].astype(np.int64)
    if max_sequence_length is not None:
        # first_event ascends over the whole file, so one binary search finds the last set that still fits.
        limit_B = event_0_B + max_sequence_length
        last_fit_B = np.searchsorted(packed.first_event, limit_B.astype(np.int32), side="right") - 1
        set_1_B = np.minimum(set_1_B, np.maximum(last_fit_B, set_0_B + 1))
    n_sets_B = set_1_B - set_0_B
    set_S = ranges(set_0_B, n_sets_B)
    # The events of one subject lie end to end, so they are one range per subject, not one per set.
    n_events_B = packed.first_event[set_1_B] - event_0_B
    n_events_S = packed.first_event[set_S + 1] - packed.first_event[set_S]
    if max_sequence_length is not None:
        n_events_B, n_events_S = (np.minimum(n, max_sequence_length) for n in (n_events_B, n_events_S))
    event_N = ranges(event_0_B, n_events_B)
    variable_N = packed.variable_N[event_N].astype(np.int64)
    recorded_N = packed.value_N[event_N]
    value_N = vocabulary.scale(variable_N, recorded_N)
    number_N = ~np.isnan(recorded_N)
    all_numbers = bool(number_N.all())
    if not all_numbers:
        value_N[~number_N] = 0.0
    first_slot_B, grid = lay_out(n_sets_B, grid_columns)
    return EventBatch(
        variable_N=torch.from_numpy(variable_N),
        value_N=torch.from_numpy(value_N),
        set_N=torch.from_numpy(np.repeat(np.arange(len(set_S)), n_events_S)),
        minute_S=torch.from_numpy(packed.minute_S[set_S].astype(np.float64)),
        subject_S=torch.from_numpy(np.repeat(np.arange(len(rows_B)), n_sets_B)),
        position_S=torch.from_numpy(ranges(np.zeros_like(n_sets_B), n_sets_B)),
        label_B=torch.from_numpy(packed.label_B[rows_B]),
        row_B=torch.from_numpy(rows_B + first_row),
        first_slot_B=torch.from_numpy(first_slot_B),
        grid=grid,
        number_N=None if all_numbers else torch.from_numpy(number_N),
    )


def ranges(start: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ranges start..start+length-1, end to end.

    >>> ranges(np.array([10, 50]), np.array([3, 2]))
    array([10, 11, 12, 50, 51])
    """
    after = np.cumsum(length)
    return np.repeat(start - after + length, length) + np.arange(after[-1])
