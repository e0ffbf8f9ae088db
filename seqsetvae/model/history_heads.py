"""What the history's state h_t may be asked for beside the set just seen: the past of each variable in summaries, and the hours to come.

p(x_t | h_t) alone is met by a state that copies z_t: nothing asks it to remember or to foresee. Linear heads that must give summaries
of everything so far, and what will be measured in the next hours and with which values (as in STraTS, Tipirneni & Reddy 2022), do. The
ELBO stays as it is; the heads' losses are added to it with weights of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqsetvae.batch import EventBatch
from seqsetvae.config import ModelConfig
from seqsetvae.model.forecast_head import ForecastHead, ascending, pinball
from seqsetvae.model.variable_reads import FARTHEST, GAIN, state_width
from seqsetvae.objective import HistoryLoss, full_precision

KINDS = ("last", "mean", "min", "max", "std", "log_count")
"""K summaries of a variable's values up to and with a set; `log_count` is log(1 + how many)."""
READ_KINDS = (*KINDS, "first", "log_age")
"""Those asked of reads of each variable, which have room for more; `log_age` is log(1 + hours since the last value)."""
OUTLOOK_KINDS = ("last", "log_count")
"""Summaries that the outlook has of a variable's past."""
MINUTES = 60.0


@dataclass(frozen=True)
class HistoryTargets:
    """What the heads should say of each set; W windows of hours."""

    past_KSV: Tensor
    """READ_KINDS: scaled values, within FARTHEST of 0, and how many and how old; 0 where nothing is known but the count."""
    known_SV: Tensor
    """bool; whether the variable has had a value so far."""
    age_SV: Tensor
    """Hours since its last value; 0 where it has had none."""
    later_WSV: Tensor
    """Mean of the scaled values in the window behind the set; 0 where there are none."""
    valued_WSV: Tensor
    """bool; whether there are any."""
    measured_WSV: Tensor
    """bool; whether the variable is measured in the window, with a number or without."""
    whole_WS: Tensor
    """bool; whether the stay goes on until the window's end, so that what is not there was not measured."""


@dataclass(frozen=True)
class HoursToCome:
    """What is expected behind some sets; W windows of hours."""

    chance_WSV: Tensor
    """That a variable is measured in the window, where the stay goes on until its end."""
    quantile_QWSV: Tensor
    """Ascending, of the mean of its values, on the vocabulary's scale; levels are those of the forecast head."""


