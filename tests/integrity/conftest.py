"""A small store of made-up stays, and settings of a run on it that takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Synthetic

SETTINGS = (
    "--batch_size 16 --width 8 --latent_dim 4 --levels 1 --heads 2 --ff_dim 8 --history_layers 1 --beta_warmup_steps 2 "
    "--max_epochs 1 --accelerator cpu --log_every_n_steps 1 --progress_bar false --log_system_metrics false "
    "--update_frequency 2 --check_frequency 2 --plot_frequency 4"
)
TINY = SETTINGS.split()
"""Flags of `pretrain`."""


@pytest.fixture
def stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: str) -> Path:
    """100 subjects in the test's own folder, which is the working directory and has an empty MLflow store."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "stays"
    prepare(Synthetic(subjects=100, variables=6, sets=4, events_per_set=3, prevalence=0.3), path, progress=False)
    return path
