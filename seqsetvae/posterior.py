"""Diagonal Gaussian posteriors q(z | set) = N(mu, diag sigma^2) against the prior N(0, I). Pure functions of tensors.

Shapes: S sets, Z latent dimensions; see :mod:`seqsetvae.batch` for the whole legend.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DiagonalGaussian:
    """Posterior moments of S sets. `logvar_SZ` is log sigma^2."""

    mu_SZ: Tensor
    logvar_SZ: Tensor

    def sample(self, noise_SZ: Tensor | None = None) -> Tensor:
        """z = mu + sigma * noise (Kingma & Welling 2014, eq. 10), shape (S, Z). Standard normal noise is drawn if none is given."""
        noise_SZ = torch.randn_like(self.mu_SZ) if noise_SZ is None else noise_SZ
        return self.mu_SZ + torch.exp(0.5 * self.logvar_SZ) * noise_SZ


def kl_to_prior(posterior: DiagonalGaussian) -> Tensor:
    """KL(q || N(0, I)) of every set and dimension, nats, shape (S, Z): 0.5 (mu^2 + sigma^2 - 1 - log sigma^2).

    Kingma & Welling 2014, appendix B. Sum over Z for the KL of a set.

    >>> q = DiagonalGaussian(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    >>> kl_to_prior(q)
    tensor([[0.5000, 0.0000]])
    """
    mu, logvar = posterior.mu_SZ, posterior.logvar_SZ
    return 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar)
