"""Trains batches of linear VAEs and looks at them as the monitor of a real run does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqsetvae.certify.linear import LinearRun, LinearVAEs, active_by_closed_form, is_critical
from seqsetvae.certify.trajectory import Observation, Trajectory
from seqsetvae.collapse.information import CANDIDATES, DecoderInformation, decoder_information
from seqsetvae.collapse.measured import slope
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig, OptimizerConfig
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.config.settling import settle_monitor, settle_optimizer
from seqsetvae.posterior import DiagonalGaussian, posterior_statistics
from seqsetvae.training.module import learning_rate_factor
from seqsetvae.training.monitor.decoder_probe import PROBE_SETS

BATCH = 128


@dataclass(frozen=True)
class Study:
    """Runs of the same length that are trained as one batch."""

    runs: tuple[LinearRun, ...]
    total_steps: int
    samples_z: bool
    learning_rate: float


def checks_of(study: Study) -> int:
    """Observations that :func:`observe` will make."""
    return len(study.runs) * (study.total_steps // _settings(study).update_frequency)


def observe(study: Study, progress: Callable[[int], object]) -> list[Trajectory]:
    """Train all runs of a study.

    Args:
        study: what to train.
        progress: told the number of observations made since it was last called.
    """
    settings = _settings(study)
    vaes = LinearVAEs(study.runs, study.samples_z)
    watchers = [_Watcher(run, study, settings) for run in study.runs]
    schedule = settle_optimizer(OptimizerConfig(lr=study.learning_rate, lr_warmup_steps=0), study.total_steps)
    optimizer = torch.optim.Adam(vaes.parameters, lr=study.learning_rate, fused=True)
    for step in range(study.total_steps):
        vaes.set_step(step)
        optimizer.param_groups[0]["lr"] = schedule.lr * learning_rate_factor(schedule, step, study.total_steps)
        vaes.loss(BATCH).backward()
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % settings.update_frequency == 0:
            _look(vaes, watchers, step + 1, settings)
            progress(len(watchers))
    return [one.trajectory for one in watchers]


def _settings(study: Study) -> SettledMonitor:
    return settle_monitor(MonitorConfig(), study.total_steps)


class _Watcher:
    """The monitor's memory of one run."""

    def __init__(self, run: LinearRun, study: Study, settings: SettledMonitor) -> None:
        beta = run.constant_beta
        self.trajectory = Trajectory(
            run.case,
            run.seed,
            study.total_steps,
            run.beta_at,
            run.collapses,
            warmup_steps=run.warmup_steps,
            expected_active=None if beta is None else active_by_closed_form(run.eigenvalues, beta),
            critical=beta is not None and is_critical(run.eigenvalues, beta),
            must_be_silent=run.must_be_silent,
            asks=run.asks,
            sudden_from=run.faulty_from if run.fault != "none" and run.faulty_from > 0 else None,
        )
        self.settings = settings
        self.recon: list[float] = []

    def see(
        self, step: int, posterior: DiagonalGaussian, recon: float, heard: DecoderInformation, information: float
    ) -> None:
        self.recon = [*self.recon, recon][-self.settings.window_size :]
        statistics = CollapseStatistics.of(
            posterior_statistics(posterior, seed=step),
            step=step,
            var_threshold=self.settings.var_threshold,
            decoder={
                "decoder_use": float(heard.use),
                "decoder_information": float(heard.bound),
                "decoder_information_error": float(heard.error),
            },
            recon=recon,
            recon_slope=slope(self.recon) if len(self.recon) > 1 else None,
            updates=len(self.recon),
            beta=self.trajectory.beta_at(step - 1),
        )
        self.trajectory.observations.append(Observation(statistics, information))


@torch.no_grad()
def _look(vaes: LinearVAEs, watchers: Sequence[_Watcher], step: int, settings: SettledMonitor) -> None:
    """One check of all runs. What the decoder hears is measured on as many sets as in a real run."""
    rows = settings.pool_sets
    x_RMX = vaes.sample(rows)
    mu_RMZ, logvar_R1Z = vaes.encode(x_RMX)
    deviation_R1Z = (0.5 * logvar_R1Z).exp()
    # Noise that stands in for z is not z: it stays as it is when latents are exchanged.
    other_RMZ = vaes.noise(rows)

    def nll(mu_RSZ: Tensor) -> Tensor:
        sets = mu_RSZ.shape[1]
        z_RSZ = mu_RSZ + deviation_R1Z * vaes.noise(sets)
        return vaes.negative_log_likelihood(x_RMX[:, :sets], z_RSZ, other_RMZ[:, :sets])

    recon_R = nll(mu_RMZ).mean(1)
    shifts = [place * PROBE_SETS for place in range(CANDIDATES)]
    likelihood_KRS = torch.stack([-nll(mu_RMZ.roll(shift, 1)[:, :PROBE_SETS]) for shift in shifts])
    information_R = vaes.information()
    for place, one in enumerate(watchers):
        posterior = DiagonalGaussian(mu_RMZ[place], logvar_R1Z[place].expand_as(mu_RMZ[place]))
        one.see(
            step,
            posterior,
            float(recon_R[place]),
            decoder_information(likelihood_KRS[:, place]),
            float(information_R[place]),
        )
