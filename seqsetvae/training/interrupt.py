"""Stopping well: a signal ends the run after the current step, with a checkpoint to continue from; so does an exception."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loops.progress import _ProcessedTracker


class Interrupted(Exception):
    """The run was asked to stop by a signal, and has saved its state."""

    def __init__(self, signum: int, checkpoint: Path):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.checkpoint = checkpoint

    @property
    def exit_code(self) -> int:
        """128 + signal, as shells report it: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.signum


class StopSafely(Checkpoint):
    """Writes `interrupted_*.ckpt` on SIGINT and SIGTERM, and `error_*.ckpt` when an exception ends the run.

    A run stops between two optimizer steps. Where a validation is due it stops after that: half a validation cannot be resumed.
    A second signal has its usual effect at once.

    As a `Checkpoint` Lightning calls it after all other callbacks, so that `best_*` and `last.ckpt` of the step are written too.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, folder: Path):
        self.folder = folder
        self._requested: int | None = None
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not earlier: Lightning sets its own handler for SIGTERM, which would end the run without a checkpoint.
        self._previous = {signum: signal.signal(signum, self._request) for signum in self.SIGNALS}

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        # Between two micro-batches of one optimizer step the gradients so far would be lost: finish the step first.
        between_steps = (loop.batch_idx + 1) % trainer.accumulate_grad_batches == 0
        assert trainer.fit_loop._data_fetcher is not None
        if between_steps and not loop._should_check_val_fx(trainer.fit_loop._data_fetcher):
            self._stop_if_requested(trainer)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._stop_if_requested(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, Interrupted) and trainer.global_step > 0:
            trainer.save_checkpoint(self.folder / f"error_{trainer.global_step:07d}.ckpt")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        progress = cast(_ProcessedTracker, trainer.fit_loop.epoch_loop.batch_progress.current)
        if progress.processed < progress.ready:  # the batch in hand failed: a resumed run must get it again
            for place in checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"]:
                place["batches"] -= 1

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._restore_handlers()

    def _request(self, signum: int, frame: FrameType | None) -> None:
        self._requested = signum
        self._restore_handlers()
        name = signal.Signals(signum).name
        print(f"\n{name}: stopping after this step, with a checkpoint. Once more stops at once.", flush=True)

    def _stop_if_requested(self, trainer: pl.Trainer) -> None:
        if self._requested is not None:
            path = self.folder / f"interrupted_{trainer.global_step:07d}.ckpt"
            trainer.save_checkpoint(path)
            raise Interrupted(self._requested, path)

    def _restore_handlers(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}
