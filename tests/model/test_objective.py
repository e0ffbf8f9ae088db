"""Likelihood, KL, free bits and schedules against torch.distributions and against their papers."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from seqsetvae.config import ModelConfig, ObjectiveConfig
from seqsetvae.config.settling import settle_objective
from seqsetvae.errors import InputError
from seqsetvae.model.set_decoder import SetDecoder
from seqsetvae.objective import ElboTerms, controlled_beta, scheduled_beta
from seqsetvae.posterior import DiagonalGaussian, kl_to_prior
from tests.model.conftest import stays


def test_likelihood_is_that_of_torch_distributions(vae, noise):
    batch = stays([3, 17])
    posterior = vae.encode(batch)
    events = vae.decode(posterior.sample(noise[: batch.n_sets]), batch)
    log_variable_N, log_value_N = events.log_prob(batch)
    variables = Categorical(logits=events.variable_logits_SV[batch.set_N])
    torch.testing.assert_close(log_variable_N, variables.log_prob(batch.variable_N))
    cell = (batch.set_N, batch.variable_N)
    values = Normal(events.mean_SV[cell], events.scale_SV[cell])
    torch.testing.assert_close(log_value_N, values.log_prob(batch.value_N))
    terms = vae(batch, noise[: batch.n_sets])
    expected = -(log_variable_N + log_value_N).sum() / batch.n_sets
    torch.testing.assert_close(terms.recon, expected)


def test_kl_is_that_of_torch_distributions():
    mu, logvar = torch.randn(2, 50, 8, dtype=torch.float64)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_to_prior(DiagonalGaussian(mu, logvar)), expected)


def test_free_bits_are_per_dimension_and_averaged_over_sets_first():
    # Dimension 0 averages to 0.3 although one set is below the floor; dimension 1 averages to 0.05 and is lifted to 0.2.
    kl_SZ = torch.tensor([[0.6, 0.1], [0.0, 0.0]])
    terms = ElboTerms(torch.tensor([1.0, 3.0]), torch.zeros(2), kl_SZ, DiagonalGaussian(kl_SZ, kl_SZ))
    assert terms.loss(beta=2.0, free_bits=0.2).item() == pytest.approx(2.0 + 2.0 * (0.3 + 0.2))
    assert terms.loss(beta=2.0).item() == pytest.approx(2.0 + 2.0 * 0.35)


def test_free_bits_do_not_pull_on_a_dimension_below_the_floor():
    mu = torch.tensor([[0.1, 2.0]], requires_grad=True)
    posterior = DiagonalGaussian(mu, torch.zeros(1, 2))
    ElboTerms(torch.zeros(1), torch.zeros(1), kl_to_prior(posterior), posterior).loss(1.0, free_bits=0.5).backward()
    assert mu.grad is not None
    assert mu.grad.tolist() == [[0.0, 2.0]]


def test_the_density_of_a_constant_variable_is_bounded():
    """Driven to certainty, the decoder gains log(1 / (floor sqrt(2 pi))) per value and not a nat more."""
    config = ModelConfig(width=8, heads=2, ff_dim=8, scale_floor=0.05)
    decoder = SetDecoder(config, variables=1)
    with torch.no_grad():
        decoder.heads.weight.zero_()
        decoder.heads.bias.copy_(torch.tensor([0.0, 0.0, -1e4]))
    events = decoder(torch.randn(1, 8))
    batch = replace(
        stays([3]),
        variable_N=torch.zeros(1, dtype=torch.long),
        value_N=torch.zeros(1),
        set_N=torch.zeros(1, dtype=torch.long),
    )
    _, log_value_N = events.log_prob(batch)
    assert log_value_N.item() == pytest.approx(math.log(1.0 / (0.05 * math.sqrt(2.0 * math.pi))), rel=1e-5)


def test_a_warmup_longer_than_the_run_is_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"beta_warmup_steps is 5000.*only 400 optimizer steps"):
        settle_objective(ObjectiveConfig(beta_warmup_steps=5000), total_steps=400)


@pytest.mark.parametrize("off", ["warmup_beta", "kl_annealing"])
def test_either_word_of_the_guides_switches_the_warmup_off(off):
    config = settle_objective(ObjectiveConfig(max_beta=0.3, beta_warmup_steps=10**9, **{off: False}), total_steps=10)
    assert [scheduled_beta(config, step, 10) for step in (0, 9)] == [0.3, 0.3]


def test_the_cyclical_schedule_reaches_max_beta_and_zero_in_every_cycle():
    config = settle_objective(ObjectiveConfig(beta_schedule="cyclical", max_beta=0.8, beta_cycles=4), 1000)
    betas = [scheduled_beta(config, step, 1000) for step in range(1000)]
    assert [betas[start] for start in range(0, 1000, 250)] == [0.0] * 4
    assert all(max(betas[start : start + 250]) == pytest.approx(0.8) for start in range(0, 1000, 250))


def test_the_controller_holds_the_kl_at_its_target():
    """A plant whose KL falls with beta, as a VAE's does: KL = 30 / (1 + 100 beta). The target 10 needs beta = 0.02."""
    config = settle_objective(ObjectiveConfig(beta_schedule="controller", kl_target=10.0, max_beta=1.0), 1000)
    kl, integral = torch.tensor(30.0), torch.tensor(0.0)
    for _ in range(5000):
        beta, integral = controlled_beta(config, kl, integral)
        kl = kl + 0.05 * (30.0 / (1.0 + 100.0 * beta) - kl)
    assert kl.item() == pytest.approx(10.0, rel=0.02)
    assert beta.item() == pytest.approx(0.02, rel=0.05)


def test_the_controller_does_not_wind_up_at_its_bound():
    config = settle_objective(ObjectiveConfig(beta_schedule="controller", kl_target=1.0, max_beta=0.05), 1000)
    integral = torch.tensor(0.0)
    for _ in range(1000):
        beta, integral = controlled_beta(config, torch.tensor(100.0), integral)
    assert beta.item() == pytest.approx(0.05)
    for _ in range(600):
        beta, integral = controlled_beta(config, torch.tensor(0.0), integral)
    assert beta.item() < 0.01
