"""What was measured of each variable over a stay, in a few numbers: what a risk head may see beside the latents."""

from __future__ import annotations

import torch
from torch import Tensor

from seqsetvae.batch import EventBatch, counts

KINDS = ("last", "mean", "min", "max", "std", "change", "log_count", "measured", "log_age")
"""`change` is last minus first value; `log_count` is log(1 + number of values); `measured` is 0 or 1; `log_age` is log(1 + minutes from the
last value to the stay's last set)."""


def variable_summaries(batch: EventBatch, variables: int) -> Tensor:
    """(B, 9V): the kinds above, each for all variables, of scaled values.

    NaN where nothing can be said because a variable was not measured. Of events without a number only number and time count.

    No loop over subjects, sets or events.

    Args:
        batch: B subjects.
        variables: V, size of the vocabulary.
    """
    cells = batch.n_subjects * variables
    cell_N = batch.subject_S.index_select(0, batch.set_N) * variables + batch.variable_N
    minute_N = batch.minute_S.index_select(0, batch.set_N)
    # Minutes are 0 or more, so 0 as a start changes no greatest one.
    end_B = batch.minute_S.new_zeros(batch.n_subjects).scatter_reduce(0, batch.subject_S, batch.minute_S, "amax")
    count_C = counts(cell_N, cells)
    _, last_C = _first_and_last(cell_N, cells)
    measured_C = count_C > 0
    age_C = (end_B.repeat_interleave(variables) - minute_N.index_select(0, last_C)).to(batch.value_N.dtype)
    columns = [
        *_of_values(*_numbers(cell_N, batch), cells),
        count_C.to(age_C.dtype).log1p(),
        measured_C.to(age_C.dtype),
        torch.where(measured_C, age_C.log1p(), torch.nan),
    ]
    return torch.cat([column_C.view(batch.n_subjects, variables) for column_C in columns], dim=1)


def _numbers(cell_N: Tensor, batch: EventBatch) -> tuple[Tensor, Tensor]:
    """Cell and value of the events that carry a number."""
    if batch.number_N is None:
        return cell_N, batch.value_N
    return cell_N[batch.number_N], batch.value_N[batch.number_N]


def _of_values(cell_N: Tensor, value_N: Tensor, cells: int) -> list[Tensor]:
    """The first six kinds of each cell, NaN where it has no value."""
    nothing_C = torch.full((cells,), torch.nan, dtype=value_N.dtype, device=value_N.device)
    if value_N.shape[0] == 0:
        return [nothing_C] * 6

    count_C = counts(cell_N, cells)
    there_C = count_C > 0

    def mean(source_N: Tensor) -> Tensor:
        total_C = torch.zeros_like(nothing_C).index_add(0, cell_N, source_N)
        return torch.where(there_C, total_C / count_C.clamp(min=1), nothing_C)

    def most(how: str, start: float) -> Tensor:
        return torch.where(
            there_C, torch.full_like(nothing_C, start).scatter_reduce(0, cell_N, value_N, how), nothing_C
        )

    first_C, last_C = _first_and_last(cell_N, cells)
    latest_C = torch.where(there_C, value_N.index_select(0, last_C), nothing_C)
    mean_C = mean(value_N)
    square_C = mean((value_N - mean_C.index_select(0, cell_N)).square())
    # The root of 0 has no gradient: of a single value the spread stays 0 whatever it is.
    spread_C = torch.where(square_C == 0, 0.0, torch.where(square_C == 0, 1.0, square_C).sqrt())
    change_C = latest_C - value_N.index_select(0, first_C)
    return [latest_C, mean_C, most("amin", torch.inf), most("amax", -torch.inf), spread_C, change_C]


def _first_and_last(cell_N: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Number of the first and of the last event of each cell, of any event where it has none: events ascend in time."""
    place_N = torch.arange(cell_N.shape[0], device=cell_N.device)
    nothing_C = torch.zeros(cells, dtype=torch.int64, device=cell_N.device)
    last_C = nothing_C.scatter_reduce(0, cell_N, place_N, "amax")
    # The first one is the last in reverse order.
    from_behind_C = nothing_C.scatter_reduce(0, cell_N, cell_N.shape[0] - 1 - place_N, "amax")
    return cell_N.shape[0] - 1 - from_behind_C, last_C
