"""What a state keeps of each variable: a few learned reads over all events so far, so that the last lactate is one number of the state.

Read r of variable v is a mean of learned values u of its events, weighted by what they are and by how long ago they were:

    w_i    = exp(k_i - (t - t_i) / tau)                             weight, at minute t, of an event at minute t_i
    read_t = sum_i w_i u_i / (1 + sum_i w_i)                        value, drawn to 0 where hardly anything was seen
    seen_t = log(1 + sum_i w_i)                                     how much was seen: log(1 + count) for k = 0 and tau without end

k and u are piecewise linear in the event's value, with slopes learned for each read of each variable, as tau is. With a short tau a read is
the last value, with a long one the mean, and with a k that grows with the value the greatest; which of these it becomes is up to what
the state is asked for (:mod:`seqsetvae.model.history_heads`). The transformer's state has D numbers for all variables together, in which
such summaries do not fit. The reads stand beside it: the decoder never sees them, and the ELBO is what it is without.

Shapes: R reads per variable, C = V R, F features of an event (:mod:`seqsetvae.batch`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqsetvae.batch import EventBatch
from seqsetvae.config import ModelConfig
from seqsetvae.errors import InputError
from seqsetvae.model.attention import LONGEST_PERIOD, SHORTEST_PERIOD

KNOTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Where the slopes in the value change, on the vocabulary's scale."""
FARTHEST = 5.0
"""Standard deviations: a value farther out, such as a typing error, counts as this far."""
GAIN = 6.0
"""Slopes and the heads' weights on reads are so many times their parameters. An optimizer such as Adam moves every parameter alike, by the
learning rate that suits layers of some hundred inputs; these have ten, and as much farther to go."""
LARGEST_SCORE = 10.0
"""|k| stays below this, smoothly: weights between 5e-5 and 22,000, whose sums are exact enough in float32."""
MOST_VARIABLES = 500
"""With more the reads would be most of the model."""


def state_width(config: ModelConfig, variables: int) -> int:
    """Numbers in a state: D, and with reads a value and an amount for each."""
    return config.width + 2 * config.reads * variables


class VariableReads(nn.Module):
    """See the module.

    Args:
        config: its R, `reads`.
        variables: V.

    Raises:
        InputError: there are too many variables.
    """

    def __init__(self, config: ModelConfig, variables: int):
        super().__init__()
        if variables > MOST_VARIABLES:
            raise InputError(
                f"--model.reads {config.reads}: the state would keep reads of each of {variables:,} variables, and {MOST_VARIABLES} is the "
                "most. Leave it out, or prepare the store with fewer variables."
            )
        self.variables, self.reads = variables, config.reads
        self.slope_VRF = nn.Parameter(0.3 / GAIN * torch.randn(variables, 2 * config.reads, len(KNOTS) + 4))
        exponent = torch.linspace(0.0, 1.0, config.reads).repeat(variables)
        longest = config.longest_period or LONGEST_PERIOD
        self.log_tau_C = nn.Parameter(torch.log(SHORTEST_PERIOD * (longest / SHORTEST_PERIOD) ** exponent))

    def forward(self, batch: EventBatch) -> Tensor:
        """The reads after each set, (S, V * 2 R): of each variable R values, then how much was seen for each."""
        of_set_2SC = self._added(self._amounts(batch), batch.set_N, batch.n_sets, batch)
        return self._said(fading_sums(of_set_2SC, self.log_tau_C.exp().reciprocal(), batch))

    def at_end(self, batch: EventBatch) -> Tensor:
        """Those after the last set of each subject, (B, V * 2 R), without the ones before: each event fades once."""
        ends_S = batch.minute_S.index_select(0, batch.last_set_B).index_select(0, batch.subject_S)
        age_N = (ends_S - batch.minute_S).to(self.log_tau_C.dtype).index_select(0, batch.set_N)
        rate_VR = self.log_tau_C.exp().reciprocal().view(self.variables, self.reads)
        faded_NR = torch.exp(-age_N[:, None] * rate_VR.index_select(0, batch.variable_N))
        subject_N = batch.subject_S.index_select(0, batch.set_N)
        return self._said(self._added(self._amounts(batch) * faded_NR, subject_N, batch.n_subjects, batch))

    def _amounts(self, batch: EventBatch) -> Tensor:
        """w u and w of each event when it comes, (2, N, R)."""
        slope_NRF = GAIN * self.slope_VRF.index_select(0, batch.variable_N)
        score_NR, value_NR = (slope_NRF @ event_features(batch)[:, :, None]).squeeze(2).chunk(2, dim=1)
        weight_NR = (LARGEST_SCORE * torch.tanh(score_NR / LARGEST_SCORE)).exp()
        return torch.stack([weight_NR * value_NR, weight_NR])

    def _added(self, amount_2NR: Tensor, row_N: Tensor, rows: int, batch: EventBatch) -> Tensor:
        """Sums over the events of each row and variable, (2, rows, C)."""
        cell_N = row_N * self.variables + batch.variable_N
        found = amount_2NR.new_zeros(2, rows * self.variables, self.reads).index_add(1, cell_N, amount_2NR)
        return found.view(2, rows, -1)

    def _said(self, sums_2SC: Tensor) -> Tensor:
        """From both sums to what is read, (S, V * 2 R)."""
        weighted_SC, total_SC = sums_2SC
        shape = total_SC.shape[0], self.variables, self.reads
        read_SVR, seen_SVR = (weighted_SC / (1.0 + total_SC)).view(shape), total_SC.log1p().view(shape)
        return torch.cat([read_SVR, seen_SVR], dim=2).flatten(1)


def event_features(batch: EventBatch) -> Tensor:
    """What k and u are linear in, (N, F): 1, whether there is a number, the value, log(1 + hours of the stay), excess over each knot."""
    value_N = batch.value_N.clamp(-FARTHEST, FARTHEST)
    one_N = torch.ones_like(value_N)
    number_N = one_N if batch.number_N is None else batch.number_N.to(value_N.dtype)
    hours_N = (batch.minute_S / 60.0).log1p().to(value_N.dtype).index_select(0, batch.set_N)
    over_NK = F.relu(value_N[:, None] - value_N.new_tensor(KNOTS)) * number_N[:, None]
    return torch.cat([torch.stack([one_N, number_N, value_N, hours_N], dim=1), over_NK], dim=1)


def fading_sums(amount_KSC: Tensor, rate_C: Tensor, batch: EventBatch) -> Tensor:
    """sum_{s <= t} exp(-rate (t - s)) amount_s within each subject, after each set; of K amounts at once.

    After step i a set holds the sum over itself and the 2^i - 1 sets before it (Hillis & Steele 1986): as many steps as the longest stay
    has binary digits, and all terms of positive amounts positive, so that nothing cancels and nothing overflows.
    """
    longest = batch.columns
    distance = 1
    while distance < min(longest, batch.n_sets):
        minutes_T = (batch.minute_S[distance:] - batch.minute_S[:-distance]).to(rate_C.dtype)
        same_T = batch.position_S[distance:] >= distance
        faded_TC = torch.exp(-torch.where(same_T, minutes_T, 0.0)[:, None] * rate_C) * same_T[:, None]
        earlier_KTC = amount_KSC[:, :-distance] * faded_TC
        amount_KSC = torch.cat([amount_KSC[:, :distance], amount_KSC[:, distance:] + earlier_KTC], dim=1)
        distance *= 2
    return amount_KSC
