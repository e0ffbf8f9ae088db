"""A run of SeqSetVAE that takes seconds: the demo data, a very small model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from seqsetvae.config import DataConfig, ModelConfig, ObjectiveConfig, PretrainConfig, TrackingConfig, TrainerConfig
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Synthetic
from seqsetvae.data.store import Store
from seqsetvae.training.fit import pretrain

TINY = PretrainConfig(
    data=DataConfig(batch_size=32),  # 10 batches an epoch
    model=ModelConfig(width=8, latent_dim=4, levels=1, heads=2, ff_dim=8, history_layers=1, dropout=0.1),
    objective=ObjectiveConfig(beta_warmup_steps=5),
    trainer=TrainerConfig(max_epochs=2, accelerator="cpu", log_every_n_steps=1, progress_bar=False),
    tracking=TrackingConfig(log_system_metrics=False),
)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_store: Callable[[Path], str]) -> PretrainConfig:
    """Its store and its outputs lie in a folder of the test, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    new_store(tmp_path)
    return TINY


@pytest.fixture
def history() -> Callable[[str, str], list[tuple[int, float]]]:
    """All points of a metric of a run, in order of their step: (step, value)."""

    def read(run_id: str, key: str) -> list[tuple[int, float]]:
        points = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_metric_history(run_id, key)
        return sorted((point.step, point.value) for point in points)

    return read


def resuming(config: PretrainConfig, checkpoint: Path | str) -> PretrainConfig:
    return replace(config, trainer=replace(config.trainer, resume_from_checkpoint=str(checkpoint)))


@pytest.fixture
def planted(tmp_path: Path) -> Store:
    """600 subjects whose severity is easily read off their values."""
    path = tmp_path / "planted"
    prepare(Synthetic(subjects=600, variables=6, sets=6, events_per_set=4, prevalence=0.3), path, progress=False)
    return Store.open(path)


@pytest.fixture
def checkpoint(tiny: PretrainConfig, planted: Store) -> Path:
    """A model that was pretrained, a little, on these subjects."""
    config = replace(
        tiny,
        data=DataConfig(store=str(planted.path), batch_size=16),
        trainer=replace(tiny.trainer, max_epochs=4),
        tracking=replace(tiny.tracking, register_model=False),
    )
    return pretrain(config).final_checkpoint
