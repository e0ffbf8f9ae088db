"""A learned prior: the KL is that of torch.distributions, of the sets before alone; off and untrained it is the model without."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from seqsetvae.batch import EventBatch
from seqsetvae.config import ModelConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.model.prior import PERIODS
from seqsetvae.model.set_encoder import LOGVAR_BOUND
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.posterior import DiagonalGaussian, kl_to_prior
from tests.model.conftest import SMALL, stays

ROWS = [3, 17, 42, 99]


@pytest.fixture
def learned() -> SeqSetVAE:
    """In float64, away from its start."""
    torch.manual_seed(0)
    vae = SeqSetVAE(replace(SMALL, prior="learned"), len(open_store("demo").vocabulary)).double()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return vae


def by_hand(vae: SeqSetVAE, history_SD: torch.Tensor, batch: EventBatch) -> DiagonalGaussian:
    """Set by set, from the state of the set before."""
    assert vae.prior is not None
    rows = []
    for place in range(batch.n_sets):
        before, passed = torch.zeros(SMALL.width, dtype=torch.float64), torch.zeros(len(PERIODS), dtype=torch.float64)
        if place and batch.subject_S[place] == batch.subject_S[place - 1]:
            before = history_SD[place - 1]
            minutes = batch.minute_S[place] - batch.minute_S[place - 1]
            passed = 1.0 - torch.exp(-minutes / torch.tensor(PERIODS, dtype=torch.float64))
        rows.append(vae.prior.moments(vae.prior.hidden(torch.cat([before, passed]))))
    mu_SZ, raw_SZ = torch.stack(rows).chunk(2, dim=1)
    return DiagonalGaussian(mu_SZ, LOGVAR_BOUND * torch.tanh(raw_SZ / LOGVAR_BOUND))


def test_the_elbo_has_the_kl_to_the_prior_of_the_sets_before(learned, noise):
    batch = stays(ROWS)
    eps = noise[: batch.n_sets]
    terms = learned(batch, eps)
    posterior = learned.encode(batch)
    history_SD = learned.history(posterior.sample(eps), batch)
    prior = by_hand(learned, history_SD, batch)
    torch.testing.assert_close(terms.prior.mu_SZ, prior.mu_SZ, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(terms.prior.logvar_SZ, prior.logvar_SZ, rtol=1e-9, atol=1e-11)
    q, p = (Normal(one.mu_SZ, (0.5 * one.logvar_SZ).exp()) for one in (posterior, prior))
    torch.testing.assert_close(terms.kl_SZ, kl_divergence(q, p), rtol=1e-8, atol=1e-10)
    log_variable_N, log_value_N = learned.set_decoder(history_SD).log_prob(batch)
    expected = (log_variable_N + log_value_N).sum() - kl_divergence(q, p).sum()
    torch.testing.assert_close(terms.elbo_B(batch).sum(), expected)
    assert (terms.kl_SZ - kl_to_prior(posterior)).abs().max() > 0.1


def test_a_prior_knows_nothing_of_its_own_set_or_of_later_ones(learned, noise):
    batch = stays(ROWS)
    eps, cut = noise[: batch.n_sets], 20
    later_S = batch.position_S >= cut
    changed = replace(batch, value_N=batch.value_N + 2.0 * later_S[batch.set_N])
    before, after = learned(batch, eps).prior.mu_SZ, learned(changed, eps).prior.mu_SZ
    knows_S = batch.position_S > cut
    torch.testing.assert_close(after[~knows_S], before[~knows_S], rtol=1e-10, atol=1e-12)
    assert ((after - before)[knows_S].abs().amax(1) > 1e-6).all()


def test_untrained_it_is_the_model_without_weight_for_weight_and_number_for_number(noise):
    models = []
    for prior in ("standard", "learned"):
        torch.manual_seed(0)
        models.append(SeqSetVAE(replace(SMALL, prior=prior), len(open_store("demo").vocabulary)).double())
    without, with_prior = models
    weights = with_prior.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in without.state_dict().items())
    assert {name.split(".")[0] for name in weights.keys() - without.state_dict().keys()} == {"prior"}
    batch = stays(ROWS)
    one, other = (model(batch, noise[: batch.n_sets]) for model in models)
    assert one.prior is None
    torch.testing.assert_close(one.kl_SZ, other.kl_SZ, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(one.elbo_B(batch), other.elbo_B(batch), rtol=1e-12, atol=0)


def test_what_is_expected_costs_nothing():
    """Sets of a stay that stay as they are: the KL to a prior that has learned to copy the set before falls to that of the first set."""
    torch.manual_seed(0)
    config = ModelConfig(width=16, latent_dim=2, levels=1, heads=2, ff_dim=32, history_layers=1, prior="learned")
    vae = SeqSetVAE(config, len(open_store("demo").vocabulary))
    batch = open_store("demo").gather("train", 0, torch.arange(8).numpy())
    # Each stay has one level, which all of its sets have: the posterior is given, only the prior learns.
    level_SZ = torch.randn(8, 2).index_select(0, batch.subject_S)
    posterior = DiagonalGaussian(level_SZ, torch.full_like(level_SZ, -4.0))
    optimizer = torch.optim.Adam([*vae.prior.parameters(), *vae.history.parameters()], lr=3e-3)
    for _ in range(150):
        prior = vae.prior_of(vae.history(posterior.sample(), batch), batch)
        optimizer.zero_grad()
        kl_to_prior(posterior, prior).sum(1).mean().backward()
        optimizer.step()
    with torch.no_grad():
        kl_S = kl_to_prior(posterior, vae.prior_of(vae.history(posterior.sample(), batch), batch)).sum(1)
        first_S, standard_S = batch.position_S == 0, kl_to_prior(posterior).sum(1)
        news = vae.news(posterior, batch)
    assert kl_S[~first_S].mean() < 0.35 * standard_S[~first_S].mean()
    assert kl_S[first_S].mean() > 0.7 * standard_S[first_S].mean()
    assert news.mu_SZ[~first_S].square().mean() < 2.0
