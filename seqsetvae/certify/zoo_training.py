"""Trains the VAEs of the zoo, each in Lightning under the monitor that its owner would put there."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from seqsetvae.certify.planted import Batch, Batches, as_batches, held_out
from seqsetvae.certify.trajectory import Observation, Trajectory
from seqsetvae.certify.truth import explained_information
from seqsetvae.certify.zoo import ZooRun
from seqsetvae.collapse.forecast import forecast
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settling import settle_monitor
from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor

HELD_OUT = 4096
VALIDATION_ROWS = 1024


def checks_of(runs: Iterable[ZooRun]) -> int:
    """Observations that :func:`observe` will make of these."""
    return sum(run.steps // settle_monitor(MonitorConfig(), run.steps).update_frequency for run in runs)


def observe(run: ZooRun, progress: Callable[[int], object]) -> Trajectory:
    """Train one run.

    Args:
        run: what to train.
        progress: told the number of observations made since it was last called.
    """
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(run.seed)
        module = run.model(run)
        if run.asks == "nothing to encode":
            told = forecast(held_out(run.source, HELD_OUT, run.seed)["x"])
            module.beta_outlook = replace(module.beta_outlook, forecast=told)
        monitor = CollapseMonitor(MonitorConfig(on_collapse="warn", verbose=False))
        truth = _HeldOutTruth(run, monitor, progress)
        batches = Batches(run.source, run.steps, run.batch_rows, run.seed)
        validation = as_batches(held_out(run.source, VALIDATION_ROWS, run.seed + 1000), 256)
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            callbacks=[monitor, truth],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, DataLoader(batches, batch_size=None), DataLoader(validation, batch_size=None))  # type: ignore[arg-type]
        part = truth.of(module, run.part) if run.part else None
    return Trajectory(
        run.case,
        run.seed,
        run.steps,
        run.beta_of,
        run.collapses,
        family=run.family,
        asks=run.asks,
        part=run.part,
        part_information=part,
        sudden_from=run.deaf_step if 0 < run.deaf_step < run.steps else None,
        forecast=module.beta_outlook.forecast,
        final=monitor.final,
        observations=[Observation(*one) for one in zip(monitor.updates, truth.information, strict=True)],
    )


class _HeldOutTruth(pl.Callback):
    """Looks at held-out rows whenever the monitor has looked at training batches."""

    def __init__(self, run: ZooRun, monitor: CollapseMonitor, progress: Callable[[int], object]) -> None:
        self.batch = held_out(run.source, HELD_OUT, run.seed)
        self.monitor = monitor
        self.progress = progress
        self.information: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if len(self.monitor.updates) > len(self.information):
            self.information.append(self.of(pl_module))
            self.progress(1)

    def of(self, module: Any, part: str = "") -> float:
        """Nats of the whole, or of a layer; of the rows of the subgroup that is left out."""
        batch = self.batch
        if part.startswith("group"):
            inside = module.groups(batch)[part.removeprefix("group ")]
            batch, part = {name: values[inside] for name, values in batch.items()}, ""
        module.eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(module.global_step)
            decoded = module.decoded(batch, part)
        module.train()
        return explained_information(batch["planted"], decoded, batch["class"])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what Lightning says of hardware and loaders, and without alerts: they are what is being examined."""
    lightning = logging.getLogger("lightning.pytorch")
    level = lightning.level
    lightning.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        lightning.setLevel(level)
