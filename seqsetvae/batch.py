"""`EventBatch`: what travels from the loader to the model.

Shape suffixes, here and in every module of :mod:`seqsetvae.model`:

    B  subjects (ICU stays)        D  model width
    S  sets, of all subjects       Z  latent dimensions
    N  events, of all sets         V  variables in the vocabulary
    H  attention heads             T  sets of the longest subject (the grid of the causal history)

Everything is *packed*: the events of all subjects lie end to end, and `set_N` and `subject_S` say where they belong. There is no
padding to mask in a loss or in a statistic, and no 768-float embedding travels with an event: the model looks it up by `variable_N`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
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
    """float32; minutes since the start of the stay, strictly increasing within a subject."""
    subject_S: Tensor
    """int64, ascending; the subject of each set, 0..B-1. Every subject holds at least one set."""
    position_S: Tensor
    """int64; 0, 1, 2, ... within each subject: the column of the set in the (B, T) grid of the history."""
    label_B: Tensor
    """float32; outcome 0 or 1, NaN where the subject has none."""
    row_B: Tensor
    """int64; row of the subject in its split of the store."""
    grid_length: int
    """T: columns of the history grid. The longest subject of the batch, or a fixed number where shapes must not change."""

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
    def padding_share(self) -> float:
        """Share of the (B, T) history grid that holds no set. The only place where a batch pays for unequal lengths."""
        return 1.0 - self.n_sets / (self.n_subjects * self.grid_length)

    def head(self, sets: int) -> EventBatch:
        """The first subjects with at least so many sets together, and at least two of them; the whole batch where it has no more."""
        first_set_B = torch.searchsorted(
            self.subject_S, torch.arange(self.n_subjects + 1, device=self.subject_S.device)
        )
        enough = int(torch.searchsorted(first_set_B, sets))
        subjects = min(self.n_subjects, max(2, enough))
        n_sets = int(first_set_B[subjects])
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
            grid_length=self.grid_length,
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> EventBatch:
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {key: change(value) for key, value in values.items() if isinstance(value, Tensor)}
        return EventBatch(**values | changed)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> EventBatch:
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> EventBatch:
        return self._map(Tensor.pin_memory)
