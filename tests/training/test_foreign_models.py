"""The monitor on other people's models: what killed or blessed them wrongly once."""

from __future__ import annotations

import io
import warnings
from collections import UserDict
from dataclasses import dataclass
from typing import NamedTuple

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal
from torch.utils.data import DataLoader

from seqsetvae.collapse.diagnosis import Level
from seqsetvae.config import MonitorConfig
from seqsetvae.errors import InputError
from seqsetvae.posterior import DiagonalGaussian
from seqsetvae.training.monitor.any_batch import pack, unpack
from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor
from seqsetvae.training.monitor.decoder_probe import DecoderProbe, as_in_evaluation
from seqsetvae.training.monitor.latents import WHOLE
from seqsetvae.training.monitor.offered import as_latents
from seqsetvae.training.monitor.posterior_pool import POOL_STEPS, PosteriorPool
from tests.training.plain_vae import PlainVAE, loader

WATCH = MonitorConfig(update_frequency=5, plot_frequency=50, early_stop_patience=3, grace_steps=20, verbose=False)


def train(module: pl.LightningModule, batches: DataLoader | None = None, valid: DataLoader | None = None, **trainer):
    monitor = CollapseMonitor(WATCH)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        settings = {"max_epochs": 2, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        pl.Trainer(
            accelerator="cpu",
            callbacks=[monitor],
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **settings | trainer,
        ).fit(module, batches or loader(), valid)
    return monitor


def one_by_one() -> DataLoader:
    return DataLoader(loader().dataset[:300], batch_size=1)


def test_a_healthy_model_is_not_killed_at_batch_size_one():
    outcome = train(PlainVAE(beta=0.2), one_by_one()).outcome
    assert outcome.stopped_at is None
    assert outcome.level <= Level.YELLOW
    assert outcome.last.decoder_information > 0.05


class Hookless(PlainVAE):
    negative_log_likelihood = property(doc="An AttributeError, as if it were not there.")


class DeafAndFree(PlainVAE):
    """Free bits keep the posterior informative; the decoder gets no latent."""

    def training_step(self, x, _):
        super().training_step(x, _)
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).mean(0)
        return 0.5 * (self.decoder(torch.zeros_like(mu)) - x).square().sum(1).mean() + kl.clamp(min=0.5).sum()

    def negative_log_likelihood(self, z, x):
        return 0.5 * (self.decoder(torch.zeros_like(z)) - x).square().sum(1)


class DeafAndHookless(DeafAndFree):
    negative_log_likelihood = property()


@pytest.mark.parametrize("model", [Hookless(beta=0.5), DeafAndHookless(beta=0.5)], ids=["healthy", "deaf"])
def test_without_a_likelihood_nothing_is_green(model, capsys):
    monitor = train(model)
    assert monitor.outcome.level == Level.UNKNOWN
    assert monitor.outcome.worst == Level.UNKNOWN
    assert "was not measured" in monitor.outcome.verdict
    assert [alert.level for alert in monitor.outlets.alerts] == [Level.UNKNOWN]


def test_free_bits_with_a_deaf_decoder_are_red_where_the_decoder_can_be_asked():
    assert train(DeafAndFree(beta=0.5), max_epochs=3).outcome.level == Level.RED


class DeafAtTheEnd(PlainVAE):
    def training_step(self, x, _):
        if self.trainer.global_step == self.trainer.estimated_stepping_batches - 3:
            nn.init.zeros_(self.decoder.weight)
            self.decoder.weight.requires_grad_(False)
        return super().training_step(x, _)

    def encode(self, x):
        return DiagonalGaussian(*self.encoder(x).chunk(2, dim=1))


@pytest.mark.parametrize("valid", [None, loader()], ids=["training batches", "validation split"])
def test_a_decoder_that_goes_deaf_just_before_the_end_is_red_at_the_end(valid):
    class WithValidation(DeafAtTheEnd):
        def validation_step(self, x, _): ...

    monitor = train((DeafAtTheEnd if valid is None else WithValidation)(beta=0.5), valid=valid)
    assert monitor.primary.state.level <= Level.ORANGE, "training ended before it could be confirmed"
    assert monitor.outcome.level == Level.RED
    assert monitor.outlets.alerts[-1].level == Level.RED


