"""p(set_t | h_t): which variables are measured, and what their values are."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqsetvae.config import ModelConfig
from seqsetvae.objective import CodedEvents, DenseEvents, EventDistribution, full_precision

LARGE_VOCABULARY = 500
"""Variables above which a decoder works from codes. Electronic records have 5,000 to 50,000."""
CODE_WIDTH = 64
"""K of such a decoder, unless --model.decoder_code_width says otherwise."""


def make_decoder(config: ModelConfig, variables: int) -> nn.Module:
    """The decoder that suits the size of the vocabulary."""
    if variables <= LARGE_VOCABULARY and config.decoder_code_width is None:
        return SetDecoder(config, variables)
    return CodedSetDecoder(config, variables)


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
        return DenseEvents(logits_SV, mean_SV, self.scale_floor + F.softplus(raw_SV))


class CodedSetDecoder(nn.Module):
    """The same distribution for large vocabularies.

    Its 3 V numbers are linear in a code of K numbers, so that time and memory of a step hardly depend on V.

    K is also the rank of the logits over all sets (the softmax bottleneck, Yang et al. 2018): 64 are far more than the few factors
    that decide which variables are measured together.
    """

    def __init__(self, config: ModelConfig, variables: int):
        super().__init__()
        self.scale_floor = config.scale_floor
        width = config.decoder_code_width or CODE_WIDTH
        self.code = nn.Sequential(
            nn.Linear(config.width, config.ff_dim), nn.ReLU(inplace=True), nn.Linear(config.ff_dim, width)
        )
        self.logits = nn.Linear(width, variables)
        bound = 1.0 / math.sqrt(width)  # as nn.Linear starts its weights
        self.value_weight_VC = nn.Parameter(torch.empty(variables, 2 * width + 2).uniform_(-bound, bound))

    def forward(self, history_SD: Tensor) -> EventDistribution:
        code_SK = self.code(history_SD)
        return CodedEvents(code_SK, self.logits.weight, self.logits.bias, self.value_weight_VC, self.scale_floor)
