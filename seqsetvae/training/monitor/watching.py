"""`WatcherCallback`: tells somebody outside how a run goes, and ends it when told to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

import lightning.pytorch as pl

from seqsetvae.collapse.diagnosis import Level
from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor


class Watcher(Protocol):
    """Who wants to know."""

    def started(self, run_id: str) -> None:
        """Training begins; the run exists in the store."""

    def stepped(self, step: int, level: Level) -> None:
        """Training is at this optimizer step."""

    def validated(self, step: int, metrics: Mapping[str, float]) -> bool:
        """A validation has ended. Whether the run shall end with it."""


class WatcherCallback(pl.Callback):
    """For `pretrain(..., callbacks=[WatcherCallback(watcher)])`.

    Args:
        watcher: is told.
        every_seconds: how often it is told of a step.
    """

    def __init__(self, watcher: Watcher, every_seconds: float = 1.0) -> None:
        self.watcher = watcher
        self.every_seconds = every_seconds
        self.last_step = 0
        self.seconds = 0.0
        """Spent in training."""
        self._started = self._told = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.perf_counter()
        assert trainer.logger is not None
        self.watcher.started(str(trainer.logger.version))

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.last_step = trainer.global_step
        now = time.perf_counter()
        if now - self._told >= self.every_seconds:
            self._told = now
            self.watcher.stepped(self.last_step, level_of(trainer))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        if self.watcher.validated(trainer.global_step, metrics):
            trainer.should_stop = True

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.seconds = time.perf_counter() - self._started


def level_of(trainer: pl.Trainer) -> Level:
    """What the collapse monitor says now; green where nothing is watched."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, CollapseMonitor) and hasattr(callback, "watch"):
            return Level(callback.primary.state.level)
    return Level.GREEN
