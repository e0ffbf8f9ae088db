"""Training metrics: to the loggers every few steps, and to the progress bar. Neither makes the training step wait."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import Logger

from seqsetvae import names
from seqsetvae.batch import EventBatch
from seqsetvae.progress import ProgressBar
from seqsetvae.tracking.write.logger import MlflowLogger
from seqsetvae.training.clock import clock

if TYPE_CHECKING:
    from seqsetvae.training.module import PretrainModule


def write(loggers: list[Logger], metrics: Mapping[str, Any], step: int) -> None:
    """Hand metrics to loggers: tensors as they are to ours, whose own thread reads them; others want numbers, for which a GPU is waited."""
    for logger in loggers:
        if isinstance(logger, MlflowLogger):
            logger.log_metrics(metrics, step=step)
        else:
            logger.log_metrics({name: float(value) for name, value in metrics.items()}, step=step)


class StepLogging(pl.Callback):
    """The metrics of training steps and validations, to the trainer's loggers."""

    def __init__(self, every_n_steps: int):
        self.every_n_steps = every_n_steps
        self._last_step = -1
        self._patients = 0
        self._since = 0.0
        self.validated: dict[str, float] = {}
        """What the last validation showed, also where it was an earlier part of the run that made it."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(trainer)

    def _begin(self, trainer: pl.Trainer) -> None:
        self._last_step, self._patients, self._since = trainer.global_step, 0, time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._since += time.perf_counter() - self._paused
        shown = (names.VAL_LOSS, names.VAL_RECON, names.VAL_KL, *names.VAL_HISTORY)
        measured = trainer.callback_metrics
        self.validated = {name: float(measured[name]) for name in shown if name in measured}
        write(trainer.loggers, self.validated, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"validated": self.validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validated = state_dict["validated"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: EventBatch, batch_idx: int
    ) -> None:
        self._patients += batch.n_subjects * trainer.world_size
        step = trainer.global_step
        if step == self._last_step or (step % self.every_n_steps != 0 and step != 1):
            return
        module = cast("PretrainModule", pl_module)
        shown = module.step_metrics
        assert shown is not None
        now = time.perf_counter()
        metrics: dict[str, Any] = {
            names.TRAIN_LOSS: shown.loss,
            names.TRAIN_RECON: shown.recon,
            names.TRAIN_KL: shown.kl,
            names.BETA: shown.beta,
            names.GRADIENT_NORM: module.gradient_norm,
            names.LEARNING_RATE: module.learning_rate,
            names.PATIENTS_PER_SECOND: self._patients / (now - self._since),
            names.EPOCH: trainer.current_epoch,
            **shown.history,
        }
        write(trainer.loggers, metrics, step)
        self._last_step, self._patients, self._since = step, 0, now


class RunProgressBar(TQDMProgressBar):
    """Loss, recon, KL, beta, patients/s and the time left of the whole run.

    The numbers shown are those of the previous refresh: their copy from the device has arrived meanwhile, so nothing waits for it.
    """

    def __init__(self, refresh_rate: int = 5):
        super().__init__(refresh_rate=refresh_rate)
        self._copies: dict[str, Any] = {}
        self._started: tuple[float, int] | None = None
        self._patients = 0

    def init_train_tqdm(self) -> Any:
        return self._bar(desc=self.train_description, position=0, leave=True, smoothing=0)

    def init_validation_tqdm(self) -> Any:
        # In a file the lines of the training are enough.
        return self._bar(desc=self.validation_description, position=1, leave=False, disable=not sys.stdout.isatty())

    def _bar(self, disable: bool = False, **options: Any) -> ProgressBar:
        return ProgressBar(
            disable=self.is_disabled or disable,
            dynamic_ncols=True,
            file=sys.stdout,
            bar_format=self.BAR_FORMAT,
            **options,
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._started = (time.perf_counter(), trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: EventBatch, batch_idx: int
    ) -> None:
        self._patients += batch.n_subjects * trainer.world_size
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        module = cast("PretrainModule", pl_module)
        if self._started is None or module.step_metrics is None:
            return {}
        arrived = {name: f"{float(value):.4g}" for name, value in self._copies.items()}
        self._copies = {
            name: value.to("cpu", non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in vars(module.step_metrics).items()
            if name != "history"
        }
        seconds = time.perf_counter() - self._started[0]
        steps = trainer.global_step - self._started[1]
        left = seconds / max(1, steps) * max(0, module.total_steps - trainer.global_step)
        return {**arrived, "patients/s": f"{self._patients / seconds:.1f}", "left": clock(int(left))}
