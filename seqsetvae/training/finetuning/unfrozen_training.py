"""Trains backbone and head together: scheduler, early stopping and best checkpoint by one validation score."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from seqsetvae import names
from seqsetvae.config import FinetuneConfig
from seqsetvae.model.classifier import RiskHead
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.tasks.kind import Kind
from seqsetvae.training.checkpoint_writing import AtomicCheckpointIO
from seqsetvae.training.checkpoints import read_tensors
from seqsetvae.training.finetuning.auxiliary import AuxiliaryHead
from seqsetvae.training.finetuning.features import LabelledStays
from seqsetvae.training.finetuning.finetune_module import RiskModule, stay_loader
from seqsetvae.training.finetuning.head_training import FittedHead, OnEpoch
from seqsetvae.training.interrupt import StopSafely
from seqsetvae.training.loop import quiet_lightning
from seqsetvae.training.signals import Signals


@dataclass(frozen=True)
class FittedMember:
    """Backbone and head at their best epoch."""

    vae: SeqSetVAE
    fitted: FittedHead
    checkpoint: Path


class EpochReport(pl.Callback):
    """Keeps the scores of each epoch, and hands them on."""

    def __init__(self, on_epoch: OnEpoch):
        self.on_epoch = on_epoch
        self.scores: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        scores = {key: float(value) for key, value in trainer.callback_metrics.items()}
        self.scores.append(scores)
        rate = float(trainer.optimizers[0].param_groups[-1]["lr"])
        self.on_epoch(trainer.current_epoch + 1, scores | {names.LEARNING_RATE: rate})


def train_member(
    vae: SeqSetVAE,
    scale: Tensor,
    chosen: str,
    train: LabelledStays,
    valid: LabelledStays,
    kind: Kind,
    config: FinetuneConfig,
    seed: int,
    folder: Path,
    on_epoch: OnEpoch,
    signals: Signals,
) -> FittedMember:
    """Train until the monitored score has not risen for some epochs; return the best state.

    Args:
        vae: the backbone to start from; it is left as it is.
        scale: the head's inputs of the training stays by that backbone, (B, F): they are standardized by these.
        chosen: what the head looks at.
        train: stays to learn from, and perhaps what is learned along.
        valid: stays that choose the epoch.
        kind: of the task, fitted on `train`.
        config: settings.
        seed: of the head's weights, the order of stays, and dropout.
        folder: where `best_seed<seed>.ckpt` goes.
        on_epoch: is told the scores of each epoch.
        signals: of the whole command.
    """
    torch.manual_seed(seed)
    head = RiskHead(scale.shape[1], config.hidden, config.dropout, kind.outputs)
    head.fit_scale(scale)
    auxiliary = AuxiliaryHead(train.auxiliary, head.width) if train.auxiliary else None
    module = RiskModule(deepcopy(vae), head, chosen, kind, config, auxiliary).train()
    monitor = kind.monitor(config)
    report = EpochReport(on_epoch)
    with warnings.catch_warnings():
        quiet_lightning()
        trainer, best = trainer_of(config, monitor, folder, f"best_seed{seed}", [report, StopSafely(folder, signals)])
        loaders = stay_loader(train, config.batch_size, seed), stay_loader(valid, config.batch_size, None)
        trainer.fit(module, *loaders)
    signals.check()
    path = Path(best.best_model_path)
    module.load_state_dict(read_tensors(path)["state_dict"])
    module.cpu().eval().requires_grad_(False)
    epoch = max(range(len(report.scores)), key=lambda number: report.scores[number][monitor])
    return FittedMember(module.vae, FittedHead(module.head, epoch + 1, report.scores[epoch], len(report.scores)), path)


def trainer_of(
    config: FinetuneConfig, monitor: str, folder: Path, name: str, callbacks: Sequence[pl.Callback]
) -> tuple[pl.Trainer, ModelCheckpoint]:
    """What trains, and what keeps the best epoch of it as `folder`/`name`.ckpt; `callbacks` see each epoch after these."""
    best = ModelCheckpoint(
        folder,
        name,
        monitor=monitor,
        mode="max",
        save_weights_only=config.ema_decay is None,  # only with all that there is Lightning keeps the averaged weights
        enable_version_counter=False,
    )
    patience = EarlyStopping(monitor, mode="max", patience=config.epochs_of_patience)
    # By interpolation, which leaves what is frozen as it is to the last bit; Lightning's EMAWeightAveraging adds two products.
    ema = config.ema_decay
    averaging = [] if ema is None else [WeightAveraging(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(ema))]
    trainer = pl.Trainer(
        accelerator=config.accelerator,
        devices=1,
        max_epochs=config.epochs,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        logger=False,
        callbacks=[*averaging, best, patience, *callbacks],
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=config.progress_bar,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    return trainer, best
