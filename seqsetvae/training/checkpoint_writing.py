"""Which checkpoints a run writes, and how: atomically, each with what :mod:`seqsetvae.training.checkpoints` needs to read it.

last.ckpt               after each validation, and every --trainer.checkpoint_every_n_steps
best_<step>_<val>.ckpt  lowest val_loss
final_<step>.ckpt       end of the run
interrupted_<step>.ckpt SIGINT or SIGTERM
error_<step>.ckpt       an exception stopped the run
healthy_<step>.ckpt     last checks at which the posterior was alive; early_<step>.ckpt, the first check, until there is one
collapsed_<step>.ckpt   the collapse monitor ended the run; model_before_collapse_step_<step>.ckpt is from before that
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from seqsetvae import names
from seqsetvae.atomic import atomic_write
from seqsetvae.config import PretrainConfig
from seqsetvae.training.checkpoints import RECIPE, Recipe, read_checkpoint

_log = logging.getLogger(__name__)


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target and renames; loads tensors and plain containers only.

    A full disk ends no training: what cannot be written is told at once and kept in `failed`, by name, until it can.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failed: dict[str, str] = {}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target, durable=True) as file:
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


def checkpoint_callbacks(folder: Path, config: PretrainConfig) -> list[ModelCheckpoint]:
    """`best_*` by validation loss and `last.ckpt`."""
    trainer = config.trainer
    best = ModelCheckpoint(
        dirpath=folder,
        filename="best_{step:07d}_{" + names.VAL_LOSS + ":.4f}",
        monitor=names.VAL_LOSS,
        save_top_k=trainer.save_top_k,
        save_on_train_epoch_end=False,
        auto_insert_metric_name=False,
        enable_version_counter=False,
    )

    def last(**when: Any) -> ModelCheckpoint:
        return ModelCheckpoint(dirpath=folder, filename="last", enable_version_counter=False, **when)

    callbacks = [best, last(save_on_train_epoch_end=False)]
    if trainer.checkpoint_every_n_steps is not None:
        callbacks.append(last(every_n_train_steps=trainer.checkpoint_every_n_steps))
    return callbacks
