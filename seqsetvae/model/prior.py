"""p(z_t | h_{t-1}, minutes since the set before): what is expected of a set before it is seen, in place of N(0, I).

As in sequential VAEs (Chung et al. 2015, "A recurrent latent variable model for sequential data"; Krishnan et al. 2017): the KL then
measures what is new in a set alone, and the history must foresee. It starts as N(0, I).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqsetvae.batch import EventBatch
from seqsetvae.config import ModelConfig
from seqsetvae.model.set_encoder import LOGVAR_BOUND
from seqsetvae.objective import full_precision
from seqsetvae.posterior import DiagonalGaussian

PERIODS = (10.0, 60.0, 360.0, 1440.0)
"""Minutes; how much of each has passed since the set before, as 1 - exp(-minutes / period), is what the prior knows of the time."""


class LearnedPrior(nn.Module):
    """A diagonal Gaussian for each set, from the history before it. Of the first set of a stay it knows nothing: one for all."""

    periods: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(config.width + len(PERIODS), config.ff_dim), nn.ReLU(inplace=True))
        self.moments = nn.Linear(config.ff_dim, 2 * config.latent_dim)
        self.register_buffer("periods", torch.tensor(PERIODS, dtype=torch.float64), persistent=False)
        with torch.no_grad():
            self.moments.weight.zero_()
            self.moments.bias.zero_()

    def forward(self, history_SD: Tensor, batch: EventBatch) -> DiagonalGaussian:
        """The prior of every set, from the states *after* each set: that of a set is made of the state after the one before."""
        follows_S1 = (batch.position_S > 0)[:, None]
        before_SD = torch.where(follows_S1, history_SD.roll(1, 0), 0.0)
        minutes_S1 = torch.where(follows_S1, (batch.minute_S - batch.minute_S.roll(1))[:, None], 0.0)
        passed_SP = -torch.expm1(-minutes_S1 / self.periods.to(minutes_S1.dtype))
        known_SF = torch.cat([before_SD, passed_SP.to(before_SD.dtype)], dim=1)
        mu_SZ, raw_SZ = full_precision(self.moments(self.hidden(known_SF))).chunk(2, dim=1)
        return DiagonalGaussian(mu_SZ, LOGVAR_BOUND * torch.tanh(raw_SZ / LOGVAR_BOUND))
