"""Quantiles of what will be measured: the true ones of a process that is known, from the past alone, at no cost to the backbone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from seqsetvae.config import ModelConfig
from seqsetvae.model.forecast_head import LEVELS, ForecastHead, ascending, pinball
from seqsetvae.model.history_heads import HistoryHeads, history_targets
from seqsetvae.model.vae import SeqSetVAE
from tests.model.test_history_heads import HOURS, VARIABLES, random_batch

TINY = {"width": 8, "latent_dim": 4, "levels": 1, "heads": 2, "ff_dim": 8, "history_layers": 1}


def test_the_quantiles_of_a_known_process_are_found():
    """y = 0.8 last + 0.5 h + noise whose spread depends on h, skewed; the bands must be those of its distribution."""
    dice = torch.Generator().manual_seed(0)
    state = torch.rand(4_000, 1, generator=dice)
    last = torch.randn(4_000, 1, generator=dice)
    noise = torch.from_numpy(np.random.default_rng(0).exponential(size=(4_000, 1)).astype(np.float32))
    value = 0.8 * last + 0.5 * state + (0.2 + state) * noise
    past, known, age = (
        torch.stack([last, torch.zeros_like(last)]),
        torch.ones_like(last, dtype=torch.bool),
        torch.zeros_like(last),
    )
    head = ForecastHead(1, 1, 1)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 400)
        optimizer.zero_grad()
        pinball(head(state, past, known, age)[:, 0], value).mean().backward()
        optimizer.step()
    found = ascending(head(state, past, known, age))[:, 0, :, 0].detach()
    for level, said in zip(LEVELS, found, strict=True):
        right = 0.8 * last + 0.5 * state + (0.2 + state) * float(stats.expon.ppf(level))
        assert float((said - right[:, 0]).abs().mean()) < 0.08, level
        for part in (state[:, 0] < 0.3, state[:, 0] > 0.7):
            assert float((value[part, 0] <= said[part]).float().mean()) == pytest.approx(level, abs=0.03)


def test_before_any_training_the_last_value_stays():
    heads = HistoryHeads(ModelConfig(**TINY, foresee_hours=list(HOURS)), VARIABLES)
    batch = random_batch(0)
    past = history_targets(batch, VARIABLES, HOURS)
    said = heads.forecast(torch.randn(batch.n_sets, 8), batch)
    assert said.quantile_QWSV.shape == (len(LEVELS), len(HOURS), batch.n_sets, VARIABLES)
    for window in range(len(HOURS)):
        torch.testing.assert_close(said.quantile_QWSV[2, window], past.past_KSV[0])
    assert bool((said.quantile_QWSV.diff(dim=0) > 0).all())
    assert bool(((said.chance_WSV > 0) & (said.chance_WSV < 1)).all())


def test_the_loss_is_that_of_the_measured_values_and_only_the_head_learns_from_it():
    torch.manual_seed(0)
    vae = SeqSetVAE(ModelConfig(**TINY, foresee_hours=list(HOURS)), VARIABLES)
    batch = random_batch(1)
    terms = vae(batch)
    targets = history_targets(batch, VARIABLES, HOURS)
    history_SD = torch.zeros(batch.n_sets, 8)  # the head starts with no weight on it
    said = vae.history_heads.forecast(history_SD, batch).quantile_QWSV.detach().numpy()
    losses = []
    for w, s, v in np.argwhere(targets.valued_WSV.numpy()):
        y = float(targets.later_WSV[w, s, v])
        short = [y - float(q) for q in said[:, w, s, v]]
        losses.append(np.mean([max(p * x, (p - 1) * x) for p, x in zip(LEVELS, short, strict=True)]))
    assert float(terms.history.forecast.detach()) == pytest.approx(np.mean(losses), rel=1e-5)
    terms.history.forecast.backward()
    learned = {name for name, one in vae.named_parameters() if one.grad is not None and float(one.grad.abs().sum()) > 0}
    assert learned == {
        f"history_heads.quantiles.{name}" for name in ("of_itself_FRV", "of_state.weight", "of_state.bias")
    }


def test_no_event_after_a_set_is_looked_at():
    vae = SeqSetVAE(ModelConfig(**TINY, foresee_hours=list(HOURS)), VARIABLES)
    batch = random_batch(2)
    torch.nn.init.normal_(vae.history_heads.quantiles.of_state.weight)
    torch.nn.init.normal_(vae.history_heads.quantiles.of_itself_FRV)
    history_SD = torch.randn(batch.n_sets, 8)
    whole = vae.history_heads.forecast(history_SD, batch).quantile_QWSV
    first = batch.head(1)
    torch.testing.assert_close(
        vae.history_heads.forecast(history_SD[: first.n_sets], first).quantile_QWSV, whole[:, :, : first.n_sets]
    )


def test_weights_of_an_earlier_version_load_and_give_no_quantiles():
    config = ModelConfig(**TINY, foresee_hours=list(HOURS))
    weights = {name: x for name, x in SeqSetVAE(config, 5).state_dict().items() if "quantiles" not in name}
    vae = SeqSetVAE(config, 5)
    vae.load_state_dict(weights)
    assert vae.history_heads.quantiles is None
    terms = vae(random_batch(0))
    assert float(terms.history.forecast.detach()) == 0.0
