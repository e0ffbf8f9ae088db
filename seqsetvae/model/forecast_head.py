"""What each variable's values will be in the hours behind a set, as quantiles: a forecast with its bands.

Quantiles are learned by the pinball loss (Koenker & Bassett 1978), so that a band is as wide and as lopsided as the values are, whatever
their distribution. They are a linear function of the history's state and of what the variable itself has been: a state of some hundred
numbers need not carry the last value of each variable over, only what it does not say. The state gets no gradient from here: a backbone
is the same with forecasts and without.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqsetvae.objective import full_precision

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Q quantiles: the bands of 90 and 50 %, and the median."""
FIRST_BAND = (-1.6, -0.7, 0.0, 0.7, 1.6)
"""Around the last value, on the vocabulary's scale, before any training: where a standard normal has them."""
LONG_AGO = 24.0
"""Hours."""


class ForecastHead(nn.Module):
    """Quantiles of the mean value of V variables in W windows.

    Args:
        width: D of the history's state; what more there is in a state is not looked at.
        variables: V.
        windows: W.
    """

    def __init__(self, width: int, variables: int, windows: int):
        super().__init__()
        self.windows, self.variables = windows, variables
        rows = len(LEVELS) * windows
        self.of_state = nn.Linear(width, rows * variables)
        # Of known, last, mean, age, last x age, each for every row and variable. It starts as "the last value stays".
        self.of_itself_FRV = nn.Parameter(torch.zeros(5, rows, variables))
        with torch.no_grad():
            self.of_itself_FRV[1] = 1.0
            self.of_state.weight.zero_()
            self.of_state.bias.copy_(torch.tensor(FIRST_BAND).repeat_interleave(windows * variables))

    def forward(self, history_SD: Tensor, past_KSV: Tensor, known_SV: Tensor, age_SV: Tensor) -> Tensor:
        """Quantiles, (Q, W, S, V), on the vocabulary's scale; :func:`ascending` makes sure of their order.

        Args:
            history_SD: the state behind each set.
            past_KSV: last value and mean so far; more may follow.
            known_SV: whether there have been any.
            age_SV: hours since the last one.
        """
        stale_SV = age_SV.log1p() / torch.tensor(LONG_AGO).log1p()
        last_SV, mean_SV = past_KSV[0], past_KSV[1]
        itself_FSV = torch.stack([torch.ones_like(last_SV), last_SV, mean_SV, stale_SV, last_SV * stale_SV]) * known_SV
        history_SD = history_SD[:, : self.of_state.in_features].detach()
        of_state_RSV = full_precision(self.of_state(history_SD)).view(len(history_SD), -1, self.variables)
        said_RSV = of_state_RSV.transpose(0, 1) + torch.einsum("fsv,frv->rsv", itself_FSV, self.of_itself_FRV)
        return said_RSV.view(len(LEVELS), self.windows, *last_SV.shape)


def ascending(quantile_QX: Tensor) -> Tensor:
    """Quantiles rearranged to ascend, which never makes one worse (Chernozhukov et al. 2010).

    They are trained as they are: the loss of a linear function is convex, that of a rearranged one is not.
    """
    return quantile_QX.sort(dim=0).values


def pinball(quantile_QX: Tensor, value_X: Tensor, levels: Sequence[float] = LEVELS) -> Tensor:
    """Mean pinball loss over the Q quantiles of each value, in the shape of the values; least at the true quantiles.

    >>> value = torch.tensor([0.0, 2.0])
    >>> pinball(torch.tensor([[1.0, 1.0], [1.0, 1.0]]), value, levels=(0.1, 0.5)).tolist()  # (0.9 + 0.5) / 2, (0.1 + 0.5) / 2
    [0.699999988079071, 0.30000001192092896]
    """
    short_QX = value_X - quantile_QX
    level_Q = value_X.new_tensor(levels).view(-1, *[1] * value_X.dim())
    return torch.maximum(level_Q * short_QX, (level_Q - 1.0) * short_QX).mean(0)
