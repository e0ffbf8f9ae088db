"""What was measured of each variable over a stay, in a few numbers: what a risk head may see beside the latents."""

from __future__ import annotations

import torch
from torch import Tensor

from seqsetvae.batch import EventBatch

KINDS = ("last", "mean", "min", "max", "std", "change", "log_count", "measured", "log_age")
"""`change` is last minus first value; `log_count` is log(1 + number of values); `measured` is 0 or 1; `log_age` is log(1 + minutes from the
last value to the stay's last set)."""


def variable_summaries(batch: EventBatch, variables: int) -> Tensor:
    """(B, 9V): the kinds above, each for all variables, of scaled values.

    NaN where nothing can be said because a variable was not measured.

    No loop over subjects, sets or events.

    Args:
        batch: B subjects.
        variables: V, size of the vocabulary.
    """
    cells = batch.n_subjects * variables
    subject_N = batch.subject_S.index_select(0, batch.set_N)
    cell_N = subject_N * variables + batch.variable_N
    value_N = batch.value_N
    nothing_C = torch.full((cells,), torch.nan, dtype=value_N.dtype, device=value_N.device)

    def collected(source_N: Tensor, how: str) -> Tensor:
        return nothing_C.to(source_N.dtype).scatter_reduce(0, cell_N, source_N, how, include_self=False)

    count_C = torch.bincount(cell_N, minlength=cells)
    measured_C = count_C > 0
    mean_C = collected(value_N, "mean")
    spread_C = collected((value_N - mean_C.index_select(0, cell_N)).square(), "mean").sqrt()
    # Events ascend in time, so the first and the last of a variable are those with the least and the greatest number.
    number_N = torch.arange(batch.n_events, device=value_N.device)
    first_C, last_C = (
        torch.zeros_like(count_C).scatter_reduce(0, cell_N, number_N, how, include_self=False)
        for how in ("amin", "amax")
    )
    minute_N = batch.minute_S.index_select(0, batch.set_N)
    end_B = torch.zeros(batch.n_subjects, device=value_N.device).scatter_reduce(
        0, batch.subject_S, batch.minute_S, "amax", include_self=False
    )
    age_C = end_B.repeat_interleave(variables) - minute_N.index_select(0, last_C)
    latest_C = value_N.index_select(0, last_C)
    columns = [
        torch.where(measured_C, latest_C, nothing_C),
        mean_C,
        collected(value_N, "amin"),
        collected(value_N, "amax"),
        spread_C,
        torch.where(measured_C, latest_C - value_N.index_select(0, first_C), nothing_C),
        count_C.to(value_N.dtype).log1p(),
        measured_C.to(value_N.dtype),
        torch.where(measured_C, age_C.log1p(), nothing_C),
    ]
    return torch.cat([column_C.view(batch.n_subjects, variables) for column_C in columns], dim=1)
