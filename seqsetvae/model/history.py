"""h_t: what is known of a subject after its set at minute t. A causal transformer over the latent samples z_1..z_t."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqsetvae.batch import EventBatch
from seqsetvae.config import ModelConfig
from seqsetvae.model.attention import (
    LONGEST_PERIOD,
    Attend,
    CausalTimeAttention,
    FeedForward,
    OfPairs,
    OnGrid,
    Rotation,
    WithoutGrid,
)


class HistoryLayer(nn.Module):
    """Pre-norm transformer layer (Xiong et al. 2020) with rotary encoding of the minute."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.width)
        self.attention = CausalTimeAttention(config.width, config.heads, config.dropout)
        self.norm_ff = nn.LayerNorm(config.width)
        self.ff = FeedForward(config.width, config.ff_dim, config.dropout)

    def forward(self, x_SD: Tensor, rotation: Rotation, attend: Attend) -> Tensor:
        x_SD = x_SD + self.attention(self.norm_attention(x_SD), rotation, attend)
        return x_SD + self.ff(self.norm_ff(x_SD))


class CausalHistory(nn.Module):
    """z_1..z_t and the minutes between them -> h_t, shape (S, D). h_t does not depend on sets after t, nor on other subjects."""

    packed: bool = True
    """Attention on the packed sets where that is possible: on a GPU, in half precision, without dropout. False: always on the grid."""

    of_pairs: bool = False
    """Attention as one product of all pairs of sets, in operations that every runtime has: for an export."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.head_width = config.width // config.heads
        self.longest_period = config.longest_period or LONGEST_PERIOD
        self.project = nn.Linear(config.latent_dim, config.width)
        self.layers = nn.ModuleList(HistoryLayer(config) for _ in range(config.history_layers))
        self.norm = nn.LayerNorm(config.width)
        self.dropout = config.dropout

    def forward(self, z_SZ: Tensor, batch: EventBatch) -> Tensor:
        x_SD = self.project(z_SZ)
        rotation = Rotation(batch.minute_S, self.head_width, x_SD.dtype, self.longest_period)
        attend = self._attend(x_SD, batch)
        for layer in self.layers:
            x_SD = layer(x_SD, rotation, attend)
        return self.norm(x_SD)

    def _attend(self, x_SD: Tensor, batch: EventBatch) -> Attend:
        if self.of_pairs:
            return OfPairs(batch)
        return WithoutGrid(batch) if self.packed and self._can_pack(x_SD) else OnGrid(batch)

    def _can_pack(self, x_SD: Tensor) -> bool:
        half = x_SD.dtype in (torch.float16, torch.bfloat16)
        return x_SD.is_cuda and half and not (self.training and self.dropout)
