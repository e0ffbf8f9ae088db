"""SeqSetVAE itself on the demo data, watched by the callback of a real run: healthy, and at beta 50.

There is no closed form here. The truth is measured on the validation split, which the monitor does not see while it trains, and by no
function of the monitor: information is the lesser of

    KL       an upper bound of the mutual information (Hoffman & Johnson 2016): below 0.01 nats the latents carry nothing
    a bound  of what the decoder makes of them: how much more likely it finds a set under its own latent than, on average, under
             those of 7 other places in the split as well
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch.distributions import Normal, kl_divergence

from seqsetvae.batch import EventBatch
from seqsetvae.certify.trajectory import Observation, Trajectory
from seqsetvae.collapse.detector import Detector
from seqsetvae.config import (
    DataConfig,
    ModelConfig,
    MonitorConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PretrainConfig,
    TrainerConfig,
)
from seqsetvae.config.settling import settle_monitor
from seqsetvae.posterior import DiagonalGaussian
from seqsetvae.training.loop import train_unrecorded
from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor
from seqsetvae.training.outlook import beta_outlook
from seqsetvae.training.plan import Plan, make_plan

PLACES = 8
MODEL = ModelConfig(width=32, latent_dim=8, levels=1, heads=2, ff_dim=64, history_layers=1)


@dataclass(frozen=True)
class SeqSetVAERun:
    """One run."""

    case: str
    seed: int
    objective: ObjectiveConfig
    collapses: bool
    total_steps: int


def seqsetvae_runs(seeds: int, quick: bool = False) -> list[SeqSetVAERun]:
    """As it comes, and with a KL weight that it cannot bear."""
    steps = 160 if quick else 300
    return [
        SeqSetVAERun(f"SeqSetVAE on the demo data, {name}", seed, objective, collapses, steps)
        for name, objective, collapses in (
            ("default objective", ObjectiveConfig(), False),
            ("beta 50", ObjectiveConfig(beta=50.0), True),
        )
        for seed in range(seeds)
    ]


def checks_of(runs: Iterable[SeqSetVAERun]) -> int:
    """Observations that :func:`observe` will make of these."""
    return sum(run.total_steps // settle_monitor(MonitorConfig(), run.total_steps).update_frequency for run in runs)


def observe(run: SeqSetVAERun, progress: Callable[[int], object]) -> tuple[Trajectory, Detector]:
    """Train one run.

    Args:
        run: what to train.
        progress: told the number of observations made since it was last called.

    Returns:
        What the monitor saw, and the detector that judged it on the way.
    """
    plan = _plan(run)
    outlook = beta_outlook(plan.config.objective, plan.total_steps)
    assert outlook.beta_at is not None
    monitor = CollapseMonitor(plan.config.monitor)
    truth = _Truth(plan, monitor, progress)
    with contextlib.redirect_stdout(io.StringIO()):  # the alerts are what is being examined
        train_unrecorded(plan, [monitor, truth])
    observations = [Observation(seen, known) for seen, known in zip(monitor.updates, truth.information, strict=True)]
    trajectory = Trajectory(
        run.case,
        run.seed,
        plan.total_steps,
        outlook.beta_at,
        run.collapses,
        warmup_steps=outlook.warmup_steps,
        family="SeqSetVAE",
        final=monitor.final,
        observations=observations,
    )
    return trajectory, monitor.primary


def _plan(run: SeqSetVAERun) -> Plan:
    return make_plan(
        PretrainConfig(
            data=DataConfig(batch_size=8),
            model=MODEL,
            objective=run.objective,
            optimizer=OptimizerConfig(lr=3e-3),
            trainer=TrainerConfig(max_epochs=10_000, max_steps=run.total_steps, accelerator="cpu", seed=run.seed),
            monitor=MonitorConfig(on_collapse="warn", verbose=False),
        )
    )


class _Truth(pl.Callback):
    """Looks at the validation split whenever the monitor has looked at the training batches."""

    def __init__(self, plan: Plan, monitor: CollapseMonitor, progress: Callable[[int], object]) -> None:
        store = plan.data.store
        self.batch = store.gather("valid", 0, np.arange(store.n_subjects("valid")))
        self.monitor = monitor
        self.progress = progress
        self.information: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: EventBatch, batch_idx: int
    ) -> None:
        if len(self.monitor.updates) == len(self.information):
            return
        module: Any = pl_module
        with torch.no_grad():
            posterior = module.vae.encode(self.batch)
            own = Normal(posterior.mu_SZ, (0.5 * posterior.logvar_SZ).exp())
            kl = kl_divergence(own, Normal(0.0, 1.0)).sum(1).mean()
            self.information.append(min(float(kl), self._made_use_of(module, posterior, trainer.global_step)))
        self.progress(1)

    def _made_use_of(self, module: Any, posterior: DiagonalGaussian, step: int) -> float:
        generator = torch.Generator().manual_seed(step)
        found = []
        for place in range(PLACES):
            shift = place * self.batch.n_sets // PLACES
            moved = DiagonalGaussian(posterior.mu_SZ.roll(shift, 0), posterior.logvar_SZ.roll(shift, 0))
            z_SZ = moved.sample(torch.randn(moved.mu_SZ.shape, generator=generator))
            found.append(-module.negative_log_likelihood(z_SZ, self.batch).double())
        log_likelihood_KS = torch.stack(found)
        found_at = [
            (a * log_likelihood_KS[0] - (a * log_likelihood_KS).logsumexp(0)).mean() for a in (0.03, 0.1, 0.3, 1.0)
        ]
        return float(torch.stack(found_at).max()) + math.log(PLACES)
