"""How a finetuned model's backbone does as a VAE on the evaluated split: the ELBO, and whether the latents are in use."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch

from seqsetvae.data.aligned import align
from seqsetvae.data.packed import gather
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from seqsetvae.posterior import ACTIVE_UNIT_VARIANCE, DiagonalGaussian, posterior_statistics
from seqsetvae.training.culprit import elbo_score, why_risk_is_none
from seqsetvae.training.pretrained.exported import Pretrained

_log = logging.getLogger(__name__)

BATCH_SIZE = 16
POOLED_SETS = 4096
"""Posteriors that mutual information and active units are measured on, evenly spread over the split."""


@dataclass(frozen=True)
class LatentScores:
    """Of all sets of a split, nats per set unless said otherwise."""

    negative_elbo: float
    """At beta 1, without free bits."""
    kl: float
    active_units: int
    """Dimensions with Var over sets of mu_d > 0.01."""
    latent_dim: int
    mutual_information: float
    """Nats, at most the logarithm of the pooled sets."""

    def cells(self) -> dict[str, str]:
        """As rows of a table for people."""
        return {
            "-ELBO, nats per set": f"{self.negative_elbo:.2f}",
            "KL, nats per set": f"{self.kl:.2f}",
            "active units": f"{self.active_units} of {self.latent_dim}",
            "mutual info, nats": f"{self.mutual_information:.2f}",
        }


@torch.inference_mode()
def latent_scores(model: Pretrained, store: Store, split: str, seed: int = 0) -> LatentScores:
    """Run the whole model over a split; one posterior sample per set, the same ones each time.

    Raises:
        InputError: the ELBO of a stay is NaN or inf; its row and variable are named.
    """
    packed = align(store, split, model.vocabulary).packed
    generator = torch.Generator().manual_seed(seed)
    nll = kl = sets = 0.0
    mu, logvar = [], []
    for rows in np.array_split(np.arange(packed.n_subjects), -(-packed.n_subjects // BATCH_SIZE)):
        batch = gather(packed, rows, model.vocabulary)
        noise_SZ = torch.randn(batch.n_sets, model.config.latent_dim, generator=generator)
        terms = model.vae(batch, noise_SZ)
        nll, kl, sets = (
            nll + float(terms.recon) * batch.n_sets,
            kl + float(terms.kl) * batch.n_sets,
            sets + batch.n_sets,
        )
        news = model.vae.news(terms.posterior, batch)
        mu.append(news.mu_SZ)
        logvar.append(news.logvar_SZ)
    if not math.isfinite(nll + kl):
        recorded, shown = why_risk_is_none(elbo_score(model.vae), packed, model.vocabulary, store, split)
        _log.info(shown)
        raise InputError(f"The ELBO is NaN or inf: {recorded}")
    some = slice(0, None, max(1, int(sets) // POOLED_SETS))
    found = posterior_statistics(DiagonalGaussian(torch.cat(mu)[some], torch.cat(logvar)[some]))
    return LatentScores(
        negative_elbo=(nll + kl) / sets,
        kl=kl / sets,
        active_units=int((found.signal_Z > ACTIVE_UNIT_VARIANCE).sum()),
        latent_dim=model.config.latent_dim,
        mutual_information=float(found.mutual_information),
    )
