"""scvi-tools and pythae, watched by the lines of the README, at a weight of the KL that leaves them alive and at one that does not."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from collapse_monitor import CollapseMonitor, Level, LoopMonitor, MonitorConfig

from conftest import README, run_block

WATCH = {"update_frequency": 10, "grace_steps": 40, "on_collapse": "warn", "verbose": False}


def counts() -> np.ndarray:
    """Of 40 genes in 640 cells of four kinds."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(2.0, 2.0, (4, 40))
    return rng.poisson(rates[rng.integers(4, size=640)]).astype(np.float32)


@pytest.mark.parametrize(("weight", "level"), [(0.1, Level.GREEN), (1000.0, Level.RED)])
def test_scvi_tools(weight, level):
    anndata = pytest.importorskip("anndata")
    names = run_block("scvi-tools")
    adata = anndata.AnnData(counts())
    names["SCVI"].setup_anndata(adata)
    torch.manual_seed(0)
    monitor = CollapseMonitor(**WATCH)
    names["SCVI"](adata, n_hidden=32, n_latent=4).train(
        max_epochs=30,
        accelerator="cpu",
        batch_size=64,
        callbacks=[monitor],
        enable_progress_bar=False,
        logger=False,
        plan_kwargs={"min_kl_weight": weight, "max_kl_weight": weight, "n_epochs_kl_warmup": 1, "lr": 5e-3},
    )
    assert monitor.outcome.level == level
    assert monitor.updates[-1].beta == pytest.approx(weight)


@pytest.mark.parametrize(("beta", "level"), [(0.1, Level.GREEN), (100.0, Level.RED)])
def test_pythae(beta, level, tmp_path):
    pytest.importorskip("pythae")
    from pythae.models import BetaVAE, BetaVAEConfig
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    watch = run_block("pythae")["Watch"]
    torch.manual_seed(0)
    x = torch.randn(1280, 1, 4, 4) * torch.tensor([2.0, 2.0, 1.0, 1.0]).reshape(1, 1, 4, 1)
    model = BetaVAE(BetaVAEConfig(input_dim=(1, 4, 4), latent_dim=4, beta=beta))
    monitor = LoopMonitor(200, MonitorConfig(**WATCH), model=model)
    config = BaseTrainerConfig(
        output_dir=str(tmp_path), num_epochs=10, learning_rate=3e-3, per_device_train_batch_size=64, no_cuda=True
    )
    TrainingPipeline(model=model, training_config=config)(train_data=x, callbacks=[watch(model, monitor)])
    assert monitor.verdict().level == level


@pytest.mark.parametrize("name", ["scvi-tools", "pythae"])
def test_an_adapter_has_few_lines(name):
    section = README.read_text(encoding="utf-8").split(f"## {name}\n")[1].split("\n## ")[0]
    adapter = re.search(r"\nclass .*?\n\n\n", section, re.DOTALL)
    assert adapter is not None
    assert len([line for line in adapter[0].splitlines() if line.strip()]) <= 10
