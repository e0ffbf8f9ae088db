"""p(set_t | h_t): which variables are measured, and what their values are."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from seqsetvae.config import ModelConfig
from seqsetvae.model.set_encoder import full_precision
from seqsetvae.objective import EventDistribution


class SetDecoder(nn.Module):
    """h_t -> a categorical over the V variables, and a Gaussian per variable whose scale has a floor.

    The reconstruction targets are the recorded events themselves, never trainable embeddings: a learned target can collapse too.
    """

    def __init__(self, config: ModelConfig, variables: int):
        super().__init__()
        self.scale_floor = config.scale_floor
        self.hidden = nn.Sequential(nn.Linear(config.width, config.ff_dim), nn.ReLU(inplace=True))
        self.heads = nn.Linear(config.ff_dim, 3 * variables)

    def forward(self, history_SD: Tensor) -> EventDistribution:
        logits_SV, mean_SV, raw_SV = full_precision(self.heads(self.hidden(history_SD))).chunk(3, dim=1)
        return EventDistribution(logits_SV, mean_SV, self.scale_floor + F.softplus(raw_SV))