class DividedByPixels(PlainVAE):
    def negative_log_likelihood(self, z, x):
        return super().negative_log_likelihood(z, x) / 784


def test_a_likelihood_divided_by_the_number_of_pixels_is_as_good_as_any():
    outcome = train(DividedByPixels(beta=0.5)).outcome
    assert (outcome.level, outcome.stopped_at) == (Level.GREEN, None)
    assert outcome.last.decoder_use < 0.02


class AsTorchHasIt(PlainVAE):
    """A method that gives a distribution with its graph, latents of shape (rows, 2, 2)."""

    def training_step(self, x, _):
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        self.kept = Independent(Normal(mu.reshape(-1, 2, 2), (0.5 * logvar).exp().reshape(-1, 2, 2)), 2)
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)
        return (self.negative_log_likelihood(self.kept.rsample(), x) + 0.2 * kl).mean()

    def posterior(self):  # type: ignore[override]
        return self.kept

    def negative_log_likelihood(self, z, x):
        assert z.shape[1:] == (2, 2)
        return super().negative_log_likelihood(z.flatten(1), x)


def test_distributions_of_any_shape_from_a_method():
    outcome = train(AsTorchHasIt(beta=0.2)).outcome
    assert (outcome.level, outcome.last.latent_dim) == (Level.GREEN, 2)


def test_what_cannot_be_measured_is_refused_with_the_reason():
    class Odd(PlainVAE):
        def training_step(self, x, _):
            loss = super().training_step(x, _)
            self.posterior = torch.distributions.Bernoulli(logits=torch.zeros(4))  # type: ignore[assignment]
            return loss

    with pytest.raises(InputError, match=r"Odd\.posterior is a Bernoulli"):
        train(Odd(beta=0.5))


def test_each_submodule_keeps_the_mode_it_was_in():
    frozen = nn.BatchNorm1d(3).eval()
    model = nn.Sequential(nn.Linear(3, 3), frozen, nn.Dropout())
    with as_in_evaluation(model):
        assert not any(part.training for part in model.modules())
    assert [part.training for part in model.modules()] == [True, True, False, True]


def test_a_run_without_an_end_a_second_fit_and_several_optimizers():
    endless = train(PlainVAE(beta=0.5), max_epochs=-1, max_steps=60)
    assert len(endless.updates) == 12

    class ThreeOptimizers(PlainVAE):
        automatic_optimization = False

        def training_step(self, x, _):
            loss = super().training_step(x, _)
            for optimizer in self.optimizers():
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
            return loss

        def configure_optimizers(self):
            return [torch.optim.Adam(self.parameters(), lr=3e-3) for _ in range(3)]

    assert len(train(ThreeOptimizers(beta=0.5)).updates) == 40

    monitor = CollapseMonitor(WATCH)
    for epochs in (2, 1):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            pl.Trainer(
                accelerator="cpu",
                callbacks=[monitor],
                max_epochs=epochs,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            ).fit(PlainVAE(beta=0.5), loader())
        assert len(monitor.updates) == 20 * epochs


def test_the_pool_is_young_and_drift_is_no_signal():
    pool = PosteriorPool(1024)
    for step in range(2000):  # an encoder that says nothing, and moves
        pool.add(as_latents(DiagonalGaussian(torch.full((1, 4), 0.01 * step), torch.zeros(1, 4))), None)
    assert len(pool.steps) == POOL_STEPS
    found = pool.measure(2000, None, None, seed=0).posterior
    assert float(found.signal_Z.max()) < 1e-4
    assert abs(float(found.mutual_information)) < 1e-3


def test_no_set_counts_twice():
    """50 samples seen again and again, by an encoder that moves: the estimate cannot pass ln 50."""
    pool, generator = PosteriorPool(1024), torch.Generator().manual_seed(0)
    pool.spread(devices=1, epoch=5)
    for _ in range(100):
        posterior = DiagonalGaussian(torch.randn(10, 8, generator=generator), torch.full((10, 8), -6.0))
        pool.add(as_latents(posterior), None)
    found = pool.measure(100, None, None, seed=0).posterior
    assert found.sets == 50
    assert float(found.mutual_information) <= torch.tensor(50.0).log() + 1e-4


