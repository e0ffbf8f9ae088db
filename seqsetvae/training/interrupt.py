"""Stopping well: a signal ends the run after the current step, with a checkpoint to continue from; so does an exception."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from seqsetvae.errors import StoppedBySignal
from seqsetvae.training.gathering import greatest
from seqsetvae.training.processes import STEPS_BETWEEN_QUESTIONS
from seqsetvae.training.signals import Signals, StoppedAtOnce


class Interrupted(StoppedBySignal):
    """The run was asked to stop by a signal. `checkpoint` has its state; None: it stopped at once, or had not begun."""

    def __init__(self, signum: int, checkpoint: Path | None):
        super().__init__(signum)
        self.checkpoint = checkpoint


class StopSafely(Checkpoint):
    """Writes `interrupted_*.ckpt` on a signal of :mod:`seqsetvae.training.signals`, and `error_*.ckpt` when an exception ends the run.

    A run stops between two optimizer steps, or within a validation, which the continued run begins anew.

    As a `Checkpoint` Lightning calls it after all other callbacks, so that `best_*` and `last.ckpt` of the step are written too.

    Args:
        folder: where the checkpoints go.
        signals: of the whole command; None: this callback listens by itself, while it trains.
    """

    def __init__(self, folder: Path, signals: Signals | None = None):
        self.folder = folder
        self._own = None if signals else Signals()
        self.signals = signals or self._own

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not earlier: Lightning sets its own handler for SIGTERM, which would end the run without a checkpoint.
        assert self.signals is not None
        if self._own is not None:
            self._own.__enter__()
        self.signals.listen()
        self.signals.be_patient(True)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        if trainer.world_size > 1 and trainer.global_step % STEPS_BETWEEN_QUESTIONS:
            return  # asking makes the processes wait for each other
        # Between two micro-batches of one optimizer step the gradients so far would be lost: finish the step first.
        if not loop._should_accumulate():
            self._stop_if_requested(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.world_size == 1:
            self._stop_if_requested(trainer)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._stop_if_requested(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, Interrupted | StoppedAtOnce) and trainer.global_step > 0:
            self._save_alone(trainer, self.folder / f"error_{trainer.global_step:07d}.ckpt")
        self._stop_listening()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._stop_listening()

    def _stop_if_requested(self, trainer: pl.Trainer) -> None:
        assert self.signals is not None
        requested = greatest(self.signals.requested or 0)  # whichever process it came to, all stop at the same step
        if requested:
            path = self.folder / f"interrupted_{trainer.global_step:07d}.ckpt"
            trainer.save_checkpoint(path)
            raise Interrupted(requested, path)

    def _save_alone(self, trainer: pl.Trainer, path: Path) -> None:
        """Without waiting for other processes: one of them may have died, or may not come here."""
        trainer.strategy.save_checkpoint(trainer._checkpoint_connector.dump_checkpoint(), path)

    def _stop_listening(self) -> None:
        assert self.signals is not None
        self.signals.be_patient(False)
        if self._own is not None:
            self._own.__exit__()
