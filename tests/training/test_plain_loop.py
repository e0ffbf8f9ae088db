"""The monitor in a plain torch loop: a linear VAE whose fate is known from beta, and what it loses on the way."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from seqsetvae.collapse.attribution import lost
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.config import MonitorConfig
from seqsetvae.training.monitor.plain_loop import LoopMonitor

STEPS = 200
SPREAD = torch.tensor([4.0, 3.0, 2.0, 1.5, *[0.3] * 6]).sqrt()


def train(beta_at, hears: bool = True, **settings):
    torch.manual_seed(0)
    model = nn.ModuleDict({"encoder": nn.Linear(10, 8), "decoder": nn.Linear(4, 10), "dropout": nn.Dropout()})
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    logged = {}
    monitor = LoopMonitor(
        STEPS,
        MonitorConfig(update_frequency=5, grace_steps=60),
        model=model,
        log=lambda metrics, step: logged.update({step: metrics}),
        **settings,
    )
    for step in range(1, STEPS + 1):
        x = torch.randn(64, 10) * SPREAD
        mu, logvar = model["encoder"](x).chunk(2, dim=1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1).mean()
        loss = 0.5 * (model["decoder"](z) - x).square().sum(1).mean() + beta_at(step) * kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        def nll(z, x=x):
            return 0.5 * (model["decoder"](z) - x).square().sum(1)

        q = Normal(mu, torch.exp(0.5 * logvar))
        monitor.update(step, q, nll=nll if hears else None, beta=beta_at(step))
    assert model["dropout"].training, "the model is in the mode that it was in"
    return monitor, logged


def test_below_the_eigenvalues_it_lives_and_above_them_it_dies():
    alive, logged = train(lambda step: 0.3)
    assert alive.verdict().level == alive.level == Level.GREEN
    assert set(logged) == set(range(5, STEPS + 1, 5))
    assert logged[STEPS]["collapse/level"] == 0
    assert alive.lost.dimensions == ()
    dead, _ = train(lambda step: 20.0)
    assert dead.verdict().level == dead.level == Level.RED
    assert dead.alerts[-1].level == Level.RED


def test_without_a_likelihood_it_is_unknown():
    assert train(lambda step: 0.3, hears=False)[0].verdict().level == Level.UNKNOWN


def test_what_was_lost_is_named():
    """beta passes the eigenvalues 3, 2 and 1.5 at half time: of four dimensions that spoke one is left."""
    monitor, _ = train(lambda step: 0.2 if step < 100 else 3.4)
    then = next(one for one in monitor.updates if one.step == monitor.lost.since)
    now = monitor.updates[-1]
    gone = {d for d in range(4) if then.kl_Z[d] > 0.05 and now.kl_Z[d] < 0.01}
    assert {place for place, _, _ in monitor.lost.dimensions} == gone
    assert gone
    assert monitor.lost.still + len(gone) <= 4
    assert str(monitor.lost).startswith(f"since step {monitor.lost.since} dimension")


def listening(rows: int):
    """Batches of a decoder that hears everything, and a likelihood whose `x` will be that of the next batch."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        x = torch.randn(rows, 4, generator=generator)
        yield Normal(x, 0.3), lambda z: 0.5 * (z - x).square().sum(1) / 0.09  # noqa: B023


@pytest.mark.parametrize("rows", [1, 4, 64])
def test_a_likelihood_is_asked_about_the_batch_that_it_was_given_with(rows):
    """At batch size 1 all questions are about earlier batches; that of a loop would know the last one alone."""
    monitor = LoopMonitor(300, MonitorConfig(update_frequency=50, grace_steps=100))
    for step, (q, nll) in enumerate(listening(rows), 1):
        monitor.update(step, q, nll=nll)
    assert monitor.verdict().level == monitor.level == Level.GREEN
    assert monitor.updates[-1].decoder_information > 0.2


def test_it_continues_from_a_checkpoint(tmp_path):
    config = MonitorConfig(update_frequency=50, grace_steps=100)
    whole, before, after = (LoopMonitor(300, config) for _ in range(3))
    for step, (q, nll) in enumerate(listening(64), 1):
        whole.update(step, q, nll=nll)
        (before if step <= 170 else after).update(step, q, nll=nll)
        if step == 170:
            torch.save(before.state_dict(), tmp_path / "monitor.ckpt")
            after.load_state_dict(torch.load(tmp_path / "monitor.ckpt", weights_only=True))
    assert [one.step for one in after.updates] == [50, 100, 150, 200, 250, 300]
    assert list(after.updates) == list(whole.updates)
    assert after.verdict() == whole.verdict()


def test_nothing_to_judge_is_said():
    with pytest.raises(ValueError, match="never called"):
        LoopMonitor(100).verdict()
    assert lost([]) is None


@pytest.mark.slow
def test_it_needs_no_lightning():
    heavy = "('lightning.', 'mlflow', 'pandas', 'matplotlib')"
    program = f"import sys; from seqsetvae import LoopMonitor; print([m for m in sys.modules if m.startswith({heavy})])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
