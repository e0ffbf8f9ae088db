"""A model that learns from hidden values fills in what was not measured, nearer than the last value; chances that are none are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from seqsetvae import names
from seqsetvae.config import (
    DataConfig,
    ModelConfig,
    MonitorConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PretrainConfig,
    TrackingConfig,
    TrainerConfig,
)
from seqsetvae.config.settling import settle_objective
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Synthetic
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from seqsetvae.evaluation.left_out import leave_out
from seqsetvae.training.fit import pretrain
from seqsetvae.training.pretrained.loading import from_checkpoint

SOURCE = Synthetic(subjects=400, variables=5, sets=10, events_per_set=4, severities=3, noise=0.3)
"""Three hidden severities move all variables: what is not seen of a set is to be had from the rest and from the past, but for the noise."""
CONFIG = PretrainConfig(
    data=DataConfig(store="store", batch_size=16),
    model=ModelConfig(width=16, latent_dim=8, levels=1, heads=2, ff_dim=16, history_layers=1, fill_in=True),
    optimizer=OptimizerConfig(lr=2e-2),
    objective=ObjectiveConfig(beta=0.01),
    monitor=MonitorConfig(disable_metrics_monitoring=True),
    trainer=TrainerConfig(max_epochs=4, accelerator="cpu", log_every_n_steps=1, progress_bar=False),
    tracking=TrackingConfig(log_system_metrics=False, register_model=False),
)


@pytest.mark.slow
def test_hidden_values_teach_a_model_to_fill_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, history: Callable[[str, str], list[tuple[int, float]]]
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(SOURCE, Path("store"), progress=False)
    result = pretrain(CONFIG)
    model = from_checkpoint(result.final_checkpoint)
    store, variables = Store.open(Path("store")), len(model.vocabulary)
    head = leave_out(model.vae, model.vocabulary, store, "test", 600).scores(variables)
    model.vae.fill_head = None
    decoder = leave_out(model.vae, model.vocabulary, store, "test", 600).scores(variables)
    assert head is not None
    assert decoder is not None
    assert head.error < 0.85 * head.error_of_last
    assert head.error < 0.95 * decoder.error
    assert head.better == head.compared == 5
    assert head.coverage_50 == pytest.approx(0.5, abs=0.1)
    assert head.coverage_90 == pytest.approx(0.9, abs=0.05)
    missed = [value for _, value in history(result.run_id, names.TRAIN_FILL)]
    assert sum(missed[-10:]) < 0.8 * sum(missed[:10])
    # A step is asked for what it has not seen; a validation sees all. Without hiding they are 0.03 apart.
    asked = [value for _, value in history(result.run_id, names.TRAIN_RECON)][-20:]
    assert sum(asked) / 20 > result.val_metrics[names.VAL_RECON] + 0.15


@pytest.mark.parametrize("name", ["hide_values", "hide_variables"])
@pytest.mark.parametrize("chance", [-0.1, 1.0])
def test_a_chance_that_is_none_is_refused_by_name(name: str, chance: float) -> None:
    with pytest.raises(InputError, match=rf"objective\.{name} is {chance}.*at least 0 and below 1"):
        ObjectiveConfig(**{name: chance})


def test_a_head_that_fills_in_needs_something_hidden() -> None:
    assert settle_objective(ObjectiveConfig(), 100).hides is False
    assert settle_objective(ObjectiveConfig(), 100, fills_in=True).hide_values == 0.2
    assert settle_objective(ObjectiveConfig(hide_values=0.0, hide_variables=0.3), 100, fills_in=True).hides
    with pytest.raises(InputError, match=r"fill_in learns from hidden values, but --objective\.hide_values is 0"):
        settle_objective(ObjectiveConfig(hide_values=0.0), 100, fills_in=True)
