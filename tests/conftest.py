"""What holds for every test: nothing is skipped unseen, nothing is written to the store of the working directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from seqsetvae.data.vocabulary import Vocabulary
    from seqsetvae.training.pretrained.exported import Pretrained


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the whole run")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An MLflow store of its own for each test and the processes it starts, and no pickles read from it."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")


@pytest.fixture(scope="session")
def untrained() -> Callable[[Vocabulary], Pretrained]:
    """Makes a small model of some vocabulary with random weights, always the same: a random backbone already carries much to a head."""

    def make(vocabulary: Vocabulary) -> Pretrained:
        import torch

        from seqsetvae.config import ModelConfig
        from seqsetvae.model.vae import SeqSetVAE
        from seqsetvae.training.checkpoints import Recipe
        from seqsetvae.training.pretrained.exported import Pretrained

        torch.manual_seed(0)
        config = ModelConfig(width=16, latent_dim=8, levels=1, heads=2, ff_dim=16, history_layers=1)
        scale = vocabulary.center_V.tolist(), vocabulary.spread_V.tolist()
        recipe = Recipe({"model": asdict(config)}, list(vocabulary.names), *scale, 1, "0" * 32)
        return Pretrained(SeqSetVAE(config, len(vocabulary)).eval(), vocabulary, config, recipe)

    return make
