"""Whole training against its bare step: fresh batches, loader, monitor, tracking, checkpoints, beside the step alone on the same batches.

Every few steps the training pauses for a copy of its model that takes the bare step (forward, backward, clipping, optimizer) on the batches
just trained on, so that both meet the machine in the same state. Validation is left out, and the time of the copy is nobody's.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.profilers import Profiler

from benchmarks.step import wait
from seqsetvae.app.composition import pretrain
from seqsetvae.batch import EventBatch
from seqsetvae.certify.table import Table
from seqsetvae.config import DataConfig, PretrainConfig, TrackingConfig, TrainerConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.store import MANIFEST, ShardInfo, content_hash, read_manifest
from seqsetvae.training.module import PretrainModule

STEPS = {8: 240, 64: 60}
"""Optimizer steps by batch size. Checkpoints are written twice as often as an epoch of 40,000 patients would ask for."""
COPIES = 16
"""Of the demo's train split, so that an epoch is as long as those steps."""
BLOCK = 5
"""Steps between two pauses."""
SETTLED = 2
"""Blocks that are not counted: allocator and caches are yet to settle."""
REST = "the rest of Lightning"
PARTS = {
    "train_dataloader_next": "waiting for the loader",
    "batch_to_device": "copying the batch to the device",
    "run_training_batch": "step, as Lightning runs it",
}


class Parts(Profiler):
    """Seconds of the outermost of Lightning's named actions within an epoch, by what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[tuple[str, float]] = []

    def start(self, action_name: str) -> None:
        if action_name != "run_training_epoch":
            self._open.append((action_name, time.perf_counter()))

    def stop(self, action_name: str) -> None:
        if action_name == "run_training_epoch" or not self._open:
            return
        name, started = self._open.pop()
        if not self._open:
            self.seconds[part_of(name)] += time.perf_counter() - started


def part_of(action: str) -> str:
    """What one of Lightning's actions is called in the table.

    >>> part_of("[_TrainingEpochLoop].train_dataloader_next")
    'waiting for the loader'
    >>> part_of("[Callback]CollapseMonitor.on_train_batch_end")
    'CollapseMonitor'
    """
    callback = re.match(r"\[Callback\](\w+)", action)
    return callback[1] if callback else PARTS.get(action.rsplit(".", maxsplit=1)[-1], REST)


class Beside(pl.Callback):
    """Takes the bare step on every block of batches, and keeps the seconds of both. The first block is not counted."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.real: list[float] = []
        """Seconds of each counted block in training."""
        self.bare: list[float] = []
        self.spent: dict[str, float] = defaultdict(float)
        """Seconds of the parts of the counted blocks."""
        self._parts = Parts()
        self._batches: list[EventBatch] = []
        self._blocks = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        trainer.profiler = self._parts  # type: ignore[attr-defined]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._vae = deepcopy(cast(PretrainModule, pl_module).vae)
        self._optimizer = torch.optim.AdamW(self._vae.parameters(), lr=1e-4, fused=True)
        self._started = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, _: int) -> None:
        if len(self._batches) == BLOCK:
            self._pause(trainer, pl_module.device)
        self._batches.append(batch)
        trainer.should_stop = trainer.global_step >= self.steps

    def _pause(self, trainer: pl.Trainer, device: torch.device) -> None:
        """Time the bare steps on the batches of the block that has just ended."""
        wait(device)
        real = time.perf_counter() - self._started
        self._bare_step(trainer, self._batches[-1])  # the training's own step left other data in the caches
        wait(device)
        started = time.perf_counter()
        for batch in self._batches:
            self._bare_step(trainer, batch)
        wait(device)
        bare = time.perf_counter() - started
        self._blocks += 1
        if self._blocks > SETTLED:
            self.real.append(real)
            self.bare.append(bare)
            for part, seconds in self._parts.seconds.items():
                self.spent[part] += seconds
        self._parts.seconds.clear()
        self._batches = []
        self._started = time.perf_counter()

    def _bare_step(self, trainer: pl.Trainer, batch: EventBatch) -> None:
        with trainer.precision_plugin.forward_context():
            loss = self._vae(batch).loss(0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._vae.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validation = time.perf_counter(), self._parts.seconds.copy()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        started, self._parts.seconds = self._validation
        self._started += time.perf_counter() - started


def measure(quick: bool = False) -> list[Table]:
    """The share that the bare step has of whole training, by batch size, and where the rest of the time goes."""
    rows: list[tuple[object, ...]] = []
    where: list[tuple[object, ...]] = []
    for size, steps in STEPS.items():
        beside = Beside((SETTLED + 2) * BLOCK + 1 if quick else steps)
        train(size, beside)
        shares = sorted(bare / real for bare, real in zip(beside.bare, beside.real, strict=True))
        patients = BLOCK * size
        rows.append(
            (
                size,
                f"{patients / statistics.median(beside.real):.1f}",
                f"{patients / statistics.median(beside.bare):.1f}",
                f"{statistics.median(shares):.1%}",
                f"{sum(beside.bare) / sum(beside.real):.1%}",
            )
        )
        where += _where(size, beside)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    note = (
        f"Blocks of {BLOCK} steps of a run with everything on, each followed by the bare step on the same batches. Share: bare over whole, "
        "median of the blocks, and of the sums, in which rare work such as a checkpoint or a check for collapse counts as often as it came."
    )
    columns = ("batch", "whole training, patients/s", "bare step, patients/s", "share (median)", "share (sums)")
    return [
        Table(f"Whole training on {device}", columns, rows, note),
        Table("Where whole training spends its time", ("batch", "part", "share"), where),
    ]


def _where(size: int, beside: Beside) -> list[tuple[object, ...]]:
    whole = sum(beside.real)
    seconds = {part: spent for part, spent in beside.spent.items() if part != "Beside"}
    rest = seconds.get(REST, 0.0) + whole - sum(seconds.values())
    by_share = sorted((seconds | {REST: rest}).items(), key=lambda item: -item[1])
    return [(size, part, f"{spent / whole:.2%}") for part, spent in by_share if spent > 1e-4 * whole]


def train(batch_size: int, callback: pl.Callback, *, cuda_graphs: bool = True) -> None:
    """Pretrain on real stays with the standard settings, tracked in a store of its own, until the callback ends it."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config = PretrainConfig(
            data=DataConfig(store=str(repeated(Path(folder))), batch_size=batch_size),
            trainer=TrainerConfig(
                limit_val_batches=1,
                checkpoint_every_n_steps=max(1, 20_000 // batch_size),
                cuda_graphs=cuda_graphs,
            ),
            tracking=TrackingConfig(
                tracking_uri=f"sqlite:///{folder}/mlflow.db", work_dir=folder, register_model=False
            ),
        )
        with contextlib.chdir(folder):
            pretrain(config, callbacks=[callback])


def repeated(folder: Path) -> Path:
    """The demo store with its train split some times over: the same file, named again and again."""
    target = folder / "store"
    shutil.copytree(open_store("demo").path, target)
    manifest = read_manifest(target)
    manifest["shards"] = [
        shard for shard in manifest["shards"] for _ in range(COPIES if shard["split"] == "train" else 1)
    ]
    shards = [ShardInfo(**shard) for shard in manifest["shards"]]
    manifest["content_hash"] = content_hash(manifest["vocabulary"]["sha256"], shards)
    (target / MANIFEST).write_text(json.dumps(manifest))
    return target
