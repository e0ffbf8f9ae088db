"""Metrics in MLflow, Weights & Biases (offline), TensorBoard, or nowhere, as they are read back from there."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from collapse_monitor import CollapseMonitor
from torch import nn
from torch.distributions import Normal
from torch.utils.data import DataLoader

STEPS = [20, 40, 60, 80, 100]


class VAE(pl.LightningModule):
    posterior = None

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(10, 8), nn.Linear(4, 10)

    def training_step(self, x, _):
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        self.posterior = Normal(mu, (0.5 * logvar).exp())
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)
        return (self.negative_log_likelihood(self.posterior.rsample(), x) + 0.3 * kl).mean()

    def negative_log_likelihood(self, z, x):
        return 0.5 * (self.decoder(z) - x).square().sum(1)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def train(logger) -> CollapseMonitor:
    torch.manual_seed(0)
    monitor = CollapseMonitor(update_frequency=20, grace_steps=20, verbose=False)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=logger,
        callbacks=[monitor],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(VAE(), DataLoader(2.0 * torch.randn(6400, 10), batch_size=64))
    return monitor


def test_mlflow(tmp_path: Path):
    from lightning.pytorch.loggers import MLFlowLogger
    from mlflow import MlflowClient

    logger = MLFlowLogger(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    monitor = train(logger)
    points = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_metric_history(logger.run_id, "collapse/kl")
    assert [point.step for point in points] == STEPS
    assert [point.value for point in points] == pytest.approx([update.kl for update in monitor.updates])


def test_tensorboard(tmp_path: Path):
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(str(tmp_path))
    monitor = train(logger)
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    points = events.Scalars("collapse/mutual_information")
    assert [point.step for point in points] == STEPS
    assert [point.value for point in points] == pytest.approx([update.mutual_information for update in monitor.updates])


def records(content: bytes) -> Iterator[bytes]:
    """Of a `.wandb` file: LevelDB's log, after 7 bytes of its own. Blocks of 32 KiB; checksum, length and kind before each fragment."""
    at, held = 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        held += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last fragment
            yield held
            held = b""


def test_weights_and_biases_offline(tmp_path: Path):
    from lightning.pytorch.loggers import WandbLogger
    from wandb.proto.wandb_internal_pb2 import Record

    logger = WandbLogger(offline=True, save_dir=str(tmp_path), project="p")
    monitor = train(logger)
    logger.experiment.finish()
    [file] = tmp_path.rglob("*.wandb")
    found = []
    for content in records(file.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        if "collapse/kl" in items:
            found.append((int(items["trainer/global_step"]), float(items["collapse/kl"])))
    assert [step for step, _ in found] == STEPS
    assert [value for _, value in found] == pytest.approx([update.kl for update in monitor.updates])


def test_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train(False).steps_history == STEPS
    assert not list(tmp_path.iterdir())
