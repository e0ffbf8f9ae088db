"""Which checkpoints a run writes, and how: atomically, each with what :mod:`seqsetvae.training.checkpoints` needs to read it.

last.ckpt               after each validation, every --trainer.checkpoint_every_minutes, and every --trainer.checkpoint_every_n_steps
best_<step>_<val>.ckpt  lowest val_recon, of validations at which the collapse monitor is not red
final_<step>.ckpt       end of the run
interrupted_<step>.ckpt a signal, such as Ctrl-C or a scheduler's SIGTERM
error_<step>.ckpt       an exception stopped the run
healthy_<step>.ckpt     last checks at which the posterior was alive; early_<step>.ckpt, the first check, until there is one
collapsed_<step>.ckpt   the collapse monitor ended the run; model_before_collapse_step_<step>.ckpt is from before that
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from seqsetvae import names
from seqsetvae.atomic import atomic_write
from seqsetvae.config import PretrainConfig
from seqsetvae.training.checkpoint_names import sweep
from seqsetvae.training.checkpoints import LAST, RECIPE, Recipe, read_checkpoint
from seqsetvae.training.gathering import greatest
from seqsetvae.training.processes import STEPS_BETWEEN_QUESTIONS
from seqsetvae.training.signals import Signals

_log = logging.getLogger(__name__)


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target and renames; loads tensors and plain containers only.

    A full disk ends no training: what cannot be written is told at once and kept in `failed`, by name, until it can.

    Args:
        signals: what a signal raises waits until a file is written.
    """

    def __init__(self, signals: Signals | None = None) -> None:
        super().__init__()
        self._signals = signals
        self.failed: dict[str, str] = {}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            unbroken = self._signals.unbroken() if self._signals else contextlib.nullcontext()
            with unbroken, atomic_write(target, durable=True) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # Of a write that fails within torch.save, PyTorch makes an error of its own.
            reason = error if isinstance(error, OSError) else error.__context__
            if not isinstance(reason, OSError):
                raise
            self.failed[target.name] = reason.strerror or str(reason)
            _log.warning(
                "%s cannot be written (%s). Training goes on; the next one may succeed.",
                target,
                self.failed[target.name],
            )
        else:
            self.failed.pop(target.name, None)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class RecipeWriter(pl.Callback):
    """Puts the :class:`Recipe` into every checkpoint, after `persist` has put what was logged so far on disk.

    A resumed run starts behind the checkpoint: a metric that was still in memory when the process was killed would be missing.
    """

    def __init__(self, recipe: Recipe, persist: Callable[[], object]):
        self.recipe = dataclasses.asdict(recipe)
        self.persist = persist

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.persist()
        checkpoint[RECIPE] = self.recipe


class BestCheckpoints(ModelCheckpoint):
    """`best_*` by the validation NLL (`val_recon`), as the champion is chosen; never one whose posterior has collapsed.

    The ELBO at beta 1 is lowest where a run with a small beta has hardly begun, since its KL grows with all that the latents learn. Its
    state names files, not paths, so that it is valid wherever the run's folder has gone to; another run, such as a rescue that starts
    from this one's checkpoint, does not take it up.
    """

    def __init__(self, folder: Path, save_top_k: int, run_id: str, is_red: Callable[[], bool]) -> None:
        super().__init__(
            dirpath=folder,
            filename="best_{step:07d}_{" + names.VAL_RECON + ":.4f}",
            monitor=names.VAL_RECON,
            save_top_k=save_top_k,
            save_on_train_epoch_end=False,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )
        self.run_id, self.is_red = run_id, is_red
        self._restored = False

    def state_dict(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "by": self.monitor,
            "scores": {Path(path).name: score for path, score in self.best_k_models.items()},
            "step": self._last_global_step_saved,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["run_id"] != self.run_id:
            return
        if (
            state_dict.get("by") != self.monitor
        ):  # of a release that went by another figure: its files stay, and are not compared with
            return
        self._restored = True
        self._last_global_step_saved = state_dict["step"]
        self.best_k_models = {self._path(name): score for name, score in state_dict["scores"].items()}
        if not self.best_k_models:
            return
        by_score = sorted(self.best_k_models, key=lambda path: float(self.best_k_models[path]))
        self.best_model_path, self.best_model_score = by_score[0], self.best_k_models[by_score[0]]
        if len(by_score) == self.save_top_k:
            self.kth_best_model_path, self.kth_value = by_score[-1], self.best_k_models[by_score[-1]]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._sweep(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning keeps the one that the run was resumed from, so that the same command can be given again until here.
        super().on_train_end(trainer, pl_module)
        self._sweep(trainer)

    def _sweep(self, trainer: pl.Trainer) -> None:
        if self._restored and trainer.is_global_zero:
            sweep(self._folder, "best_*.ckpt", {Path(path).name for path in self.best_k_models}, trainer.global_step)

    def _should_skip_saving_checkpoint(self, trainer: pl.Trainer) -> bool:
        return self.is_red() or super()._should_skip_saving_checkpoint(trainer)

    @property
    def _folder(self) -> Path:
        assert self.dirpath is not None
        return Path(self.dirpath)

    def _path(self, name: str) -> str:
        return str(self._folder / name)

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        self._last_global_step_saved = trainer.global_step  # before, so that the checkpoint's own state says so too
        super()._save_checkpoint(trainer, filepath)


class LastCheckpoint(Checkpoint):
    """`last.ckpt`: after each validation, and every so many steps or minutes.

    Args:
        folder: of the run's checkpoints.
        every_n_steps: optimizer steps; None: not by steps.
        every_minutes: since the last one; None: not by time.
    """

    def __init__(self, folder: Path, every_n_steps: int | None, every_minutes: float | None) -> None:
        self.path = folder / LAST
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes
        self._step = 0
        self._written = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step, self._written = trainer.global_step, time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        step = trainer.global_step
        if step == self._step:
            return  # a micro-batch: its gradients would be lost
        self._step = step
        if (self.every_n_steps and step % self.every_n_steps == 0) or self._is_time(trainer):
            self._write(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer)

    def _is_time(self, trainer: pl.Trainer) -> bool:
        if self.every_minutes is None:
            return False
        due = time.monotonic() - self._written >= 60.0 * self.every_minutes
        if trainer.world_size == 1:
            return due
        # All processes write together, by the clock that is ahead.
        return trainer.global_step % STEPS_BETWEEN_QUESTIONS == 0 and bool(greatest(due))

    def _write(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._written = time.monotonic()


def checkpoint_callbacks(
    folder: Path, config: PretrainConfig, run_id: str, is_red: Callable[[], bool] = lambda: False
) -> list[Checkpoint]:
    """What writes `best_*` and `last.ckpt`, in this order; `is_red`: whether the posterior has collapsed by the newest check."""
    trainer = config.trainer
    return [
        BestCheckpoints(folder, trainer.save_top_k, run_id, is_red),
        LastCheckpoint(folder, trainer.checkpoint_every_n_steps, trainer.checkpoint_every_minutes),
    ]
