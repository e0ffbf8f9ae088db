"""Event dropout: a stay whose charting was a little sparser has the same outcome."""

from __future__ import annotations

import torch

from seqsetvae.batch import EventBatch


def drop_events(batch: EventBatch, share: float) -> EventBatch:
    """Leave out each event with this probability, except the first of each subject; sets that lose all events go as well.

    Draws from the global generator of the batch's device.
    """
    if share == 0.0:
        return batch
    first_set_B = torch.searchsorted(batch.subject_S, torch.arange(batch.n_subjects, device=batch.subject_S.device))
    keep_N = torch.rand(batch.n_events, device=batch.value_N.device) >= share
    keep_N[torch.searchsorted(batch.set_N, first_set_B)] = True
    kept_S, set_N = torch.unique_consecutive(batch.set_N[keep_N], return_inverse=True)
    subject_S = batch.subject_S[kept_S]
    n_sets_B = torch.bincount(subject_S, minlength=batch.n_subjects)
    position_S = torch.arange(len(kept_S), device=subject_S.device) - (n_sets_B.cumsum(0) - n_sets_B)[subject_S]
    return EventBatch(
        variable_N=batch.variable_N[keep_N],
        value_N=batch.value_N[keep_N],
        set_N=set_N,
        minute_S=batch.minute_S[kept_S],
        subject_S=subject_S,
        position_S=position_S,
        label_B=batch.label_B,
        row_B=batch.row_B,
        first_slot_B=batch.first_slot_B,
        grid=batch.grid,
        number_N=None if batch.number_N is None else batch.number_N[keep_N],
    )