class HistoryHeads(nn.Module):
    """One linear layer on a state, and where there are hours to foresee, the quantiles of a forecast, which it learns nothing from.

    Where the state has reads of each variable, the summaries of a variable are linear in its own reads alone.

    Args:
        config: its `width`, `reads`, whether to `remember`, and the windows to foresee.
        variables: V.
    """

    def __init__(self, config: ModelConfig, variables: int):
        super().__init__()
        self.variables, self.hours = variables, config.foresee_hours
        self.kinds = (READ_KINDS if config.reads else KINDS) if config.remember else ()
        by_reads = config.reads > 0 and config.remember
        self.of_reads = VariableLinear(variables, 2 * config.reads, len(self.kinds)) if by_reads else None
        by_state = 2 * len(self.hours) + (0 if by_reads else len(self.kinds))
        self.linear = nn.Linear(state_width(config, variables), variables * by_state) if by_state else None
        self.quantiles = ForecastHead(config.width, variables, len(self.hours)) if self.hours else None
        self.register_load_state_dict_pre_hook(_without_quantiles)

    def forward(self, state_SD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Summaries (K, S, V), and for each window the mean value and the logit of being measured, both (W, S, V)."""
        said = [] if self.of_reads is None else [full_precision(self.of_reads(state_SD))]
        if self.linear is not None:
            said.append(full_precision(self.linear(state_SD)).unflatten(1, (-1, self.variables)).transpose(0, 1))
        past, value, logit = torch.cat(said).split([len(self.kinds), len(self.hours), len(self.hours)])
        return past, value, logit

    def statements(self, state_SD: Tensor) -> Tensor:
        """All that :meth:`forward` gives, in one row for each state, (S, F)."""
        return torch.cat(self(state_SD)).transpose(0, 1).flatten(1)

    def outlook(self, state_SD: Tensor) -> Tensor:
        """What each variable is and will be, in a few numbers, (S, F).

        Its last value, how often it was measured, and for the longest window its mean and the logit of being measured; of these what the
        model was asked for. Fewer than :meth:`statements`, and what matters most of them: a probe with few labels has less to choose from.
        """
        past_KSV, value_WSV, logit_WSV = self(state_SD)
        now = [past_KSV[self.kinds.index(kind)] for kind in OUTLOOK_KINDS if kind in self.kinds]
        longest = [int(np.argmax(self.hours))] if self.hours else []
        return torch.cat([*now, *(said_WSV[at] for at in longest for said_WSV in (value_WSV, logit_WSV))], dim=1)

    def loss(self, state_SD: Tensor, batch: EventBatch) -> HistoryLoss:
        """How far the heads are from what was and what came."""
        targets = history_targets(batch, self.variables, self.hours)
        past_KSV, value_WSV, logit_WSV = self(state_SD)
        remember = foresee = forecast = past_KSV.new_zeros(())
        if self.kinds:
            error_KSV = (past_KSV - targets.past_KSV[: len(self.kinds)]).square()
            always_SV = torch.ones_like(targets.known_SV)
            told = (always_SV if kind == "log_count" else targets.known_SV for kind in self.kinds)
            remember = torch.stack([_mean(*one) for one in zip(error_KSV, told, strict=True)]).mean()
        if self.hours:
            measured_WSV = targets.measured_WSV.to(logit_WSV.dtype)
            told_WSV = F.binary_cross_entropy_with_logits(logit_WSV, measured_WSV, reduction="none")
            error_WSV = (value_WSV - targets.later_WSV).square()
            foresee = _mean(told_WSV.mean(2), targets.whole_WS) + _mean(error_WSV, targets.valued_WSV)
        if self.quantiles is not None:
            said_QWSV = self.quantiles(state_SD, targets.past_KSV, targets.known_SV, targets.age_SV)
            # Most variables are measured in few windows: only where they are is anything worked out.
            said_QX, right_X = said_QWSV[:, targets.valued_WSV], targets.later_WSV[targets.valued_WSV]
            forecast = pinball(said_QX, right_X).sum() / max(1, len(right_X))
        return HistoryLoss(remember, foresee, forecast)

    def forecast(self, state_SD: Tensor, batch: EventBatch) -> HoursToCome:
        """What is expected behind each set of a batch, of which no event after the set is looked at.

        Raises:
            ValueError: the heads foresee nothing, or no quantiles, as those of earlier versions.
        """
        if self.quantiles is None:
            raise ValueError("These heads give no quantiles.")
        past = history_targets(batch, self.variables, ())
        said_QWSV = self.quantiles(state_SD, past.past_KSV, past.known_SV, past.age_SV)
        return HoursToCome(self(state_SD)[2].sigmoid(), ascending(said_QWSV))


def _without_quantiles(heads: HistoryHeads, weights: Mapping[str, Any], prefix: str, *_: Any) -> None:
    """Weights of an earlier version are without: then the heads are too."""
    if not any(key.startswith(f"{prefix}quantiles.") for key in weights):
        heads.quantiles = None


class VariableLinear(nn.Module):
    """A linear layer for each of V variables, on its own F of the last V F numbers of a state. (S, D) -> (K, S, V)."""

    def __init__(self, variables: int, inputs: int, outputs: int):
        super().__init__()
        bound = inputs**-0.5 / GAIN  # then as nn.Linear starts its weights
        self.weight_VFK = nn.Parameter(torch.empty(variables, inputs, outputs).uniform_(-bound, bound))
        self.bias_VK = nn.Parameter(torch.zeros(variables, outputs))

    def forward(self, state_SD: Tensor) -> Tensor:
        variables, inputs, _ = self.weight_VFK.shape
        own_VSF = state_SD[:, -variables * inputs :].view(-1, variables, inputs).transpose(0, 1)
        return (own_VSF @ (GAIN * self.weight_VFK) + self.bias_VK[:, None]).permute(2, 1, 0)


def _mean(value: Tensor, counts: Tensor) -> Tensor:
    return (value * counts).sum() / counts.sum().clamp(min=1)


@torch.no_grad()
def history_targets(batch: EventBatch, variables: int, hours: Sequence[float]) -> HistoryTargets:
    """What was and what came, at each set; sums over windows are differences of running sums. No loop over subjects, sets or events."""
    n_sets = batch.n_sets
    place_S = torch.arange(n_sets, device=batch.minute_S.device)
    first_S = place_S - batch.position_S
    table = _Cells(batch, variables)
    count_SV, value_count_SV = table.count(), table.count(numbers=True)
    value_SV, square_SV = table.sums()
    so_far_SV = _since(first_S, value_count_SV)
    known_SV = so_far_SV > 0
    filled_SV = so_far_SV.clamp(min=1)
    mean_SV = _since(first_S, value_SV) / filled_SV
    spread_SV = (_since(first_S, square_SV) / filled_SV - mean_SV.square()).clamp(min=0).sqrt()
    there_SV, cell_SV = value_count_SV > 0, value_SV / value_count_SV.clamp(min=1)
    latest_SV = torch.where(there_SV, place_S[:, None], -1).cummax(0).values.clamp(min=0)
    greatest_SV, least_SV = (_running_max(sign * cell_SV, there_SV, batch.subject_S) * sign for sign in (1, -1))
    counted_SV = _since(first_S, count_SV).log1p()
    age_SV = torch.where(known_SV, (batch.minute_S[:, None] - batch.minute_S[latest_SV]) / MINUTES, 0.0)
    # All numbers so far are those of this set.
    opening_SV = there_SV & (so_far_SV == value_count_SV)
    earliest_SV = torch.where(opening_SV, place_S[:, None], -1).cummax(0).values.clamp(min=0)
    last_SV, first_SV = (cell_SV.gather(0, which_SV) for which_SV in (latest_SV, earliest_SV))
    values_KSV = torch.stack([last_SV, mean_SV, least_SV, greatest_SV, spread_SV, first_SV])
    *values, first_SV = torch.where(known_SV, values_KSV.clamp(-FARTHEST, FARTHEST), 0.0)

    minutes_W = MINUTES * torch.tensor(hours, dtype=torch.float64, device=place_S.device)
    until_WS = _last_within(batch, minutes_W)
    n_sets_B = torch.bincount(batch.subject_S, minlength=batch.n_subjects)
    end_S = batch.minute_S.index_select(0, n_sets_B.cumsum(0) - 1).index_select(0, batch.subject_S)
    later_count_WSV = _between(until_WS, value_count_SV)
    later_WSV = _between(until_WS, value_SV) / later_count_WSV.clamp(min=1)
    return HistoryTargets(
        past_KSV=torch.stack([*values, counted_SV, first_SV, age_SV.log1p()]).to(batch.value_N.dtype),
        known_SV=known_SV,
        age_SV=age_SV.to(batch.value_N.dtype),
        later_WSV=later_WSV.clamp(-FARTHEST, FARTHEST).to(batch.value_N.dtype),
        valued_WSV=later_count_WSV > 0,
        measured_WSV=_between(until_WS, count_SV) > 0,
        whole_WS=batch.minute_S + minutes_W[:, None] <= end_S,
    )


class _Cells:
    """Events added up by set and variable, in float64: running sums over a whole batch are subtracted from each other."""

    def __init__(self, batch: EventBatch, variables: int):
        self.shape = batch.n_sets, variables
        self.cell_N = batch.set_N * variables + batch.variable_N
        numbers = batch.number_N
        self.numbered_N = self.cell_N if numbers is None else self.cell_N[numbers]
        value_N = batch.value_N if numbers is None else batch.value_N[numbers]
        self.value_N = value_N.double()

    def count(self, numbers: bool = False) -> Tensor:
        cell_N = self.numbered_N if numbers else self.cell_N
        return torch.bincount(cell_N, minlength=self.shape[0] * self.shape[1]).view(self.shape).double()

    def sums(self) -> tuple[Tensor, Tensor]:
        """Of values and of their squares."""
        nothing_C = self.value_N.new_zeros(self.shape[0] * self.shape[1])
        first, second = (
            nothing_C.index_add(0, self.numbered_N, one_N).view(self.shape)
            for one_N in (self.value_N, self.value_N.square())
        )
        return first, second


def _since(first_S: Tensor, amount_SV: Tensor) -> Tensor:
    """Sum over the sets of a subject up to and with each one."""
    running_SV = amount_SV.cumsum(0)
    return running_SV - (running_SV - amount_SV).index_select(0, first_S)


def _between(until_WS: Tensor, amount_SV: Tensor) -> Tensor:
    """Sum over the sets behind each one up to and with another one, (W, S, V)."""
    running_SV = amount_SV.cumsum(0)
    return running_SV[until_WS] - running_SV


def _running_max(value_SV: Tensor, there_SV: Tensor, subject_S: Tensor) -> Tensor:
    """Greatest value of a subject so far. Each subject is lifted above those before it, whose values so never count."""
    lift_S = subject_S.double() * (4 * FARTHEST)
    lifted_SV = torch.where(there_SV, value_SV.clamp(-FARTHEST, FARTHEST) + lift_S[:, None], -torch.inf)
    return lifted_SV.cummax(0).values - lift_S[:, None]


def _last_within(batch: EventBatch, minutes_W: Tensor) -> Tensor:
    """The last set of the same subject within so many minutes of each set, (W, S)."""
    # One ascending number for subject and minute; subjects lie farther apart than any window reaches.
    apart = batch.minute_S.max() + minutes_W.sum() + 1.0
    when_S = batch.subject_S * apart + batch.minute_S
    return torch.searchsorted(when_S, when_S + minutes_W[:, None], right=True) - 1
