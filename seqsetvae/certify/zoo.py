"""Small VAEs of the families that people train, each offered to the monitor as its owner would offer it.

Shapes: B rows of a batch, X elements of a row, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence
from torch.nn import functional

from seqsetvae.certify import planted
from seqsetvae.certify.planted import Batch, Source
from seqsetvae.certify.trajectory import Question
from seqsetvae.collapse.outlook import BetaOutlook


@dataclass(frozen=True)
class ZooRun:
    """One run."""

    case: str
    family: str
    model: type[SmallVAE]
    seed: int = 0
    collapses: bool = False
    asks: Question = "life or death"
    part: str = ""
    source: Source = planted.factors
    beta: float = 1.0
    beta_at: Callable[[int], float] | None = None
    """Where it changes."""
    latent_dim: int = 6
    free_bits: float = 0.0
    batch_rows: int = 64
    steps: int = 400
    deaf_from: float = 2.0
    """Share of the run from which the decoder gets nothing; 2: never."""
    offers_likelihood: bool = True
    likelihood_scale: float = 1.0
    """What the likelihood that is offered is multiplied by."""

    @property
    def deaf_step(self) -> int:
        return int(self.deaf_from * self.steps)

    def beta_of(self, step: int) -> float:
        return self.beta if self.beta_at is None else self.beta_at(step)


class SmallVAE(pl.LightningModule):
    """The plain one, with a Gaussian decoder of variance 1; the others differ from it where their names say."""

    posterior: Any = None
    reconstruction_loss: Tensor | None = None

    def __init__(self, run: ZooRun) -> None:
        super().__init__()
        self.run, self.z_dims = run, run.latent_dim
        width = run.source(1, torch.Generator())["x"].flatten(1).shape[1]
        self.encoder = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 2 * self.z_dims))
        self.decoder = nn.Sequential(nn.Linear(self._heard_dims(), 64), nn.Tanh(), nn.Linear(64, width))
        self.beta_outlook = BetaOutlook(run.steps, beta_at=run.beta_of)
        if run.offers_likelihood:
            self.negative_log_likelihood = self._offered_likelihood

    def _heard_dims(self) -> int:
        return self.z_dims

    # What the monitor asks for

    def encode(self, batch: Batch) -> Any:
        return self._gaussian(batch["x"])

    def _offered_likelihood(self, z: Any, batch: Batch) -> Tensor:
        return self.run.likelihood_scale * self.nll(z, batch)

    @property
    def current_beta(self) -> float:
        return self.run.beta_of(max(0, self.global_step - 1))

    # The model

    def _gaussian(self, x: Tensor) -> Normal:
        mu, logvar = self.encoder(x.flatten(1)).chunk(2, 1)
        return Normal(mu, (0.5 * logvar - 1.0).clamp(-9.0, 4.0).exp())

    def heard(self, z: Tensor) -> Tensor:
        """Latents as they reach the decoder."""
        return z * float(self.global_step < self.run.deaf_step)

    def decode(self, z: Any, batch: Batch) -> Tensor:
        """Means of the elements, (B, X)."""
        decoded: Tensor = self.decoder(self.heard(z))
        return decoded

    def nll(self, z: Any, batch: Batch) -> Tensor:
        return 0.5 * (batch["x"] - self.decode(z, batch)).square().sum(1)

    def kl_BZ(self, offered: Any, z: Any) -> Tensor:
        q, prior = offered if isinstance(offered, tuple) else (offered, Normal(0.0, 1.0))
        return kl_divergence(q, prior)

    def sample(self, offered: Any) -> Any:
        q = offered[0] if isinstance(offered, tuple) else offered
        return q.rsample()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.posterior = self.encode(batch)
        z = self.sample(self.posterior)
        recon = self.nll(z, batch).mean()
        self.reconstruction_loss = recon
        kl_Z = self.kl_BZ(self.posterior, z).mean(0)
        return recon + self.run.beta_of(self.global_step) * kl_Z.clamp(min=self.run.free_bits).sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Nothing: the monitor looks at the split itself."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=5e-3)

    # The truth

    @torch.no_grad()
    def decoded(self, batch: Batch, part: str = "") -> Tensor:
        """What comes out of one sample of each row's latents, and of nothing else that tells the rows of a class apart."""
        return self.decode(self.sample(self.encode(batch)), batch)


