"""What survives training, told before it: against closed forms, noise alone, and VAEs that are trained."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from seqsetvae.collapse.detector import Detector
from seqsetvae.collapse.forecast import forecast, from_sequences
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settling import settle_monitor
from seqsetvae.errors import InputError

SPECTRUM = (8.0, 4.0, 2.0, 0.5)


def gaussian(rows: int = 20_000, dims: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(dims, dims, generator=generator))[0]
    return torch.randn(rows, dims, generator=generator) * torch.tensor(SPECTRUM).sqrt() @ axes + 3.0


@pytest.mark.parametrize("variance", [1.0, 0.1])
def test_a_linear_vae_is_told_by_its_closed_form(variance):
    """Lucas et al. 2019: active where lambda_i > beta s2, and then KL_i = 0.5 ln(lambda_i / (beta s2))."""
    found = forecast(gaussian(), variance=variance)
    assert found.critical_beta == pytest.approx(8.0 / variance, rel=0.03)
    for limit in (0.3, 1.0, 3.0, 6.0, 9.0):
        active = [value for value in SPECTRUM if value > limit]
        assert found.survivors(limit / variance) == len(active)
        assert found.survivors(limit / variance, latent_dim=1) == min(1, len(active))
        truth = sum(0.5 * math.log(value / limit) for value in active)
        assert found.information(limit / variance) == pytest.approx(truth, abs=0.05)
    assert found.information(0.0) == math.inf


@pytest.mark.parametrize(("likelihood", "strength"), [("gaussian", 0.8), ("bernoulli", 0.8), ("poisson", 0.4)])
def test_noise_alone_is_nothing_to_encode_and_a_factor_is_something(likelihood, strength):
    generator = torch.Generator().manual_seed(1)
    factor = torch.randn(3000, 1, generator=generator)

    def draw(strength: float) -> torch.Tensor:
        eta = strength * factor * torch.tensor([1.0, -1.0, 1.0] * 5)
        if likelihood == "gaussian":
            return eta + torch.randn(3000, 15, generator=generator)
        if likelihood == "bernoulli":
            return torch.bernoulli(torch.sigmoid(eta), generator=generator)
        return torch.poisson(eta.exp(), generator=generator)

    assert forecast(draw(0.0), likelihood).nothing_to_encode
    assert "nothing to encode" in str(forecast(draw(0.0), likelihood))
    found = forecast(draw(strength), likelihood)
    assert not found.nothing_to_encode
    assert (found.survivors(1.5), found.survivors(0.9 * found.critical_beta)) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "lives"), [(0.6, True), (1.6, False)])
def test_a_trained_vae_of_counts_lives_below_and_dies_above_the_critical_beta(share, lives):
    generator = torch.Generator().manual_seed(2)
    factors = torch.randn(2000, 2, generator=generator)
    loadings = 0.5 * torch.randn(2, 12, generator=generator)
    x = torch.poisson((1.0 + factors @ loadings).exp().clamp(max=30.0), generator=generator)
    beta = share * forecast(x, "poisson").critical_beta
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 6))
    decoder = nn.Linear(3, 12)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
    for step in range(600):
        batch = x[torch.randint(len(x), (128,), generator=generator)]
        mu, logvar = encoder(batch).chunk(2, dim=1)
        eta = decoder(mu + (0.5 * logvar).exp() * torch.randn(mu.shape, generator=generator))
        kl = 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar).sum(1).mean()
        loss = (eta.exp() - batch * eta).sum(1).mean() + beta * min(1.0, step / 200) * kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        active = int((encoder(x).chunk(2, dim=1)[0].var(0) > 0.01).sum())
    assert (active > 0) == lives


def test_noise_is_hardly_ever_taken_for_something():
    drawn = [torch.randn(400, 20, generator=torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert sum(not forecast(x).nothing_to_encode for x in drawn) <= 6
    weak = [x + 0.5 * x[:, :1].roll(1, 0) for x in drawn]
    assert sum(not forecast(x).nothing_to_encode for x in weak) >= 190


def sequences(stays: float, rows: int = 6) -> tuple[torch.Tensor, ...]:
    """Rows of 4000 sequences, unit noise and one factor of variance 1 in four values, which stays what it was by so much."""
    generator = torch.Generator().manual_seed(4)
    factor = torch.randn(4000, 1, generator=generator)
    factors = [factor]
    for _ in range(rows - 1):
        new = torch.randn(4000, 1, generator=generator)
        factors.append(stays * factors[-1] + math.sqrt(1.0 - stays**2) * new)
    factor_BS = torch.cat(factors, 1)
    x = factor_BS.reshape(-1, 1) * torch.ones(4) + torch.randn(4000 * rows, 4, generator=generator)
    return x, torch.ones(4), torch.arange(4000).repeat_interleave(rows), torch.arange(rows).repeat(4000)


@pytest.mark.parametrize("stays", [0.0, 0.5, 1.0])
def test_what_stays_true_over_a_sequence_could_pay_for_more(stays):
    """The direction (1, 1, 1, 1) / 2 has variance 5 and at lag k covariance 4 stays^k: could pay 5 + sum_k share_k (4 stays^k)^2 / 5."""
    rows = 6
    later = sum((rows - lag) / rows * (4.0 * stays**lag) ** 2 / 5.0 for lag in range(1, rows))
    found = from_sequences(*sequences(stays, rows))
    assert found.critical_beta == pytest.approx(5.0, rel=0.05)
    assert found.farthest_beta == pytest.approx(5.0 + later, rel=0.05)
    assert found.survivors(1.3) == 1


@pytest.mark.parametrize(("beta", "said"), [(0.5, "free_bits"), (9.0, "is too high: from about 5")])
def test_advice_tells_a_beta_that_is_too_high_from_nothing_to_encode(beta, said):
    dead = CollapseStatistics(500, 1024, 0.0, 0, 16, 0.0, 6.9, 1.0, 1.0, 1.0, 1.0, beta=beta)
    config = settle_monitor(MonitorConfig(), total_steps=2000)
    data, *_ = sequences(0.0)
    assert said in Detector(config, BetaOutlook(2000, forecast=forecast(data))).check(dead).advice
    noise = forecast(torch.randn(3000, 5, generator=torch.Generator().manual_seed(0)))
    assert "nothing to encode" in Detector(config, BetaOutlook(2000, forecast=noise)).check(dead).advice


@pytest.mark.parametrize(
    ("data", "likelihood", "said"),
    [
        (torch.zeros(1, 3), "gaussian", "at least two rows"),
        (torch.full((5, 2), 1.5), "bernoulli", "are 0 to 1"),
        (torch.full((5, 2), -1.0), "poisson", "are 0 to inf"),
        (torch.zeros(5, 2), "poisson", "is constant"),
    ],
)
def test_data_that_do_not_fit_are_refused(data, likelihood, said):
    with pytest.raises(InputError, match=said):
        forecast(data, likelihood)
