"""What a model's latents tell its decoder, of whole sets and of each variable, in nats: by exchanging latents between stays.

Shapes: K candidates, the first of which is a set's own latent; N events.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqsetvae.batch import EventBatch
from seqsetvae.collapse.information import DecoderInformation, decoder_information
from seqsetvae.config import PretrainConfig
from seqsetvae.training.module import PretrainModule
from seqsetvae.training.monitor.decoder_probe import Heard, ask, exchanged
from seqsetvae.training.monitor.latents import WHOLE, Latents
from seqsetvae.training.monitor.offered import as_latents
from seqsetvae.training.pretrained.exported import Pretrained

USE_BATCHES = 20
"""Batches on which decoder use is measured, each on its first 256 sets or so."""
BATCHES = 5
"""That are asked about each variable: each is decoded once for each candidate."""
FEWEST = 50
"""Events of a variable, below which nothing is said of it."""


class Told:
    """Gathers, batch by batch, how likely a model finds sets and their events under their own latents and under others."""

    def __init__(self, model: Pretrained) -> None:
        self.model = model
        self._module = PretrainModule(PretrainConfig(), model.vae, total_steps=1).eval()
        self._uses: list[tuple[float, int]] = []
        self._likelihood_KN: list[Tensor] = []
        self._variable_N: list[NDArray[np.int64]] = []

    def encode(self, batch: EventBatch) -> Latents:
        """The posterior of every set, as the collapse monitor looks at it."""
        return as_latents(self._module.encode(batch))

    def add_use(self, batch: EventBatch, latents: Latents) -> None:
        """Ask for decoder use, on the first :data:`USE_BATCHES`."""
        if len(self._uses) >= USE_BATCHES:
            return
        generator = torch.Generator().manual_seed(len(self._uses))
        found = ask(self._module, Heard(batch, latents, 0), [], generator)
        self._uses.append((math.nan if found is None else float(found.information()[WHOLE].use), batch.n_sets))

    @property
    def use(self) -> float:
        """Rise in negative log-likelihood when latents are exchanged between stays, nats per set; NaN if no batch could tell."""
        known = [(value, sets) for value, sets in self._uses if math.isfinite(value)]
        return sum(value * sets for value, sets in known) / sum(sets for _, sets in known) if known else math.nan

    @torch.inference_mode()
    def add(self, batch: EventBatch, latents: Latents) -> None:
        """Ask for what is told of each variable, on the first :data:`BATCHES`."""
        if len(self._variable_N) >= BATCHES:
            return
        generator = torch.Generator().manual_seed(len(self._variable_N))
        candidates = exchanged(latents, [], generator)
        if candidates is None:
            return
        found = []
        for one in (latents.residual, *candidates[0]):
            z_SZ = latents.as_offered(one.sample(torch.randn(one.mu_SZ.shape, generator=generator)))
            log_variable_N, log_value_N = self.model.vae.decode(z_SZ, batch).log_prob(batch)
            found.append(log_variable_N + log_value_N)
        self._likelihood_KN.append(torch.stack(found))
        self._variable_N.append(batch.variable_N.numpy())

    def by_variable(self) -> dict[str, DecoderInformation]:
        """Nats per recorded value that reach the decoder, of the variables with enough values: a lower bound, at most ln K.

        :func:`~seqsetvae.collapse.information.decoder_information`, with the likelihood of one event in place of that of its whole set.
        Values of one stay are no independent draws: the standard error is too small where stays are few.
        """
        if not self._variable_N:
            return {}
        likelihood_KN, variable_N = torch.cat(self._likelihood_KN, 1), np.concatenate(self._variable_N)
        of = {name: np.flatnonzero(variable_N == variable) for variable, name in enumerate(self.model.vocabulary.names)}
        return {
            name: decoder_information(likelihood_KN[:, place_N])
            for name, place_N in of.items()
            if len(place_N) >= FEWEST
        }
