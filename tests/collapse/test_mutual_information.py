"""Mutual information with fresh noise for each check, in few dimensions, for pinpoint posteriors and beyond all numbers."""

from __future__ import annotations

import math

import pytest
import torch

from seqsetvae.posterior import DiagonalGaussian, mutual_information, posterior_statistics


@pytest.mark.parametrize(("dims", "variance"), [(1, 0.5), (2, 0.5), (2, 0.9), (3, 0.7)])
def test_few_dimensions_are_measured_without_a_lasting_error(dims, variance):
    estimates = []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        mu_SZ = math.sqrt(1.0 - variance) * torch.randn(1024, dims, generator=generator)
        q = DiagonalGaussian(mu_SZ, torch.full_like(mu_SZ, math.log(variance)))
        estimates.append(float(mutual_information(q, seed)))
    truth = -0.5 * dims * math.log(variance)
    assert sum(estimates) / len(estimates) == pytest.approx(truth, rel=0.05, abs=0.01)
    assert max(abs(one - truth) for one in estimates) < 0.15 * truth + 0.02


def test_noise_is_another_one_for_another_seed_and_the_same_for_the_same():
    q = DiagonalGaussian(torch.randn(1000, 2), torch.zeros(1000, 2))
    assert mutual_information(q, 3) == mutual_information(q, 3)
    assert mutual_information(q, 3) != mutual_information(q, 4)


@pytest.mark.parametrize("logvar", [-80.0, -760.0, -1400.0])
def test_pinpoint_posteriors_can_all_be_told_apart(logvar):
    q = DiagonalGaussian(torch.randn(1000, 4), torch.full((1000, 4), logvar))
    assert float(mutual_information(q)) == pytest.approx(math.log(1000), abs=1e-4)


@pytest.mark.parametrize(("mu", "logvar"), [(1e25, 0.0), (0.0, 100.0)])
def test_overflow_is_not_finite(mu, logvar):
    statistics = posterior_statistics(DiagonalGaussian(torch.full((1000, 2), mu), torch.full((1000, 2), logvar)))
    assert not bool(statistics.finite)
