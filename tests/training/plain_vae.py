"""A VAE that knows nothing of this project but the attribute and the method that the monitor looks at."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from seqsetvae.posterior import DiagonalGaussian


class PlainVAE(pl.LightningModule):
    posterior = None

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.encoder, self.decoder = nn.Linear(10, 8), nn.Linear(4, 10)

    def training_step(self, x, _):
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        self.posterior = DiagonalGaussian(mu.detach(), logvar.detach())
        recon = 0.5 * (self.decoder(self.posterior_sample(mu, logvar)) - x).square().sum(1).mean()
        return recon + self.beta * 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1).mean()

    def negative_log_likelihood(self, z, x):
        return 0.5 * (self.decoder(z) - x).square().sum(1)

    @staticmethod
    def posterior_sample(mu, logvar):
        return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def loader() -> DataLoader:
    """Gaussian data with variances 4, 3, 2, 1.5 and six times 0.3."""
    spread = torch.tensor([4.0, 3.0, 2.0, 1.5, *[0.3] * 6]).sqrt()
    x = torch.randn(6400, 10, generator=torch.Generator().manual_seed(0)) * spread
    return DataLoader(x, batch_size=64)
