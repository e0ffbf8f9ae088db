"""SeqSetVAE: a VAE over a subject's sequence of sets of medical events.

q(z_t | x_t)          one diagonal Gaussian per set, from that set alone       SetEncoder
h_t = f(z_1, .., z_t) causal in time                                           CausalHistory
p(x_t | h_t, n)       variables and values of the set, in nats                 SetDecoder
ELBO = sum_t E_q log p(x_t | h_t, n) - KL(q(z_t | x_t) || p(z_t)), where p(z_t) is N(0, I), or learned: p(z_t | h_t-1, minutes since)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqsetvae.batch import EventBatch
from seqsetvae.config import ModelConfig
from seqsetvae.errors import InputError
from seqsetvae.model.fill_head import FillHead
from seqsetvae.model.history import CausalHistory
from seqsetvae.model.history_heads import HistoryHeads
from seqsetvae.model.prior import LearnedPrior
from seqsetvae.model.set_decoder import make_decoder
from seqsetvae.model.set_encoder import SetEncoder
from seqsetvae.model.variable_reads import VariableReads, state_width
from seqsetvae.objective import ElboTerms, EventDistribution, elbo_terms
from seqsetvae.posterior import DiagonalGaussian, in_units_of


class Variables(Protocol):
    """What is needed of a :class:`~seqsetvae.data.vocabulary.Vocabulary`."""

    @property
    def embedding(self) -> NDArray[np.float32] | None: ...

    def __len__(self) -> int: ...


def embedding_of(variables: Variables, config: ModelConfig) -> Tensor | None:
    """The embeddings of a vocabulary, shape (V, E), or None where they are to be learned."""
    if config.variable_embedding == "learned":
        return None
    if variables.embedding is not None:
        return torch.from_numpy(variables.embedding.copy())
    if config.variable_embedding == "cached":
        raise InputError(
            "--model.variable_embedding is 'cached', but the store has no embeddings. Prepare it with a cached.csv, or use 'learned'."
        )
    return None


class SeqSetVAE(nn.Module):
    """The three parts; each can be replaced by a module of the same signature (the tests put linear ones in).

    `SeqSetVAE(data.vocabulary)` is one of the usual widths for the variables of a store, `SeqSetVAE(config, data.vocabulary)` one of
    others; both take the embeddings that the store has along, unless the config says `learned`. `SeqSetVAE(config, 37)` is one for 37
    variables of which nothing is known.

    Args:
        config: widths and depths; may be left out before a vocabulary.
        variables: the vocabulary, or its size V.
        frozen_VE: embeddings of the variables that came with the data; None: the vocabulary's, or to be learned.

    Raises:
        InputError: the config wants the embeddings of a vocabulary that has none.
    """

    latent_dim: int
    """Z."""
    read_width: int
    """How many of the last numbers of a state are reads of variables."""

    def __init__(
        self,
        config: ModelConfig | Variables,
        variables: int | Variables | None = None,
        frozen_VE: Tensor | None = None,
    ):
        super().__init__()
        widths, known = (config, variables) if isinstance(config, ModelConfig) else (ModelConfig(), config)
        if known is None or isinstance(variables, ModelConfig):
            raise TypeError(
                "SeqSetVAE needs the vocabulary of a store, or its size: SeqSetVAE(config, data.vocabulary)."
            )
        if not isinstance(known, int) and frozen_VE is None:
            frozen_VE = embedding_of(known, widths)
        self.variables, self.latent_dim = known if isinstance(known, int) else len(known), widths.latent_dim
        self.set_encoder: nn.Module = SetEncoder(widths, self.variables, frozen_VE)
        self.history: nn.Module = CausalHistory(widths)
        self.set_decoder: nn.Module = make_decoder(widths, self.variables)
        self.read_width = state_width(widths, self.variables) - widths.width
        self.reads = VariableReads(widths, self.variables) if widths.reads else None
        self.history_heads = HistoryHeads(widths, self.variables) if widths.has_history_heads else None
        self.fill_head = FillHead(widths.width, self.variables) if widths.fill_in else None
        self.prior: nn.Module | None = LearnedPrior(widths) if widths.prior == "learned" else None

    def encode(self, batch: EventBatch) -> DiagonalGaussian:
        """q(z_t | x_t) of every set."""
        return self.set_encoder(batch)

    def decode(self, z_SZ: Tensor, batch: EventBatch) -> EventDistribution:
        """p(x_t | z_1..z_t) of every set. Of the batch only minutes and offsets are read, never the events."""
        return self.set_decoder(self.history(z_SZ, batch))

    def prior_of(self, history_SD: Tensor, batch: EventBatch) -> DiagonalGaussian | None:
        """The prior of every set, from the histories after each; None: N(0, I)."""
        return None if self.prior is None else self.prior(history_SD, batch)

    def news(self, posterior: DiagonalGaussian, batch: EventBatch) -> DiagonalGaussian:
        """A posterior in units of its prior, made of the means before: what its statistics are about. As it is where that is N(0, I)."""
        if self.prior is None:
            return posterior
        return in_units_of(self.prior(self.history(posterior.mu_SZ, batch), batch), posterior)

    def state(self, z_SZ: Tensor, batch: EventBatch) -> Tensor:
        """What is known of a subject after each set: h_t, and beside it the reads of its variables where the model has such, (S, D')."""
        return self._with_reads(self.history(z_SZ, batch), batch)

    def _with_reads(self, history_SD: Tensor, batch: EventBatch) -> Tensor:
        if self.reads is None:
            return history_SD
        return torch.cat([history_SD, self.reads(batch).to(history_SD.dtype)], dim=1)

    def forward(self, batch: EventBatch, noise_SZ: Tensor | None = None) -> ElboTerms:
        """The ELBO's terms with one posterior sample per set; standard normal noise is drawn if none is given."""
        posterior = self.encode(batch)
        history_SD = self.history(posterior.sample(noise_SZ), batch)
        terms = elbo_terms(self.set_decoder(history_SD), posterior, batch, self.prior_of(history_SD, batch))
        if self.fill_head is not None and batch.hidden_N is not None:
            terms = replace(terms, filled=self.fill_head.loss(history_SD, batch))
        if self.history_heads is None:
            return terms
        return replace(terms, history=self.history_heads.loss(self._with_reads(history_SD, batch), batch))
