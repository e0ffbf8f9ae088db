"""What a variable is that was not measured, as quantiles: from the state, from its own past, and from what else is new in the set.

A decoder says a value from latents, through which its last value comes back no nearer than the set just seen does; and that is farther off
than the last value itself. This head starts at the last value and learns from values that are hidden while training
(:mod:`seqsetvae.model.hiding`) when to leave it: how far each other variable of the set has moved from its own last value counts with
a weight for each pair, beside what :mod:`seqsetvae.model.forecast_head` looks at. The model gets no gradient from here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqsetvae.batch import EventBatch
from seqsetvae.errors import InputError
from seqsetvae.model.forecast_head import ForecastHead, pinball
from seqsetvae.model.history_heads import MINUTES, history_targets
from seqsetvae.model.variable_reads import FARTHEST, GAIN, MOST_VARIABLES

HALF_A_MICROSECOND = 0.5 / 60e6
"""In minutes: times are whole microseconds."""


@dataclass(frozen=True)
class Around:
    """What is known around X places of the stays of a batch."""

    past_KXV: Tensor
    """Last value and mean of each variable before; 0 where there is none."""
    known_XV: Tensor
    """bool; whether there is."""
    age_XV: Tensor
    """Hours since the last value; 0 where there is none."""
    news_KXV: Tensor
    """How far each variable that is seen there is from its last value, and from 0 where it has none; 0 of all else."""


@torch.no_grad()
def around_sets(batch: EventBatch, variables: int) -> Around:
    """At each set: the past are the sets before, hidden events and all; the news are what the encoder sees of it."""
    place_S = torch.arange(batch.n_sets, device=batch.minute_S.device)
    before_S = torch.where(batch.position_S > 0, place_S - 1, -1)
    return _around(batch, variables, before_S, batch.minute_S, place_S, torch.ones_like(before_S, dtype=torch.bool))


@torch.no_grad()
def around_last(batch: EventBatch, variables: int, minute_B: Tensor) -> Around:
    """At a minute of each stay, none of whose sets is later. Where its last set is of that very minute, that is news, else past."""
    last_B = batch.last_set_B
    fresh_B = batch.minute_S.index_select(0, last_B) > minute_B - HALF_A_MICROSECOND
    before_B = torch.where(fresh_B & (batch.position_S.index_select(0, last_B) == 0), -1, last_B - fresh_B.long())
    return _around(batch, variables, before_B, minute_B, last_B, fresh_B)


def _around(
    batch: EventBatch, variables: int, before_X: Tensor, minute_X: Tensor, place_X: Tensor, fresh_X: Tensor
) -> Around:
    """What was known after the set `before_X` (-1: nothing), and what the set `place_X` adds where it is fresh."""
    targets, row_X = history_targets(batch, variables, ()), before_X.clamp(min=0)
    known_XV = targets.known_SV.index_select(0, row_X) & (before_X >= 0)[:, None]
    past_KXV = torch.where(known_XV, targets.past_KSV[:2].index_select(1, row_X), 0.0)
    waited_X = (minute_X - batch.minute_S.index_select(0, row_X)).clamp(min=0.0) / MINUTES
    age_XV = targets.age_SV.index_select(0, row_X) + waited_X[:, None].to(targets.age_SV.dtype)
    count_SV, mean_SV = seen_values(batch, variables)
    there_XV = (count_SV.index_select(0, place_X) > 0) & fresh_X[:, None]
    moved_XV = torch.where(there_XV, mean_SV.index_select(0, place_X) - past_KXV[0], 0.0)
    news_KXV = torch.stack([torch.where(known_XV, moved_XV, 0.0), torch.where(known_XV, 0.0, moved_XV)])
    return Around(past_KXV, known_XV, torch.where(known_XV, age_XV, 0.0), news_KXV)


def seen_values(batch: EventBatch, variables: int) -> tuple[Tensor, Tensor]:
    """How many values of each variable of a set the encoder sees, and their mean, both (S, V)."""
    value_N = batch.value_N.clamp(-FARTHEST, FARTHEST)
    counts_N = torch.ones_like(value_N) if batch.number_N is None else batch.number_N.to(value_N.dtype)
    if batch.hidden_N is not None:
        counts_N = counts_N.masked_fill(batch.hidden_N, 0.0)
    cell_N, nothing_C = batch.set_N * variables + batch.variable_N, value_N.new_zeros(batch.n_sets * variables)
    count_C = nothing_C.index_add(0, cell_N, counts_N)
    mean_C = nothing_C.index_add(0, cell_N, counts_N * value_N) / count_C.clamp(min=1.0)
    return count_C.view(-1, variables), mean_C.view(-1, variables)


class FillHead(nn.Module):
    """Quantiles of the value of V variables at places where they are not measured.

    Args:
        width: D of the history's state.
        variables: V.

    Raises:
        InputError: there are too many variables for a weight of each pair.
    """

    def __init__(self, width: int, variables: int):
        super().__init__()
        if variables > MOST_VARIABLES:
            raise InputError(
                f"--model.fill_in: every pair of {variables:,} variables would have a weight, and {MOST_VARIABLES} variables are the most. "
                "Leave it out, or prepare the store with fewer variables."
            )
        self.variables = variables
        self.itself = ForecastHead(width, variables, windows=1)
        self.of_others_KVV = nn.Parameter(torch.zeros(2, variables, variables))

    def forward(self, history_XD: Tensor, around: Around) -> Tensor:
        """Quantiles, (Q, X, V), on the vocabulary's scale; :func:`~seqsetvae.model.forecast_head.ascending` makes sure of their order."""
        itself_QXV = self.itself(history_XD, around.past_KXV, around.known_XV, around.age_XV).squeeze(1)
        return itself_QXV + (around.news_KXV @ (GAIN * self.of_others_KVV)).sum(0)

    def loss(self, history_SD: Tensor, batch: EventBatch) -> Tensor:
        """Mean pinball loss of the hidden values of a batch, 0-d; 0 where there are none."""
        said_QSV = self(history_SD, around_sets(batch, self.variables))
        value_N = batch.value_N.clamp(-FARTHEST, FARTHEST).to(said_QSV.dtype)
        missed_N = pinball(said_QSV[:, batch.set_N, batch.variable_N], value_N)
        asked_N = torch.zeros_like(value_N) if batch.hidden_N is None else batch.hidden_N.to(value_N.dtype)
        if batch.number_N is not None:
            asked_N = asked_N * batch.number_N
        return (missed_N * asked_N).sum() / asked_N.sum().clamp(min=1.0)
