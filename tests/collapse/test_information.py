"""The bound on what reaches the decoder, against answers that are known: it never exceeds them, whatever the decoder's scale."""

from __future__ import annotations

import math

import pytest
import torch

from seqsetvae.collapse.information import decoder_information
from seqsetvae.posterior import DiagonalGaussian, mutual_information, posterior_statistics


def linear_optimum(eigenvalue: float, sets: int, seed: int) -> torch.Tensor:
    """log p(x | z) at the optimum of a linear VAE of one dimension and unit noise: I(x; z) = 0.5 ln(eigenvalue)."""
    generator = torch.Generator().manual_seed(seed)
    x_S = math.sqrt(eigenvalue) * torch.randn(sets, generator=generator)
    signal = math.sqrt(1.0 - 1.0 / eigenvalue)
    own_S = signal * x_S / math.sqrt(eigenvalue) + torch.randn(sets, generator=generator) / math.sqrt(eigenvalue)
    others_KS = torch.randn(7, sets, generator=generator)
    z_KS = torch.cat([own_S[None], others_KS])
    return -0.5 * (x_S - math.sqrt(eigenvalue - 1.0) * z_KS).square()


@pytest.mark.parametrize("scale", [1.0, 1 / 784, 50.0])
@pytest.mark.parametrize("eigenvalue", [1.2, 2.0, 8.0])
def test_the_bound_is_near_the_truth_and_not_above_it_whatever_the_scale(eigenvalue, scale):
    found = [decoder_information(scale * linear_optimum(eigenvalue, 64, seed)) for seed in range(60)]
    bounds = torch.stack([one.bound for one in found])
    truth, error = 0.5 * math.log(eigenvalue), float(bounds.std()) / math.sqrt(len(bounds))
    assert float(bounds.mean()) < truth + 2.0 * error
    assert float(bounds.mean()) > 0.6 * truth - 2.0 * error
    # The standard error of one measurement is the scatter of many.
    assert float(torch.stack([one.error for one in found]).mean()) == pytest.approx(float(bounds.std()), rel=0.5)


def test_the_old_figure_is_no_information():
    use = torch.stack([decoder_information(linear_optimum(8.0, 64, seed)).use for seed in range(60)]).mean()
    assert float(use) == pytest.approx(8.0 - 1.0, rel=0.1)  # e^{2I} - 1, where I is 1.04 nats


def test_a_decoder_that_reads_noise_gets_nothing():
    generator = torch.Generator().manual_seed(0)
    found = [decoder_information(3.0 * torch.randn(8, 64, generator=generator)) for _ in range(100)]
    assert float(torch.stack([one.bound for one in found]).mean()) < 0.01


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
