"""The monitor on models with several layers, priors of their own, conditions and subgroups; the truth is in how each is made."""

from __future__ import annotations

import math
import warnings
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)
from torch.utils.data import DataLoader

from seqsetvae.collapse.diagnosis import Level
from seqsetvae.config import MonitorConfig
from seqsetvae.errors import InputError
from seqsetvae.posterior import CorrelatedGaussian, DiagonalGaussian, posterior_statistics
from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor
from seqsetvae.training.monitor.offered import as_latents
from seqsetvae.training.monitor.posterior_pool import PosteriorPool

WATCH = MonitorConfig(update_frequency=5, plot_frequency=50, grace_steps=10, on_collapse="warn", verbose=False)
CLASSES = 4
CODE = 2.0 * torch.eye(CLASSES)


def patients() -> DataLoader:
    """A class, and four values that have nothing to do with it."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(CLASSES, (1920, 1), generator=generator)
    return DataLoader(torch.cat([label.float(), torch.randn(1920, 4, generator=generator)], 1), batch_size=64)


def label_of(x: Tensor) -> Tensor:
    return x[:, 0].long()


def tells(values: Tensor, share: float = 0.9) -> Normal:
    """q of the values that are there: informative."""
    return Normal(share * values, math.sqrt(1.0 - share**2))


def nothing(values: Tensor) -> Normal:
    return Normal(torch.zeros_like(values), torch.ones_like(values))


class Known(pl.LightningModule):
    """Trains nothing that matters: what is looked at is given."""

    posterior: Any = None
    posteriors: Any = None
    other: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def training_step(self, x, _):
        self.offer(x)
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def watch(module: pl.LightningModule, *monitors: CollapseMonitor, **settings) -> CollapseMonitor:
    monitors = monitors or (CollapseMonitor(WATCH),)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        common = {"max_epochs": 2, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pl.Trainer(accelerator="cpu", callbacks=[*monitors], enable_model_summary=False, **common | settings)
        trainer.fit(module, patients())
    return monitors[0]


class Ladder(Known):
    """The lower layer tells the values; the upper one is its prior, whatever is told of the lower one."""

    top_is_heard = True

    def offer(self, x):
        # A constant shift of mean and variance that the learned prior follows: nothing.
        top = torch.full((len(x), 2), 3.0)
        self.posteriors = {"z1": tells(x[:, 1:]), "z2": (Normal(top, 0.5), Normal(torch.full((2,), 3.0), 0.5))}

    def negative_log_likelihood(self, z, x):
        assert z["z1"].shape == (len(x), 4)
        assert z["z2"].shape == (len(x), 2)
        return 0.5 * (x[:, 1:] - z["z1"]).square().sum(1) + 1e-3 * z["z2"].sum(1)


def test_a_dead_layer_is_called_and_makes_the_run_orange():
    monitor = watch(Ladder())
    parts = monitor.watch.parts
    assert {name: Level(one.state.level) for name, one in parts.items()} == {
        "layer z1": Level.GREEN,
        "layer z2": Level.RED,
    }
    outcome = monitor.outcome
    assert (outcome.level, outcome.worst, outcome.first_red_step) == (Level.ORANGE, Level.ORANGE, None)
    assert outcome.last.collapsed_parts == ("layer z2",)
    assert outcome.last.kl == pytest.approx(4 * -0.5 * math.log(1 - 0.81), abs=0.1)
    assert "collapsed parts (layer z2)" in monitor.outlets.alerts[-1].reasons[0]
    assert {alert.detector for alert in monitor.outlets.alerts} == {"primary", "layer z2"}


class TopUnheard(Known):
    """Both layers tell something, and the likelihood that is offered does not follow the upper one."""

    def offer(self, x):
        self.posteriors = {"z1": tells(x[:, 1:]), "z2": tells(x[:, 1:3])}

    def negative_log_likelihood(self, z, x):
        return 0.5 * (x[:, 1:] - z["z1"]).square().sum(1)


def test_a_layer_that_the_likelihood_does_not_reach_is_unknown_and_not_green():
    monitor = watch(TopUnheard())
    assert monitor.outcome.level == Level.UNKNOWN
    assert Level(monitor.watch.parts["layer z1"].state.level) == Level.GREEN
    assert monitor.outlets.alerts[-1].reasons == ("what the decoder makes of layer z2 was not measured",)


class CopiesTheClass(Known):
    """A latent that says the class, and nothing else. The decoder is told the class anyway."""

    prior_knows = condition_is_said = False

    def offer(self, x):
        q = Normal(CODE[label_of(x)], 0.3)
        self.posterior = (q, Normal(CODE[label_of(x)], 0.3)) if self.prior_knows else q

    def negative_log_likelihood(self, z, x):
        return (z - CODE[label_of(x)]).square().sum(1) / 0.18


class WithPrior(CopiesTheClass):
    prior_knows = True


class WithCondition(CopiesTheClass):
    def condition(self, x):
        return label_of(x)


class WithConditionAndValues(WithCondition):
    def offer(self, x):
        self.posterior = Normal(torch.cat([CODE[label_of(x)], 0.9 * x[:, 1:]], 1), 0.3)

    def negative_log_likelihood(self, z, x):
        return super().negative_log_likelihood(z[:, :CLASSES], x) + (z[:, CLASSES:] - x[:, 1:]).square().sum(1) / 0.18


@pytest.mark.parametrize(
    ("model", "level"),
    [
        (CopiesTheClass, Level.GREEN),  # as far as anyone can know who is not told of the class
        (WithPrior, Level.RED),
        (WithCondition, Level.RED),
        (WithConditionAndValues, Level.GREEN),
    ],
)
def test_a_latent_that_copies_the_condition_carries_nothing(model, level):
    outcome = watch(model()).outcome
    assert outcome.level == level
    if level == Level.RED:
        assert outcome.last.mutual_information < 0.01
        assert outcome.last.decoder_information < 0.02 + 2 * outcome.last.decoder_information_error


def test_a_smooth_condition_is_held_as_nearly_as_the_pool_allows():
    class Smooth(Known):
        """z copies a value that the decoder is told."""

        def offer(self, x):
            self.posterior = Normal(x[:, 1:3], 0.3)

        def condition(self, x):
            return x[:, 1:3]

        def negative_log_likelihood(self, z, x):
            return (z - x[:, 1:3]).square().sum(1) / 0.18

    last = watch(Smooth()).outcome.last
    assert last.mutual_information < 0.01
    assert last.active_units == 0
    # Unconditionally it would be ln 8 = 2.08; between neighbours a little of it is left.
    assert last.decoder_information < 0.2


class HalfOfThem(Known):
    """Nothing is said of the patients of the first two classes."""

    def offer(self, x):
        spoken = (label_of(x) >= 2)[:, None]
        told, silent = tells(x[:, 1:]), nothing(x[:, 1:])
        self.posterior = Normal(
            torch.where(spoken, told.loc, silent.loc), torch.where(spoken, told.scale, silent.scale)
        )

    def negative_log_likelihood(self, z, x):
        return 0.5 * (x[:, 1:] - z).square().sum(1)


class HalfOfThemByGroup(HalfOfThem):
    def groups(self, x):
        return {"early": label_of(x) < 2, "late": label_of(x) >= 2, "rare": x[:, 1] > 3.0}


def test_a_subgroup_of_which_nothing_is_said():
    unnamed = watch(HalfOfThem()).outcome
    assert unnamed.level == Level.YELLOW
    assert unnamed.last.sets_at_prior == pytest.approx(0.5, abs=0.06)
    named = watch(HalfOfThemByGroup())
    assert named.outcome.level == Level.ORANGE
    assert named.outcome.last.collapsed_parts == ("group early",)
    assert set(named.watch.parts) == {"group early", "group late"}, "of three rare patients nothing can be known"


def test_several_monitors_in_one_trainer(tmp_path):
    class Two(Known):
        def offer(self, x):
            self.posterior, self.other = tells(x[:, 1:]), nothing(x[:, 1:])

        def negative_log_likelihood(self, z, x):
            return 0.5 * (x[:, 1:] - z).square().sum(1)

    def monitors() -> list[CollapseMonitor]:
        return [CollapseMonitor(WATCH), CollapseMonitor(WATCH, name="other", attribute="other")]

    first = monitors()
    logger = pl.loggers.CSVLogger(tmp_path)
    watch(Two(), *first, logger=logger, log_every_n_steps=5)
    assert [one.outcome.level for one in first] == [Level.GREEN, Level.RED]
    assert {"collapse/kl", "collapse/other/kl", "collapse_final/other/kl"} <= set(
        (tmp_path / "lightning_logs/version_0/metrics.csv").read_text().partition("\n")[0].split(",")
    )
    assert first[0].state_key == "CollapseMonitor"
    assert first[1].state_key == "CollapseMonitor[other]"


def pooled(offered, **beside):
    pool = PosteriorPool(1024)
    pool.add(as_latents(offered, **beside), None)
    return pool.measure(1, None, None, seed=0).posterior


def gaussians(rows: int = 2000, dims: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    A = torch.randn(dims, dims, generator=generator)
    return torch.randn(rows, dims, generator=generator), torch.linalg.cholesky(0.3 * A @ A.T + 0.2 * torch.eye(dims))


def test_a_multivariate_normal_has_the_kl_and_the_information_of_its_closed_form():
    mu, root = gaussians()
    q = MultivariateNormal(mu, scale_tril=root)
    found = posterior_statistics(CorrelatedGaussian.of(mu, root.expand(len(mu), 3, 3)), seed=3)
    standard = MultivariateNormal(torch.zeros(3), torch.eye(3))
    assert float(found.kl_Z.sum()) == pytest.approx(float(kl_divergence(q, standard).mean()), abs=1e-4)
    truth = 0.5 * float(torch.logdet(torch.eye(3) + torch.linalg.inv(root @ root.T)))
    assert float(found.mutual_information) == pytest.approx(truth, rel=0.1)


def test_correlation_alone_is_information():
    """Means and variances are the same for all; the sign of the correlation tells two kinds of sets apart: just under ln 2."""
    sign = torch.where(torch.arange(1500) % 2 == 0, 1.0, -1.0)
    root = torch.zeros(1500, 2, 2)
    root[:, 0, 0], root[:, 1, 0], root[:, 1, 1] = 1.0, 0.999 * sign, math.sqrt(1 - 0.999**2)
    found = posterior_statistics(CorrelatedGaussian.of(torch.zeros(1500, 2), root))
    assert 0.6 < float(found.mutual_information) < math.log(2) + 0.01


@pytest.mark.parametrize("prior_is", ["diagonal", "correlated"])
def test_kl_is_to_the_prior_that_is_offered(prior_is):
    mu, root = gaussians(1024)
    q = Normal(mu, 0.4)
    if prior_is == "diagonal":
        p: Any = Independent(Normal(torch.tensor([0.5, 0.0, -1.0]), torch.tensor([2.0, 1.0, 0.5])), 1)
        truth = kl_divergence(Independent(q, 1), p).mean()
    else:
        p = MultivariateNormal(torch.full((3,), 0.3), scale_tril=root)
        truth = kl_divergence(MultivariateNormal(mu, 0.16 * torch.eye(3)), p).mean()
    found = pooled((q, p))
    assert float(found.kl_Z.sum() + found.kl_correction) == pytest.approx(float(truth), rel=1e-4)


def test_kl_to_a_mixture_by_samples_is_that_of_the_integral():
    mixture = MixtureSameFamily(
        Categorical(torch.tensor([0.3, 0.7])), Normal(torch.tensor([-2.0, 1.0]), torch.tensor([0.5, 1.0]))
    )
    mu = torch.linspace(-2.0, 2.0, 1024)[:, None]
    found = pooled((Normal(mu, 0.5), mixture))
    z = torch.linspace(-8.0, 8.0, 4001)
    log_q = Normal(mu, 0.5).log_prob(z)
    truth = ((log_q.exp() * (log_q - mixture.log_prob(z))).sum(1) * (z[1] - z[0])).mean()
    assert float(found.kl_Z.sum() + found.kl_correction) == pytest.approx(float(truth), abs=0.03)


@pytest.mark.parametrize(
    ("offered", "beside", "said"),
    [
        ({}, {}, "posterior is empty"),
        ({"a": Normal(torch.zeros(4, 2), 1.0), "b": Normal(torch.zeros(5, 2), 1.0)}, {}, r"layers of \[4, 5\] rows"),
        ((Normal(torch.zeros(4, 2), 1.0), Normal(torch.zeros(3), 1.0)), {}, r"shape \(3,\), which does not fit"),
        ((Normal(torch.zeros(4, 2), 1.0), "N(0, 1)"), {}, "is a str, without a log_prob"),
        (Categorical(torch.ones(4, 2)), {}, "is a Categorical"),
        (Normal(torch.zeros(4, 2), 1.0), {"groups": {"men": torch.ones(3)}}, r"group 'men' is \(3,\)"),
        (Normal(torch.zeros(4, 2), 1.0), {"condition": [1, 2, 3, 4]}, "condition is list"),
        (DiagonalGaussian(torch.zeros(4), torch.zeros(4)), {}, r"means of shape \(4,\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(offered, beside, said):
    with pytest.raises(InputError, match=said):
        as_latents(offered, **beside)
