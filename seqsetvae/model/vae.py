"""SeqSetVAE: a VAE over a subject's sequence of sets of medical events.

q(z_t | x_t)          one diagonal Gaussian per set, from that set alone       SetEncoder
h_t = f(z_1, .., z_t) causal in time                                           CausalHistory
p(x_t | h_t, n)       variables and values of the set, in nats                 SetDecoder
ELBO = sum_t E_q log p(x_t | h_t, n) - KL(q(z_t | x_t) || N(0, I))
"""

from __future__ import annotations

from torch import Tensor, nn

from seqsetvae.batch import EventBatch
from seqsetvae.config import ModelConfig
from seqsetvae.model.history import CausalHistory
from seqsetvae.model.set_decoder import make_decoder
from seqsetvae.model.set_encoder import SetEncoder
from seqsetvae.objective import ElboTerms, EventDistribution, elbo_terms
from seqsetvae.posterior import DiagonalGaussian


class SeqSetVAE(nn.Module):
    """The three parts; each can be replaced by a module of the same signature (the tests put linear ones in).

    Args:
        config: widths and depths.
        variables: V, size of the vocabulary.
        frozen_VE: embeddings of the variables that came with the data, or None to learn them.
    """

    def __init__(self, config: ModelConfig, variables: int, frozen_VE: Tensor | None = None):
        super().__init__()
        self.variables = variables
        self.set_encoder: nn.Module = SetEncoder(config, variables, frozen_VE)
        self.history: nn.Module = CausalHistory(config)
        self.set_decoder: nn.Module = make_decoder(config, variables)

    def encode(self, batch: EventBatch) -> DiagonalGaussian:
        """q(z_t | x_t) of every set."""
        return self.set_encoder(batch)

    def decode(self, z_SZ: Tensor, batch: EventBatch) -> EventDistribution:
        """p(x_t | z_1..z_t) of every set. Of the batch only minutes and offsets are read, never the events."""
        return self.set_decoder(self.history(z_SZ, batch))

    def forward(self, batch: EventBatch, noise_SZ: Tensor | None = None) -> ElboTerms:
        """The ELBO's terms with one posterior sample per set; standard normal noise is drawn if none is given."""
        posterior = self.encode(batch)
        return elbo_terms(self.decode(posterior.sample(noise_SZ), batch), posterior, batch)