class BatchNormVAE(SmallVAE):
    """BN-VAE (Zhu et al. 2020): means normalized over the batch, so that the KL cannot fall below Z gamma^2 / 2."""

    def __init__(self, run: ZooRun) -> None:
        super().__init__(run)
        self.normalize = nn.BatchNorm1d(self.z_dims, affine=False)

    def encode(self, batch: Batch) -> Any:
        q = self._gaussian(batch["x"])
        return Normal(0.7 * self.normalize(q.loc), q.scale)


class DeltaVAE(SmallVAE):
    """delta-VAE (Razavi et al. 2019): a posterior variance that is not the prior's, so that the KL cannot be 0."""

    def encode(self, batch: Batch) -> Any:
        q = self._gaussian(batch["x"])
        return Normal(q.loc, torch.full_like(q.scale, 0.5))


class LearnedPriorVAE(SmallVAE):
    """A Gaussian prior far from N(0, I), which learns."""

    def __init__(self, run: ZooRun) -> None:
        super().__init__(run)
        self.prior_mean = nn.Parameter(torch.full((self.z_dims,), 3.0))
        self.prior_log_scale = nn.Parameter(torch.full((self.z_dims,), 0.5))

    def encode(self, batch: Batch) -> Any:
        q = self._gaussian(batch["x"])
        return Normal(q.loc + self.prior_mean, q.scale), Normal(self.prior_mean, self.prior_log_scale.exp())


class VampVAE(SmallVAE):
    """VampPrior (Tomczak & Welling 2018): the prior is a mixture of the posteriors of learned inputs."""

    def __init__(self, run: ZooRun) -> None:
        super().__init__(run)
        self.pseudo_inputs = nn.Parameter(torch.randn(16, planted.WIDTH))

    def encode(self, batch: Batch) -> Any:
        of_inputs = Independent(self._gaussian(self.pseudo_inputs), 1)
        prior = MixtureSameFamily(Categorical(torch.ones(16)), of_inputs)
        return Independent(self._gaussian(batch["x"]), 1), prior

    def kl_BZ(self, offered: Any, z: Any) -> Tensor:
        q, prior = offered
        kl: Tensor = q.log_prob(z) - prior.log_prob(z)
        return kl[:, None]


class ConditionalVAE(SmallVAE):
    """Told the class of each row; the prior of a class lies by itself, so that a latent at the prior copies the class."""

    def __init__(self, run: ZooRun) -> None:
        super().__init__(run)
        self.prior_means = nn.Parameter(
            3.0 * torch.randn(planted.CLASSES, self.z_dims, generator=torch.Generator().manual_seed(0))
        )

    def _heard_dims(self) -> int:
        return self.z_dims + planted.CLASSES

    def condition(self, batch: Batch) -> Tensor:
        return batch["class"]

    def encode(self, batch: Batch) -> Any:
        means = self.prior_means[batch["class"]]
        q = self._gaussian(batch["x"] - planted.CLASS_MEANS_CX[batch["class"]])
        return Normal(q.loc + means, q.scale), Normal(means, torch.ones_like(means))

    def decode(self, z: Any, batch: Batch) -> Tensor:
        decoded: Tensor = self.decoder(torch.cat([self.heard(z), planted.one_hot(batch["class"])], 1))
        return decoded


