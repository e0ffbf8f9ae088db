"""q(z_t | set_t): events -> one diagonal Gaussian per set, for all sets of all subjects at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seqsetvae.batch import EventBatch
from seqsetvae.config import ModelConfig
from seqsetvae.model.attention import SetAttentionLevel, SetPooling
from seqsetvae.objective import full_precision
from seqsetvae.posterior import DiagonalGaussian

VALUE_FREQUENCIES = 8
LOGVAR_BOUND = 10.0
"""|log sigma^2| of a posterior stays below this, smoothly: sigma between 0.7 % and 148, never 0 and never infinite."""
FIRST_LOGVAR = -3.0
"""log sigma^2 of an untrained encoder: sigma about 0.22."""


class EventEmbedding(nn.Module):
    """Event (variable, value) -> vector: an offset and a gain per variable, and a Fourier feature of the value shared by all.

    An event without a number is its variable's offset alone.

    Args:
        variables: V, size of the vocabulary.
        width: D.
        frozen_VE: embeddings of the variables that came with the data (the guides' cached.csv, E = 768). They stay as they are and go
            through a trained projection; without them offset and gain are learned tables.
    """

    frozen_VE: Tensor | None
    frequency: Tensor

    def __init__(self, variables: int, width: int, frozen_VE: Tensor | None = None):
        super().__init__()
        self.register_buffer("frozen_VE", frozen_VE)
        if frozen_VE is None:
            self.table = nn.Parameter(torch.randn(variables, 2 * width) / math.sqrt(width))
        else:
            self.project = nn.Linear(frozen_VE.shape[1], 2 * width)
        self.fourier = nn.Linear(2 * VALUE_FREQUENCIES, width, bias=False)
        frequency = 0.25 * 2.0 ** torch.arange(VALUE_FREQUENCIES)
        self.register_buffer("frequency", math.pi * frequency, persistent=False)

    def forward(self, variable_N: Tensor, value_N: Tensor, number_N: Tensor | None = None) -> Tensor:
        offset_ND, gain_ND = self.rows(variable_N).chunk(2, dim=1)
        angle = value_N[:, None] * self.frequency
        fourier_ND = self.fourier(torch.cat([angle.sin(), angle.cos()], dim=1))
        if number_N is not None:  # `value_N` is 0 there, and with it the gain's part.
            fourier_ND = fourier_ND * number_N[:, None].to(fourier_ND.dtype)
        return torch.addcmul(offset_ND + fourier_ND, gain_ND, value_N[:, None].to(gain_ND.dtype))

    def rows(self, variable_N: Tensor) -> Tensor:
        """Offset and gain of the variable of every event, shape (N, 2 D)."""
        if self.frozen_VE is None:
            return self.table.index_select(0, variable_N)
        if self.frozen_VE.shape[0] <= len(
            variable_N
        ):  # projected once per variable or once per event, whichever is less
            return self.project(self.frozen_VE).index_select(0, variable_N)
        return self.project(self.frozen_VE.index_select(0, variable_N))


class SetEncoder(nn.Module):
    """`levels` of set attention over the events of each set, then pooling and the two heads of the posterior.

    The posterior sees its own set only, without what a batch hides of it. The number of events is given to it as log n, because attention
    averages it away.
    """

    def __init__(self, config: ModelConfig, variables: int, frozen_VE: Tensor | None = None):
        super().__init__()
        width = config.width
        self.embed = EventEmbedding(variables, width, frozen_VE)
        self.levels = nn.ModuleList(
            SetAttentionLevel(width, config.heads, config.ff_dim, config.dropout) for _ in range(config.levels)
        )
        self.norm = nn.LayerNorm(width)
        self.pool = SetPooling(width, config.heads)
        self.size = nn.Linear(1, width)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(inplace=True))
        self.moments = nn.Linear(width, 2 * config.latent_dim)
        # Posteriors start narrow. Started as wide as the prior, the samples drown the set in noise before the decoder has learned to
        # listen, and the KL term, the only clear gradient left, silences the latents for hundreds of steps.
        with torch.no_grad():
            self.moments.bias[config.latent_dim :] = FIRST_LOGVAR

    def forward(self, batch: EventBatch) -> DiagonalGaussian:
        event_ND = self.embed(batch.variable_N, batch.value_N, batch.number_N)
        for level in self.levels:
            event_ND = level(event_ND, batch.set_N, batch.n_sets, batch.hidden_N)
        pooled_SD = self.pool(self.norm(event_ND), batch.set_N, batch.n_sets, batch.hidden_N)
        one_N = torch.ones_like(batch.value_N)
        seen_N = one_N if batch.hidden_N is None else one_N.masked_fill(batch.hidden_N, 0.0)
        size_S = one_N.new_zeros(batch.n_sets).index_add(0, batch.set_N, seen_N)
        pooled_SD = pooled_SD + self.size(size_S.log()[:, None])
        mu_SZ, raw_SZ = full_precision(self.moments(self.head(pooled_SD))).chunk(2, dim=1)
        return DiagonalGaussian(mu_SZ, LOGVAR_BOUND * torch.tanh(raw_SZ / LOGVAR_BOUND))
