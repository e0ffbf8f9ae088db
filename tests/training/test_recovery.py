"""Planted truth: subjects driven by a known severity. A model that learns has it in its posterior means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from seqsetvae import names
from seqsetvae.config import DataConfig, ModelConfig, ObjectiveConfig
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Synthetic
from seqsetvae.data.store import Store
from seqsetvae.training.checkpoints import load_model
from seqsetvae.training.fit import pretrain


def r_squared(features: np.ndarray, target: np.ndarray) -> float:
    """Of a linear probe fitted on the first half and judged on the second."""
    half = len(target) // 2
    with_constant = np.column_stack([features, np.ones(len(features))])
    weights, *_ = np.linalg.lstsq(with_constant[:half], target[:half], rcond=None)
    rest = target[half:] - with_constant[half:] @ weights
    return float(1.0 - rest.var() / target[half:].var())


@pytest.mark.slow
def test_a_linear_probe_finds_the_planted_severity(tiny, tmp_path, history):
    source = Synthetic(subjects=1500, variables=8, sets=8, events_per_set=6, noise=0.5)
    prepare(source, tmp_path / "store", progress=False)
    config = replace(
        tiny,
        data=DataConfig(store=str(tmp_path / "store"), batch_size=16),
        model=ModelConfig(width=32, latent_dim=4, levels=1, heads=4, ff_dim=64, history_layers=1),
        objective=ObjectiveConfig(beta=0.2),
        trainer=replace(tiny.trainer, max_epochs=8, log_every_n_steps=10),
    )
    result = pretrain(config)
    validation = [value for _, value in history(result.run_id, names.VAL_LOSS)]
    assert validation[-1] < validation[0] - 1.0

    vae, _ = load_model(result.final_checkpoint)
    store = Store.open(tmp_path / "store")
    batch = store.gather("test", 0, np.arange(store.n_subjects("test")))
    with torch.no_grad():
        mu_SZ = vae.encode(batch).mu_SZ.numpy()
    severity_S = source.severity("test")[:, 0]
    # Six of eight variables with noise 0.5 tell severity up to R^2 = 1 / (1 + 0.25 / (sum of squared loadings)): about 0.95.
    assert r_squared(mu_SZ, severity_S) > 0.85
    untrained = load_model(result.final_checkpoint)[0]
    for parameter in untrained.parameters():
        torch.nn.init.normal_(parameter, std=1e-3)
    with torch.no_grad():
        assert r_squared(untrained.encode(batch).mu_SZ.numpy(), severity_S) < 0.75
