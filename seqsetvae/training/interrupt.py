"""Stopping well: a signal ends the run after the current step, with a checkpoint to continue from; so does an exception."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl


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


class StopRequest:
    """Catches SIGINT and SIGTERM while it is open. A second one of the same kind gets its usual effect at once."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signum: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for signum in self.SIGNALS:
            self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        self._restore()
        name = signal.Signals(signum).name
        print(f"\n{name}: stopping after this step, with a checkpoint. Once more stops at once.", flush=True)

    def _restore(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}


class StopSafely(pl.Callback):
    """Writes `interrupted_*.ckpt` when a stop was requested, and `error_*.ckpt` when an exception ends the run."""

    def __init__(self, request: StopRequest, folder: Path):
        self.request = request
        self.folder = folder

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        # Between two micro-batches of one optimizer step the gradients so far would be lost: finish the step first.
        if self.request.signum is not None and (trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._stop(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.request.signum is not None:
            self._stop(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, Interrupted) and trainer.global_step > 0:
            trainer.save_checkpoint(self.folder / f"error_{trainer.global_step:07d}.ckpt")

    def _stop(self, trainer: pl.Trainer) -> None:
        assert self.request.signum is not None
        path = self.folder / f"interrupted_{trainer.global_step:07d}.ckpt"
        trainer.save_checkpoint(path)
        raise Interrupted(self.request.signum, path)
