"""Of which variables do the latents tell the decoder anything: information in nats, by exchanging latents between stays.

Shapes: K candidates, the first of which is a set's own latent; N events.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqsetvae.batch import EventBatch
from seqsetvae.collapse.information import DecoderInformation, decoder_information
from seqsetvae.config import PretrainConfig
from seqsetvae.training.module import PretrainModule
from seqsetvae.training.monitor.decoder_probe import exchanged
from seqsetvae.training.monitor.offered import as_latents
from seqsetvae.training.pretrained.exported import Pretrained

BATCHES = 5
"""That are asked about: each is decoded once for each candidate."""
FEWEST = 50
"""Events of a variable, below which nothing is said of it."""


@dataclass
class Told:
    """Gathers, batch by batch, how likely a model finds events under the latents of their own sets and under others."""

    model: Pretrained
    _likelihood_KN: list[Tensor] = field(default_factory=list)
    _variable_N: list[NDArray[np.int64]] = field(default_factory=list)

    @torch.inference_mode()
    def add(self, batch: EventBatch) -> None:
        """Take in a batch of the model's vocabulary, while there are fewer than :data:`BATCHES`."""
        if len(self._variable_N) >= BATCHES:
            return
        generator = torch.Generator().manual_seed(len(self._variable_N))
        module = PretrainModule(PretrainConfig(), self.model.vae, total_steps=1).eval()
        latents = as_latents(module.encode(batch))
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
