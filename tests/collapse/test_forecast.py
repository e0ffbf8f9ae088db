"""What survives training, told before it: against closed forms, noise alone, and VAEs that are trained."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from seqsetvae.collapse.forecast import forecast
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