class LadderVAE(SmallVAE):
    """Two layers, p(x | z1) p(z1 | z2) p(z2); the beta of the run is that of the upper one."""

    posteriors: Any = None

    def __init__(self, run: ZooRun) -> None:
        super().__init__(run)
        self.upper_encoder = nn.Linear(planted.WIDTH, 2 * 3)
        self.upper_decoder = nn.Linear(3, self.z_dims)

    def encode(self, batch: Batch) -> Any:
        mu, logvar = self.upper_encoder(batch["x"]).chunk(2, 1)
        upper = Normal(mu, (0.5 * logvar - 1.0).exp())
        below = self.upper_decoder(upper.rsample())
        return {"z1": (self._gaussian(batch["x"]), Normal(below, torch.ones_like(below))), "z2": upper}

    def sample(self, offered: Any) -> Any:
        return {"z1": offered["z1"][0].rsample(), "z2": offered["z2"].rsample()}

    def decode(self, z: Any, batch: Batch) -> Tensor:
        return super().decode(z["z1"], batch)

    def nll(self, z: Any, batch: Batch) -> Tensor:
        of_lower = 0.5 * (z["z1"] - self.upper_decoder(z["z2"])).square().sum(1)
        return super().nll(z, batch) + of_lower

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.posteriors = self.encode(batch)
        z = self.sample(self.posteriors)
        recon = SmallVAE.nll(self, z, batch).mean()
        self.reconstruction_loss = recon
        lower = kl_divergence(*self.posteriors["z1"]).sum(1).mean()
        upper = kl_divergence(self.posteriors["z2"], Normal(0.0, 1.0)).sum(1).mean()
        return recon + lower + self.run.beta_of(self.global_step) * upper

    @torch.no_grad()
    def decoded(self, batch: Batch, part: str = "") -> Tensor:
        z = self.sample(self.encode(batch))
        return self.decode({"z1": self.upper_decoder(z["z2"])} if part else z, batch)


class HalfBlindVAE(SmallVAE):
    """Says nothing of the rows of two of the four classes, and everything of the others."""

    def groups(self, batch: Batch) -> dict[str, Tensor]:
        return {"left out": batch["class"] >= 2, "the others": batch["class"] < 2}

    def encode(self, batch: Batch) -> Any:
        q, seen = self._gaussian(batch["x"]), (batch["class"] < 2).float()[:, None]
        return Normal(q.loc * seen, q.scale * seen + (1.0 - seen))


class ImageVAE(SmallVAE):
    """Convolutions, and a Bernoulli likelihood of pixels."""

    def __init__(self, run: ZooRun) -> None:
        super().__init__(run)
        side = planted.IMAGE // 2
        self.encoder = nn.Sequential(
            nn.Unflatten(1, (1, planted.IMAGE, planted.IMAGE)),
            *(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * side * side, 2 * self.z_dims)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(self.z_dims, 8 * side * side), nn.ReLU(), nn.Unflatten(1, (8, side, side))),
            *(nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Flatten()),
        )

    def nll(self, z: Any, batch: Batch) -> Tensor:
        logits = self.decode(z, batch)
        return functional.binary_cross_entropy_with_logits(logits, batch["x"].flatten(1), reduction="none").sum(1)


class SeriesVAE(SmallVAE):
    """An autoregressive decoder, which sees the places before and may do without latents."""

    def __init__(self, run: ZooRun) -> None:
        super().__init__(run)
        self.recurrent = nn.GRU(1 + self.z_dims, 32, batch_first=True)
        self.out = nn.Linear(32, 1)

    def _logits(self, z: Tensor, before: Tensor) -> Tensor:
        told = self.heard(z)[:, None].expand(-1, before.shape[1], -1)
        states, _ = self.recurrent(torch.cat([before[..., None], told], 2))
        logits: Tensor = self.out(states)[..., 0]
        return logits

    def nll(self, z: Any, batch: Batch) -> Tensor:
        before = functional.pad(batch["x"], (1, 0))[:, :-1]
        logits = self._logits(z, before)
        return functional.binary_cross_entropy_with_logits(logits, batch["x"], reduction="none").sum(1)

    def decode(self, z: Any, batch: Batch) -> Tensor:
        """Of the places after none, so that nothing but the latents tells rows apart."""
        return self._logits(z, torch.zeros_like(batch["x"]))
