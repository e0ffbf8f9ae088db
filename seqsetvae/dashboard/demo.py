"""A simulated run that collapses, for whoever wants to know what that looks like: made-up numbers, judged by the real detector."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from seqsetvae import names
from seqsetvae.collapse.alerts import Alert, as_row
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.collapse.watch import Watch
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settling import settle_monitor
from seqsetvae.tracking.read.recorded_run import RecordedRun, Series

RUN_ID = "demo"
STEPS, EVERY, LOGGED = 4000, 50, 10
"""Optimizer steps of the run, between two updates of its monitor, and between two points of its losses."""
STEPS_PER_SECOND = 40.0
"""So the collapse comes after about a minute, and the demo ends after less than two."""
SECONDS = STEPS / STEPS_PER_SECOND
COLLAPSE_FROM = 2000
"""Beta has reached its height, which is far too high."""
LATENT_DIM, POOLED, MAX_BETA, BATCH = 16, 1024, 8.0, 8


def simulated(step: int) -> CollapseStatistics:
    """What a monitor would measure at a step: a posterior that comes to life, and is then pushed onto the prior.

    >>> simulated(1500).active_units, simulated(4000).active_units
    (14, 0)
    """
    rng = np.random.default_rng(step)
    alive = 1.0 - math.exp(-step / 300)
    lost = 1.0 - math.exp(-max(0, step - COLLAPSE_FROM) / 120)
    use = alive * (1.0 - lost)
    noise = math.exp(rng.normal(0.0, 0.05))
    ceiling = math.log(POOLED)
    return CollapseStatistics(
        step=step,
        sets=POOLED,
        kl=9.0 * use * noise + 1e-4,
        active_units=round(14 * use),
        latent_dim=LATENT_DIM,
        mutual_information=min(4.5 * use * noise, ceiling),
        mutual_information_ceiling=ceiling,
        collapsed_dimensions_ratio=1.0 - use,
        mean_variance=1.0 - 0.85 * use,
        active_ratio_by_variance=1.0,  # the guides' ratio, blind to what happens here
        active_ratio_by_mean_variance=1.0,
        decoder_use=3.0 * use * noise,
        recon=_recon(step, use) * (1.0 + rng.normal(0.0, 0.004)),
        beta=_beta(step),
    )


def _beta(step: int) -> float:
    return MAX_BETA * min(1.0, step / COLLAPSE_FROM)


def _recon(step: int, use: float) -> float:
    return 15.0 + 8.0 * math.exp(-step / 500) + 3.0 * (1.0 - use)


class DemoRun:
    """A run that trains while one looks.

    Args:
        clock: seconds; another one than the computer's lets a test decide how far the run is.
        started: by that clock; None: now.
    """

    def __init__(self, clock: Callable[[], float] = time.time, started: float | None = None) -> None:
        self._clock, self._started = clock, clock() if started is None else started
        self._config = settle_monitor(MonitorConfig(on_collapse="warn"), STEPS)
        self._watch = Watch(self._config, BetaOutlook(STEPS, beta_at=_beta))
        self._updates: list[tuple[CollapseStatistics, int]] = []
        self._alerts: list[dict[str, Any]] = []

    def poll(self) -> RecordedRun:
        """The run as it is now, with all of its points."""
        done = min(STEPS, int((self._clock() - self._started) * STEPS_PER_SECOND))
        for step in range(EVERY * (len(self._updates) + 1), done + 1, EVERY):
            self._check(simulated(step))
        return RecordedRun(
            run_id=RUN_ID,
            name="simulated collapse",
            status="RUNNING" if done < STEPS else "FINISHED",
            experiment="demo",
            start_time=self._started,
            end_time=None if done < STEPS else self._started + SECONDS,
            params={f"monitor/{key}": str(value) for key, value in asdict(self._config).items()}
            | {"model/latent_dim": str(LATENT_DIM)},
            tags={names.TAG_KIND: "pretrain", names.TAG_TOTAL_STEPS: str(STEPS)},
            metrics=self._losses(done) | self._measured(),
            alerts=tuple(self._alerts),
            store="no store: a simulation",
        )

    def _check(self, statistics: CollapseStatistics) -> None:
        for check in self._watch.update(statistics):
            if check.is_alert:
                self._alerts.append(as_row(Alert(check.diagnosis, self._time(statistics.step))))
        self._updates.append((statistics, self._watch.primary.state.level))

    def _measured(self) -> dict[str, Series]:
        rows: dict[str, list[tuple[int, float]]] = {}
        for statistics, level in self._updates:
            for key, value in {**statistics.metrics(), names.COLLAPSE_LEVEL: level}.items():
                rows.setdefault(key, []).append((statistics.step, value))
        return {key: self._series(*map(list, zip(*points, strict=True))) for key, points in rows.items()}

    def _losses(self, done: int) -> dict[str, Series]:
        steps = list(range(LOGGED, done + 1, LOGGED))
        if not steps:
            return {}
        now = [simulated(step) for step in steps]
        recon, kl, beta = ([getattr(one, name) for one in now] for name in ("recon", "kl", "beta"))
        loss = np.array(recon) + np.array(beta) * np.array(kl)
        rng = np.random.default_rng(1)
        norm = rng.lognormal(1.0, 0.3, STEPS)[: len(steps)]
        columns = {
            names.TRAIN_LOSS: loss,
            names.TRAIN_RECON: recon,
            names.TRAIN_KL: kl,
            names.BETA: beta,
            names.GRADIENT_NORM: norm,
            names.PATIENTS_PER_SECOND: np.full(len(steps), BATCH * STEPS_PER_SECOND),
        }
        return {key: self._series(steps, list(values)) for key, values in columns.items()}

    def _series(self, steps: list[int], values: list[float]) -> Series:
        return Series.of(steps, [1000 * self._time(step) for step in steps], values)

    def _time(self, step: int) -> float:
        return self._started + step / STEPS_PER_SECOND