class Pair(NamedTuple):
    values: torch.Tensor
    others: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Sample:
    values: torch.Tensor
    patient: str = "one"


class OfTokens(UserDict):
    """As a tokenizer's batches are."""


KINDS = {
    "tensor": lambda x: x,
    "named tuple": lambda x: Pair(x, {"twice": 2.0 * x}),
    "dataclass": Sample,
    "tokens": lambda x: OfTokens({"values": x}),
}


def values_of(batch) -> torch.Tensor:
    if isinstance(batch, torch.Tensor):
        return batch
    return batch["values"] if isinstance(batch, OfTokens) else batch.values


class OfAnyKind(PlainVAE):
    """With a prior of its own, layers by name, and batches of any kind."""

    def negative_log_likelihood(self, z, batch):
        assert type(batch) in {torch.Tensor, Pair, Sample, OfTokens}
        return super().negative_log_likelihood(torch.cat([z["low"], z["high"]], 1), values_of(batch))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 3, 200])
def test_a_resumed_probe_hears_what_it_would_have_heard(rows, kind):
    """Of layers with priors of their own too; the last batch of an epoch, a small one, leaves the large ones before it in use."""
    model, generator = OfAnyKind(beta=0.5), torch.Generator().manual_seed(0)
    sizes = [*[rows] * 21, min(rows, 5)]
    batches = [KINDS[kind](torch.randn(size, 10, generator=generator)) for size in sizes]

    def see(probe, pool, batch):
        mu, logvar = model.encoder(values_of(batch)).detach().chunk(2, dim=1)
        scale = (0.5 * logvar).exp()
        low, high = Normal(mu[:, :2], scale[:, :2]), Normal(mu[:, 2:], scale[:, 2:])
        pool.add(as_latents({"low": low, "high": (high, Normal(torch.ones(2), 2.0))}), None)
        # The pool has no use for the prior, and lets go of it.
        probe.keep(batch, as_latents({"low": low, "high": (high, Normal(torch.ones(2), 2.0))}), pool.steps[-1].serial)

    whole, pool = DecoderProbe(), PosteriorPool(1024)
    for batch in batches[:20]:
        see(whole, pool, batch)
    whole.measure(model, pool.steps, 1)
    resumed, again = DecoderProbe(), PosteriorPool(1024)
    content = io.BytesIO()
    torch.save([whole.state_dict(), pool.state_dict()], content)
    content.seek(0)
    kept, pooled = torch.load(content, weights_only=True)
    resumed.load_state_dict(kept, torch.device("cpu"))
    again.load_state_dict(pooled, torch.device("cpu"))
    assert len(resumed.state_dict()["batches"]) == len(kept["batches"]) > 0, "a checkpoint before the next batch"
    for batch in batches[21:]:
        see(whole, pool, batch)
        see(resumed, again, batch)
    found = whole.measure(model, pool.steps, 2)
    assert set(found) == {WHOLE, "layer low", "layer high"}
    for name, other in resumed.measure(model, again.steps, 2).items():
        assert (found[name].bound, found[name].error, found[name].use) == (other.bound, other.error, other.use)


def test_what_no_checkpoint_holds_is_not_kept_in_one():
    with pytest.raises(TypeError, match="A object cannot be kept"):
        pack({"x": object()})
    with pytest.raises(TypeError, match="no batch of the kind"):
        unpack(pack({"x": torch.ones(2)}), {"y": torch.ones(2)}, torch.device("cpu"))


def test_a_probe_goes_on_without_batches_that_it_could_not_keep():
    probe = DecoderProbe()
    probe.keep(lambda z: z, as_latents(DiagonalGaussian(torch.zeros(3, 2), torch.zeros(3, 2))), 0)
    assert probe.state_dict() == {"answers": [], "batches": []}
