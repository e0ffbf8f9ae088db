"""float16 with a loss scale, on a CPU, where PyTorch's scaler and autocast work too; the flag itself is for GPUs."""

from __future__ import annotations

import statistics
from dataclasses import replace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from seqsetvae.config import MonitorConfig
from seqsetvae.data.module import EventDataModule
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.loop import quiet_lightning
from seqsetvae.training.module import PretrainModule
from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor

STEPS = 8


class Norms(pl.Callback):
    """Of the gradient, by step."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        self.norms.append(float(pl_module.gradient_norm))


def train(tiny, *half: MixedPrecision) -> tuple[list[float], CollapseMonitor, PretrainModule]:
    """With weights that all but stand still, so that norms can be compared step by step."""
    torch.manual_seed(0)
    norms, monitor = Norms(), CollapseMonitor(MonitorConfig(update_frequency=1))
    data = EventDataModule(replace(tiny.data, batch_size=2))
    config = replace(tiny, optimizer=replace(tiny.optimizer, lr=1e-9))
    module = PretrainModule(config, SeqSetVAE(tiny.model, data.vocabulary), STEPS)
    quiet_lightning()
    pl.Trainer(
        accelerator="cpu",
        max_steps=STEPS,
        limit_val_batches=0,
        plugins=list(half),
        callbacks=[monitor, norms],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(module, data)
    return norms.norms, monitor, module


@pytest.mark.slow
def test_a_loss_scale_that_overflows_is_no_nan_and_norms_are_without_it(tiny, capsys):
    half, monitor, module = train(
        tiny, MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**17))
    )
    single, _, _ = train(tiny)
    left_out = half.count(0.0)
    assert 0 < left_out < STEPS - 1
    assert half[:left_out] == [0.0] * left_out
    # The median, since float16 itself gives a batch with an outlier another gradient. With the loss scale it would be above 1,000.
    ratios = [of_half / of_single for of_half, of_single in zip(half[left_out:], single[left_out:], strict=True)]
    assert statistics.median(ratios) == pytest.approx(1.0, rel=0.02)
    assert all(update.finite for update in monitor.updates)
    assert all(weight.isfinite().all() for weight in module.parameters())
    assert "NaN" not in capsys.readouterr().out
