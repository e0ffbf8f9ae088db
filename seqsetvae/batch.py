"""`EventBatch`: what travels from the loader to the model.

Shape suffixes, here and in every module of :mod:`seqsetvae.model`:

    B  subjects (ICU stays)        D  model width
    S  sets, of all subjects       Z  latent dimensions
    N  events, of all sets         V  variables in the vocabulary
    H  attention heads             T  columns of a block of the history grid (:func:`lay_out`)

Everything is *packed*: the events of all subjects lie end to end, and `set_N` and `subject_S` say where they belong. There is no
padding to mask in a loss or in a statistic, and no 768-float embedding travels with an event: the model looks it up by `variable_N`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class EventBatch:
    """Packed events of B subjects. Events lie in order of their set, sets in order of their subject and minute."""

    variable_N: Tensor
    """int64; row of the vocabulary."""
    value_N: Tensor
    """float32; the recorded value after :meth:`seqsetvae.data.vocabulary.Vocabulary.scale` (no unit)."""
    set_N: Tensor
    """int64, ascending; the set of each event, 0..S-1. Every set holds at least one event."""
    minute_S: Tensor
    """float64, so that minutes stay apart after decades; since the first event of the stay, strictly increasing within a subject."""
    subject_S: Tensor
    """int64, ascending; the subject of each set, 0..B-1. Every subject holds at least one set."""
    position_S: Tensor
    """int64; 0, 1, 2, ... within each subject: the column of the set on the history grid."""
    label_B: Tensor
    """float32; outcome 0 or 1, NaN where the subject has none."""
    row_B: Tensor
    """int64; row of the subject in its split of the store."""
    first_slot_B: Tensor
    """int64; where the row of each subject starts on the history grid, whose blocks lie end to end, row by row."""
    grid: tuple[tuple[int, int], ...]
    """(rows, columns) of each block of the history grid; see :func:`lay_out`."""
    number_N: Tensor | None = None
    """bool; whether the event carries a number. Where it does not, `value_N` is 0 and means nothing. None: all events do."""
    hidden_N: Tensor | None = None
    """bool; whether the encoder must do without the event, though the decoder is asked for it (:mod:`seqsetvae.model.hiding`). Of every
    set it sees one event at least. None: it sees all."""

    def __repr__(self) -> str:
        return f"<EventBatch of {self.n_subjects} subjects, {self.n_sets} sets, {self.n_events} events>"

    @property
    def n_subjects(self) -> int:
        return self.label_B.shape[0]

    @property
    def n_sets(self) -> int:
        return self.minute_S.shape[0]

    @property
    def n_events(self) -> int:
        return self.variable_N.shape[0]

    @property
    def columns(self) -> int:
        """Of the widest block of the history grid: no fewer than the sets of the longest subject. Known without asking a GPU."""
        return max(columns for _, columns in self.grid)

    @property
    def padding_share(self) -> float:
        """Share of the history grid that holds no set. The only place where a batch pays for unequal lengths."""
        return 1.0 - self.n_sets / sum(rows * columns for rows, columns in self.grid)

    @property
    def slot_S(self) -> Tensor:
        """The place of each set on the history grid."""
        return self.first_slot_B.index_select(0, self.subject_S) + self.position_S

    @property
    def last_set_B(self) -> Tensor:
        """The last set of each subject."""
        return counts(self.subject_S, self.n_subjects).cumsum(0) - 1

    def head(self, sets: int) -> EventBatch:
        """The first subjects with at least so many sets together, and at least two of them; the whole batch where it has no more."""
        first_set_B = torch.searchsorted(
            self.subject_S, torch.arange(self.n_subjects + 1, device=self.subject_S.device)
        )
        enough = int(torch.searchsorted(first_set_B, sets))
        subjects = min(self.n_subjects, max(2, enough))
        n_sets = int(first_set_B[subjects])
        first_slot_B, grid = lay_out(first_set_B[: subjects + 1].diff().cpu().numpy())
        n_events = int(torch.searchsorted(self.set_N, n_sets))
        return EventBatch(
            variable_N=self.variable_N[:n_events],
            value_N=self.value_N[:n_events],
            set_N=self.set_N[:n_events],
            minute_S=self.minute_S[:n_sets],
            subject_S=self.subject_S[:n_sets],
            position_S=self.position_S[:n_sets],
            label_B=self.label_B[:subjects],
            row_B=self.row_B[:subjects],
            first_slot_B=torch.from_numpy(first_slot_B).to(self.first_slot_B.device),
            grid=grid,
            number_N=None if self.number_N is None else self.number_N[:n_events],
            hidden_N=None if self.hidden_N is None else self.hidden_N[:n_events],
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> EventBatch:
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {key: change(value) for key, value in values.items() if isinstance(value, Tensor)}
        return EventBatch(**values | changed)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> EventBatch:
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> EventBatch:
        return self._map(Tensor.pin_memory)


def counts(number_X: Tensor, size: int) -> Tensor:
    """How often each number below `size` occurs, as `bincount` says, but in operations that every runtime has.

    >>> counts(torch.tensor([0, 2, 2]), 4).tolist()
    [1, 0, 2, 0]
    """
    return number_X.new_zeros(size).index_add(0, number_X, torch.ones_like(number_X))


def lay_out(
    n_sets_B: NDArray[np.int64], columns: int | None = None
) -> tuple[NDArray[np.int64], tuple[tuple[int, int], ...]]:
    """Give every subject a row of the grid on which the history attends: a column per set, filled from the left.

    Attention costs rows x columns^2, so one long subject would make all rows long: where it saves at least a fifth, the longest
    subjects get a block of their own.

    Args:
        n_sets_B: sets of each subject.
        columns: one block with so many columns, for shapes that must not change. At least the sets of the longest subject.

    Returns:
        The first slot of each subject, and (rows, columns) of each block.

    >>> lay_out(np.array([2, 5, 1]))
    (array([5, 0, 7]), ((1, 5), (2, 2)))
    >>> lay_out(np.array([2, 5, 1]), columns=6)
    (array([ 0,  6, 12]), ((3, 6),))
    """
    subjects, longest = len(n_sets_B), int(n_sets_B.max())
    width = longest if columns is None else columns
    if width < longest:
        raise ValueError(f"a grid of {columns} columns is below the {longest} sets of the longest subject")
    order_B = np.argsort(-n_sets_B, kind="stable")
    rank_B, descending_B = np.arange(subjects), n_sets_B[order_B]
    # With 0, 1, 2, ... subjects in the block of the longest.
    cost_B = rank_B * longest**2 + (subjects - rank_B) * descending_B**2
    long = int(cost_B.argmin())
    if columns is not None or cost_B[long] > 0.8 * cost_B[0]:
        return rank_B * width, ((subjects, width),)
    shorter = int(descending_B[long])
    first_slot_B = np.empty_like(rank_B)
    first_slot_B[order_B] = np.where(rank_B < long, rank_B * longest, long * longest + (rank_B - long) * shorter)
    return first_slot_B, ((long, longest), (subjects - long, shorter))
