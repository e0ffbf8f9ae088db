"""A run that was stopped and resumed sees the same subjects in the same order as one that was not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from seqsetvae.batch import EventBatch
from seqsetvae.config import DataConfig
from seqsetvae.data.module import EventDataModule
from seqsetvae.data.store import Store

EPOCHS = 3
MakeCheckpoint = Callable[[Path], ModelCheckpoint]


class Recorder(LightningModule):
    """Learns nothing; remembers which subjects it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, ...]] = []

    def training_step(self, batch: EventBatch, batch_idx: int) -> torch.Tensor:
        self.seen.append((self.trainer.current_epoch, batch_idx, *batch.row_B.tolist()))
        return self.weight.sum()

    def validation_step(self, batch: EventBatch, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(
    store: Store,
    folder: Path,
    workers: int,
    checkpoint: ModelCheckpoint,
    val_check_interval: float = 1.0,
    resume: Path | None = None,
) -> tuple[list[tuple[int, ...]], int]:
    """Train; return epoch, number and rows of each batch that was seen, and the batches per epoch."""
    module = Recorder()
    data = EventDataModule(DataConfig(store=str(store.path), batch_size=10, num_workers=workers), seed=3)
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        callbacks=[checkpoint],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        max_epochs=EPOCHS,
        val_check_interval=val_check_interval,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, data, ckpt_path=resume, weights_only=False)
    return module.seen, data.batches_per_epoch()


def every_step(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder, filename="{step}", every_n_train_steps=1, save_top_k=-1, save_on_train_epoch_end=False
    )


def every_epoch(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{step}", every_n_epochs=1, save_top_k=-1, save_on_train_epoch_end=True)


def every_validation(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{step}", save_top_k=-1, save_on_train_epoch_end=False)


CASES = [
    pytest.param(every_step, 5, 1.0, id="mid-epoch"),
    pytest.param(every_step, "second epoch", 1.0, id="mid-second-epoch"),
    pytest.param(every_step, "end", 1.0, id="last-batch"),
    pytest.param(every_epoch, "end", 1.0, id="epoch-end"),
    pytest.param(every_validation, "end", 1.0, id="validation-at-epoch-end"),
    pytest.param(every_validation, 4, 4, id="validation-mid-epoch"),
]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("make_checkpoint", "stop", "interval"), CASES)
def test_resumed_run_sees_what_the_uninterrupted_one_saw(
    synthetic_store: Store,
    tmp_path: Path,
    make_checkpoint: MakeCheckpoint,
    stop: int | str,
    interval: float,
    workers: int,
) -> None:
    whole, batches = fit(synthetic_store, tmp_path, workers, make_checkpoint(tmp_path), interval)
    assert len(whole) == EPOCHS * batches
    assert len({row[2:] for row in whole[:batches]}) == batches
    assert [row[2:] for row in whole[:batches]] != [row[2:] for row in whole[batches : 2 * batches]]

    step = stop if isinstance(stop, int) else {"end": batches, "second epoch": batches + 5}[stop]
    idle = ModelCheckpoint(tmp_path / "unused")
    resumed, _ = fit(synthetic_store, tmp_path, workers, idle, interval, resume=tmp_path / f"step={step}.ckpt")
    assert resumed == whole[step:]
