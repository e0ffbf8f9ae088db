"""Gaussian posteriors q(z | set), diagonal ones above all, against the prior N(0, I). Pure functions of tensors.

Shapes: S sets, Z latent dimensions; see :mod:`seqsetvae.batch` for the whole legend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

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

    @property
    def variance_SZ(self) -> Tensor:
        """Of each dimension, whatever the others are."""
        return self.logvar_SZ.exp()

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same change to every tensor, such as a choice of rows, or another device."""
        return type(self)(*(change(getattr(self, one.name)) for one in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of all of them, one after the other."""
        return type(parts[0])(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(parts[0])))

    def dimensions(self, chosen: slice) -> DiagonalGaussian:
        """The same posteriors of some dimensions alone."""
        return DiagonalGaussian(self.mu_SZ[..., chosen], self.logvar_SZ[..., chosen])


@dataclass(frozen=True)
class CorrelatedGaussian(DiagonalGaussian):
    """N(mu, root root^T). `logvar_SZ` is the log variance of each dimension given those before it: 2 ln diag(root)."""

    root_SZZ: Tensor
    """Lower triangular, positive diagonal."""

    @classmethod
    def of(cls, mu_SZ: Tensor, root_SZZ: Tensor) -> CorrelatedGaussian:
        """From mean and root."""
        return cls(mu_SZ, 2.0 * root_SZZ.diagonal(dim1=-2, dim2=-1).log(), root_SZZ)

    def sample(self, noise_SZ: Tensor | None = None) -> Tensor:
        """z = mu + root noise, shape (S, Z)."""
        noise_SZ = torch.randn_like(self.mu_SZ) if noise_SZ is None else noise_SZ
        return self.mu_SZ + (self.root_SZZ @ noise_SZ[..., None])[..., 0]

    @property
    def variance_SZ(self) -> Tensor:
        return self.root_SZZ.square().sum(-1)

    def dimensions(self, chosen: slice) -> DiagonalGaussian:
        """Their marginal: neighbouring rows of the root, brought back to a square by an LQ decomposition."""
        if chosen == slice(0, self.mu_SZ.shape[-1]):
            return self
        upper = torch.linalg.qr(self.root_SZZ[..., chosen, :].mT, mode="r").R
        signs = upper.diagonal(dim1=-2, dim2=-1).sign()
        return CorrelatedGaussian.of(self.mu_SZ[..., chosen], (upper * signs[..., None]).mT)


def in_units_of(prior: DiagonalGaussian, posterior: DiagonalGaussian) -> DiagonalGaussian:
    """A posterior as seen from a prior of the same shape: what is left of it when the prior has become N(0, I).

    >>> prior = DiagonalGaussian(torch.tensor([[1.0]]), torch.tensor([[4.0]]).log())
    >>> seen = in_units_of(prior, DiagonalGaussian(torch.tensor([[5.0]]), torch.tensor([[1.0]]).log()))
    >>> seen.mu_SZ.item(), round(seen.variance_SZ.item(), 6)
    (2.0, 0.25)
    """
    away = posterior.mu_SZ - prior.mu_SZ
    if isinstance(prior, CorrelatedGaussian):
        root = torch.linalg.solve_triangular(prior.root_SZZ, root_of(posterior), upper=False)
        moved = torch.linalg.solve_triangular(prior.root_SZZ, away[..., None], upper=False)[..., 0]
        return CorrelatedGaussian.of(moved, root)
    deviation = (0.5 * prior.logvar_SZ).exp()
    if isinstance(posterior, CorrelatedGaussian):
        return CorrelatedGaussian.of(away / deviation, posterior.root_SZZ / deviation[..., None])
    return DiagonalGaussian(away / deviation, posterior.logvar_SZ - prior.logvar_SZ)


def root_of(posterior: DiagonalGaussian) -> Tensor:
    """Lower triangular root of the covariance, shape (..., Z, Z)."""
    if isinstance(posterior, CorrelatedGaussian):
        return posterior.root_SZZ
    return torch.diag_embed((0.5 * posterior.logvar_SZ).exp())


def kl_to_prior(posterior: DiagonalGaussian, prior: DiagonalGaussian | None = None) -> Tensor:
    """KL(q || p) of every set and dimension, nats, shape (S, Z): 0.5 (mu^2 + sigma^2 - 1 - log sigma^2), in units of the prior.

    Kingma & Welling 2014, appendix B. Without a prior it is N(0, I). Sum over Z for the KL of a set. Of correlated dimensions each is taken
    given those before it.

    >>> q = DiagonalGaussian(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    >>> kl_to_prior(q)
    tensor([[0.5000, 0.0000]])
    """
    seen = posterior if prior is None else in_units_of(prior, posterior)
    mu, logvar = seen.mu_SZ, seen.logvar_SZ
    return 0.5 * (mu.square() + seen.variance_SZ - 1.0 - logvar)


@dataclass(frozen=True)
class PosteriorStatistics:
    """What a pool of M posteriors says about the latent space. 0-d tensors, still on their device, unless a shape is given.

    Every figure counts real sets only: posteriors are packed, so that padding can neither fake variance nor dilute a mean.
    """

    sets: int
    """M: posteriors in the pool. At least 1,000 for a mutual information of some nats to be visible at all."""
    kl_Z: Tensor
    """KL(q || N(0, I)) of each dimension, mean over sets, nats; its sum is the KL."""
    mean_variance_Z: Tensor
    """Posterior variance sigma^2 of each dimension, mean over sets."""
    signal_Z: Tensor
    """Variance over sets of the posterior mean, of each dimension (Burda et al. 2016, section 5.1: the activity of a unit)."""
    collapsed_share_Z: Tensor
    """Share of sets whose KL in this dimension is below epsilon (Lucas et al. 2019: (epsilon, delta)-collapsed when >= 1 - delta)."""
    variance_share: Tensor
    """Share of all sigma^2 above 0.01, which the source guides call active units."""
    mutual_information: Tensor
    """I_q(x; z), nats; at most ln M."""
    at_prior_share: Tensor
    """Share of sets whose KL, over all dimensions, is below epsilon: nothing is said of these, whatever the others carry."""
    kl_correction: Tensor
    """To add to the sum of `kl_Z`, nats, where the prior is not N(0, I) in whatever units; else 0."""
    finite: Tensor
    """True when every mu, log sigma^2 and KL, and the mutual information, is a finite number."""


ACTIVE_UNIT_VARIANCE = 0.01
"""Var over sets of mu_d above which dimension d is an active unit (Burda et al. 2016)."""
COLLAPSE_EPSILON = 0.01
"""Nats: epsilon of (epsilon, delta)-collapse."""
COLLAPSE_DELTA = 0.01
"""delta of (epsilon, delta)-collapse."""


def posterior_statistics(
    posterior: DiagonalGaussian,
    steady_mu_SZ: Tensor | None = None,
    seed: int = 0,
    correction_S: Tensor | None = None,
) -> PosteriorStatistics:
    """Collapse statistics of M pooled posteriors. Needs no more than a few times their memory.

    Args:
        posterior: the pool.
        steady_mu_SZ: its means without the drift of the encoder over the steps of the pool, which is no signal; None: as they are.
        seed: of the noise of the mutual information, another one for each check.
        correction_S: what the KL of each set to its own prior is more than that to N(0, I); None: nothing.

    >>> statistics = posterior_statistics(DiagonalGaussian(torch.zeros(1000, 4), torch.zeros(1000, 4)))  # the prior itself
    >>> statistics.kl_Z.sum().item(), statistics.signal_Z.max().item(), statistics.mean_variance_Z.mean().item()
    (0.0, 0.0, 1.0)
    """
    kl_SZ, variance_SZ = kl_to_prior(posterior), posterior.variance_SZ
    more_S = torch.zeros_like(kl_SZ[:, 0]) if correction_S is None else correction_S
    steady = posterior if steady_mu_SZ is None else replace(posterior, mu_SZ=steady_mu_SZ)
    information = mutual_information(steady, seed)
    held = posterior.mu_SZ.isfinite() & posterior.logvar_SZ.isfinite() & kl_SZ.isfinite()
    return PosteriorStatistics(
        sets=len(kl_SZ),
        kl_Z=kl_SZ.mean(0),
        mean_variance_Z=variance_SZ.mean(0),
        signal_Z=steady.mu_SZ.var(0),
        collapsed_share_Z=(kl_SZ < COLLAPSE_EPSILON).float().mean(0),
        variance_share=(variance_SZ > 0.01).float().mean(),
        mutual_information=information,
        at_prior_share=(kl_SZ.sum(1) + more_S < COLLAPSE_EPSILON).float().mean(),
        kl_correction=more_S.mean(),
        finite=held.all() & information.isfinite(),
    )


MUTUAL_INFORMATION_SAMPLES = 512
"""Sets for which log q(z_i) is evaluated, against all M: beyond that the estimate costs more than it gains."""
FEW_DIMENSIONS = 16
"""With fewer dimensions each sample tells less, and costs less: so many more are drawn."""
EXPANDABLE = 1e10
"""Largest square of a distance in posterior deviations up to which its expansion, in double precision, keeps six digits."""
BLOCK = 2**24
"""Elements of the largest intermediate tensor."""


def mutual_information(posterior: DiagonalGaussian, seed: int = 0) -> Tensor:
    """I_q(x; z) = E_i[log q(z_i | x_i) - log 1/M sum_j q(z_i | x_j)], nats (Hoffman & Johnson 2016; He et al. 2019, eq. 9).

    Samples z_i for some sets, evenly spread over the M, stand for the expectation over q(z | x_i). He et al. take the entropy
    of q(z | x_i) in closed form; with the sampled log density in its place the noise of both terms cancels where it matters: for a
    collapsed posterior the estimate is 0 to the last digits, not 0 +- sqrt(Z / 2M). It saturates at ln M. KL = I_q + KL(q(z) || p(z)).

    The noise is a function of the seed, another one for each check, so that its error averages out over checks. It is dealt out in the
    order of the posterior means along one direction: the figure is a function of the set of posteriors, whatever their order, so that
    it does not depend on how they were spread over devices.

    >>> far_apart = DiagonalGaussian(1e3 * torch.arange(50.0)[:, None], torch.zeros(50, 1))
    >>> round(mutual_information(far_apart).item(), 1), round(math.log(50), 1)  # all 50 can be told apart
    (3.9, 3.9)
    """
    generator = torch.Generator().manual_seed(seed)
    m, z_dims = posterior.mu_SZ.shape
    direction_Z = torch.randn(z_dims, generator=generator).to(posterior.mu_SZ.device)
    order = (posterior.mu_SZ.double() @ direction_Z.double()).argsort()
    # In double precision, and centred: below, the squares of narrow posteriors cancel.
    centred = replace(posterior, mu_SZ=posterior.mu_SZ - posterior.mu_SZ.mean(0))
    ordered = centred.each(lambda values: values[order].double())
    mu_SZ, logvar_SZ = ordered.mu_SZ, ordered.logvar_SZ
    correlated = isinstance(ordered, CorrelatedGaussian)
    narrow = not correlated and _too_narrow(mu_SZ, logvar_SZ)
    # Sets that lie so far apart can be told apart by any sample; and many correlated dimensions are dear.
    samples = MUTUAL_INFORMATION_SAMPLES * max(1, FEW_DIMENSIONS // z_dims)
    samples = samples // 8 if narrow or (correlated and z_dims > FEW_DIMENSIONS) else samples
    some = torch.arange(0, m, max(1, m // samples)).repeat(max(1, samples // m)).to(mu_SZ.device)
    noise_SZ = torch.randn(len(some), z_dims, generator=generator).to(mu_SZ)
    z_SZ = ordered.each(lambda values: values[some]).sample(noise_SZ)
    squared_SM = _squared_deviations(z_SZ, ordered, expanded=not (narrow or mu_SZ.is_cuda))
    # Of its own set the noise itself is exact: z - mu would have lost the digits of a deviation of 1e-20.
    squared_SM[torch.arange(len(some), device=some.device), some] = noise_SZ.square().sum(1)
    log_density_SM = -0.5 * (squared_SM + logvar_SZ.sum(1))
    log_own_S = -0.5 * (noise_SZ.square() + logvar_SZ[some]).sum(1)
    log_marginal_S = torch.logsumexp(log_density_SM, 1) - math.log(m)
    return (log_own_S - log_marginal_S).mean().to(posterior.mu_SZ.dtype)


def _too_narrow(mu_MZ: Tensor, logvar_MZ: Tensor) -> bool:
    """Whether an expanded square would lose its digits. A GPU, which must not be made to wait, is not asked."""
    return not mu_MZ.is_cuda and not float(mu_MZ.square().max() * (-logvar_MZ).exp().max()) < EXPANDABLE


def _squared_deviations(z_SZ: Tensor, posterior: DiagonalGaussian, expanded: bool) -> Tensor:
    """sum_d (z_d - mu_d)^2 / sigma_d^2 of all pairs, shape (S, M): as one matrix product, or as it stands."""
    mu_MZ, logvar_MZ = posterior.mu_SZ, posterior.logvar_SZ
    if isinstance(posterior, CorrelatedGaussian):
        rows = max(1, BLOCK // posterior.root_SZZ.numel())
        blocks = []
        for part_SZ in z_SZ.split(rows):
            away_MZS = (part_SZ[:, None] - mu_MZ).permute(1, 2, 0)
            blocks.append(torch.linalg.solve_triangular(posterior.root_SZZ, away_MZS, upper=False).square().sum(1).T)
        return torch.cat(blocks)
    if expanded:
        precision_MZ = (-logvar_MZ).exp()
        left_S2 = torch.cat([z_SZ.square(), -2.0 * z_SZ], 1)
        right_M2 = torch.cat([precision_MZ, mu_MZ * precision_MZ], 1)
        return torch.addmm((mu_MZ.square() * precision_MZ).sum(1), left_S2, right_M2.T)
    inverse_MZ = (-0.5 * logvar_MZ.clamp(min=-700.0)).exp()
    rows = max(1, BLOCK // mu_MZ.numel())
    blocks = [((part[:, None] - mu_MZ) * inverse_MZ).square().sum(2) for part in z_SZ.split(rows)]
    return torch.cat(blocks)
