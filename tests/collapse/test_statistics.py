"""Statistics of a pool of posteriors against answers that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from seqsetvae.collapse.measured import POINTS, MeasuredSoFar
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.posterior import DiagonalGaussian, mutual_information, posterior_statistics


def linear_posteriors(variance_Z, sets: int = 4096) -> DiagonalGaussian:
    """Posteriors of a linear VAE at its optimum: Var(mu_d) = 1 - sigma_d^2, so that q(z) is the prior."""
    variance_Z = torch.tensor(variance_Z)
    generator = torch.Generator().manual_seed(1)
    mu_SZ = torch.randn(sets, len(variance_Z), generator=generator) * (1.0 - variance_Z).sqrt()
    return DiagonalGaussian(mu_SZ, variance_Z.log().expand_as(mu_SZ))


def test_a_linear_vae_has_the_information_of_its_closed_form():
    variance_Z = [0.2, 0.5, 0.9, 1.0]
    statistics = CollapseStatistics.of(posterior_statistics(linear_posteriors(variance_Z)), step=1, var_threshold=0.3)
    # I(x; z) = sum 0.5 ln(1 / sigma_d^2), and the marginal is the prior (Lucas et al. 2019).
    truth = [-0.5 * math.log(variance) for variance in variance_Z]
    assert statistics.mutual_information == pytest.approx(sum(truth), abs=0.05)
    assert statistics.marginal_kl == pytest.approx(0.0, abs=0.05)
    np.testing.assert_allclose(statistics.kl_Z, truth, atol=0.03)
    assert (statistics.active_units, statistics.active_units_ratio) == (3, 0.75)
    assert statistics.mean_variance == pytest.approx(0.65)
    assert statistics.active_ratio_by_mean_variance == 0.75
    assert statistics.active_ratio_by_variance == 1.0
    assert statistics.collapsed_dimensions_ratio == 0.25
    assert statistics.mutual_information_ceiling == pytest.approx(math.log(4096))


def test_a_complete_collapse_has_no_information_to_the_last_digits():
    noise_SZ = 1e-4 * torch.randn(2000, 256, generator=torch.Generator().manual_seed(0))
    statistics = CollapseStatistics.of(
        posterior_statistics(DiagonalGaussian(noise_SZ, noise_SZ)), step=1, var_threshold=0.1
    )
    assert abs(statistics.mutual_information) < 1e-4
    assert statistics.kl < 1e-4
    assert statistics.active_units == 0
    assert statistics.collapsed_dimensions_ratio == 1.0
    # What the guides call variance and active ratio looks perfect.
    assert statistics.mean_variance == pytest.approx(1.0, abs=1e-3)
    assert statistics.active_ratio_by_variance == 1.0


def test_a_constant_shift_of_the_means_pays_kl_and_carries_nothing():
    shifted = DiagonalGaussian(torch.full((1500, 8), 0.7), torch.zeros(1500, 8))
    statistics = CollapseStatistics.of(posterior_statistics(shifted), step=1, var_threshold=0.1)
    assert statistics.kl == pytest.approx(8 * 0.5 * 0.49)
    assert statistics.marginal_kl == pytest.approx(statistics.kl, abs=1e-4)
    assert statistics.active_units == 0
    assert abs(statistics.mutual_information) < 1e-4


def test_mutual_information_does_not_depend_on_the_order_of_the_sets():
    posterior = linear_posteriors([0.1, 0.5, 0.8], sets=1000)
    mixed = torch.randperm(1000, generator=torch.Generator().manual_seed(3))
    again = DiagonalGaussian(posterior.mu_SZ[mixed], posterior.logvar_SZ[mixed])
    assert mutual_information(again).item() == pytest.approx(mutual_information(posterior).item(), abs=1e-6)


def test_mutual_information_saturates_at_the_logarithm_of_the_pool():
    for sets in (16, 1000):
        posterior = DiagonalGaussian(100.0 * torch.randn(sets, 5), torch.full((sets, 5), -8.0))
        assert mutual_information(posterior).item() == pytest.approx(math.log(sets), abs=1e-3)


def test_the_share_of_sets_at_the_prior():
    """A quarter of the sets at the prior, in every dimension; a healthy rest."""
    healthy = linear_posteriors([0.2, 0.5, 0.9, 1.0], sets=3000)
    mixed = DiagonalGaussian(
        torch.cat([healthy.mu_SZ, torch.zeros(1000, 4)]), torch.cat([healthy.logvar_SZ, torch.zeros(1000, 4)])
    )
    for posterior, share in ((healthy, 0.0), (mixed, 0.25)):
        found = CollapseStatistics.of(posterior_statistics(posterior), step=1, var_threshold=0.1)
        assert found.sets_at_prior == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_are_seen(bad):
    mu_SZ = torch.zeros(1000, 3)
    mu_SZ[17, 1] = bad
    statistics = posterior_statistics(DiagonalGaussian(mu_SZ, torch.zeros(1000, 3)))
    assert not CollapseStatistics.of(statistics, step=1, var_threshold=0.1).finite


def update(step: int) -> CollapseStatistics:
    return CollapseStatistics(step, 1000, 1.0, 2, 4, 0.5, 6.9, 0.0, 1.0, 1.0, 1.0, recon=float(step))


def test_history_stays_small_even_and_ends_with_the_newest():
    history = MeasuredSoFar()
    for step in range(1, 5001):
        history.append(update(step))
        assert history[-1].step == step
    steps = [one.step for one in history]
    assert POINTS // 2 <= len(steps) <= POINTS
    assert set(np.diff(steps[:-1])) == {8}
    assert history.recon_window(3) == [4998.0, 4999.0, 5000.0]

    restored = MeasuredSoFar()
    restored.load_state_dict(history.state_dict())
    for one in (history, restored):
        one.append(update(5001))
    assert list(restored) == list(history)
