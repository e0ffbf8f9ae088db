"""The bound on what reaches the decoder, against answers that are known: it never exceeds them, whatever the decoder's scale."""

from __future__ import annotations

import math

import pytest
import torch

from seqsetvae.collapse.information import decoder_information


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


def test_one_set_that_is_taken_for_another_costs_little_among_those_that_are_told_apart():
    """24 sets that are clear, and two of which another latent fits better by a nat: the bound is near ln 8, not thousands below it."""
    clear_KS = torch.cat([torch.zeros(1, 24), torch.full((7, 24), -30.0)])
    clear_KS[1, [3, 20]] = 1.0
    for order in range(5):
        shuffled = clear_KS[:, torch.randperm(24, generator=torch.Generator().manual_seed(order))]
        found = decoder_information(shuffled)
        assert 1.5 < float(found.bound) <= math.log(8)
        assert float(found.error) < 0.3


def test_the_old_figure_is_no_information():
    use = torch.stack([decoder_information(linear_optimum(8.0, 64, seed)).use for seed in range(60)]).mean()
    assert float(use) == pytest.approx(8.0 - 1.0, rel=0.1)  # e^{2I} - 1, where I is 1.04 nats


def test_a_decoder_that_reads_noise_gets_nothing():
    generator = torch.Generator().manual_seed(0)
    found = [decoder_information(3.0 * torch.randn(8, 64, generator=generator)) for _ in range(100)]
    assert float(torch.stack([one.bound for one in found]).mean()) < 0.01
