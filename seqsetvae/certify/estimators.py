"""Bias and spread of the detector's estimators, where the answer is exact: a Gaussian channel of so many nats.

x ~ N(0, I) in Z dimensions, z = x + noise of variance v: I(x; z) = Z / 2 ln(1 + 1 / v), and in units in which z ~ N(0, I) it is the KL as
well. The decoder knows the channel, so that the bound of its information is as good as InfoNCE of so many candidates can be.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

import torch

from seqsetvae.certify.table import Table
from seqsetvae.collapse.information import CANDIDATES, decoder_information
from seqsetvae.posterior import DiagonalGaussian, posterior_statistics

DIMENSIONS, NATS, SETS = (1, 2, 8, 32), (0.0, 0.03, 0.3, 1.0, 3.0), 1024
PROBED = (64, 256)
"""Sets on which the decoder is asked: at an update, and for the verdict at the end."""
REPEATS = 30


def estimator_table(repeats: int = REPEATS) -> Table:
    """Mean error and spread over repetitions, each with data and noise of its own."""
    columns = ("dimensions", "true nats", "KL", "mutual information", "active units", *map(_bound_of, PROBED))
    rows: list[tuple[object, ...]] = []
    for z_dims in DIMENSIONS:
        for nats in NATS:
            drawn = [_drawn(z_dims, nats, seed) for seed in range(repeats)]
            kl, information, units, *bounds = zip(*drawn, strict=True)
            active = z_dims if _signal(z_dims, nats) > 0.01 else 0
            errors = [_error(kl, nats), _error(information, nats), f"{sum(units) / repeats:.2f} of {active}"]
            rows.append((z_dims, nats, *errors, *(_error(one, nats) for one in bounds)))
    note = (
        f"Bias +- standard deviation, nats, over {repeats} repetitions with {SETS} sets each: what one check may be off by. Mutual "
        f"information is at most ln {SETS} = {math.log(SETS):.2f}, the bound at most ln {CANDIDATES} = {math.log(CANDIDATES):.2f} nats."
    )
    return Table("Bias and spread of the estimators", columns, rows, note)


def _error(found: Sequence[float], truth: float) -> str:
    bias, spread = statistics.fmean(found) - truth, statistics.stdev(found)
    return f"{bias:+.3f} +- {spread:.3f}"


def _bound_of(sets: int) -> str:
    return f"decoder information, {sets} sets"


def _signal(z_dims: int, nats: float) -> float:
    """Variance of the posterior mean of each dimension, in units in which z ~ N(0, I)."""
    return 1.0 - math.exp(-2.0 * nats / z_dims)


def _drawn(z_dims: int, nats: float, seed: int) -> tuple[float, ...]:
    generator = torch.Generator().manual_seed(seed)
    signal = _signal(z_dims, nats)
    mu_SZ = math.sqrt(signal) * torch.randn(SETS, z_dims, generator=generator)
    posterior = DiagonalGaussian(mu_SZ, torch.full_like(mu_SZ, math.log1p(-signal)))
    # Noise of its own: the data come from the first numbers of theirs.
    found = posterior_statistics(posterior, seed=seed + REPEATS)
    likelihood_KS = torch.stack([_log_likelihood(mu_SZ, posterior, shift, generator) for shift in _shifts()])
    bounds = [float(decoder_information(likelihood_KS[:, :sets]).bound) for sets in PROBED]
    return float(found.kl_Z.sum()), float(found.mutual_information), int((found.signal_Z > 0.01).sum()), *bounds


def _shifts() -> Iterable[int]:
    return (place * SETS // CANDIDATES for place in range(CANDIDATES))


def _log_likelihood(
    mu_SZ: torch.Tensor, posterior: DiagonalGaussian, shift: int, generator: torch.Generator
) -> torch.Tensor:
    """ln p(x | z) but for a constant of x, of the z of other sets: x is told by mu, and p(mu | z) is p(z | mu) by Bayes."""
    z_SZ = posterior.sample(torch.randn(mu_SZ.shape, generator=generator)).roll(shift, 0)
    return -0.5 * ((z_SZ - mu_SZ).square() / posterior.variance_SZ - z_SZ.square()).sum(1)
