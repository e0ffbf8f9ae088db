"""`import seqsetvae` is all that a script needs: every name is there, and nothing is loaded before it is used."""

from __future__ import annotations

import csv
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.loggers import CSVLogger

import seqsetvae
from seqsetvae import (
    CollapseMonitor,
    DataConfig,
    EventDataModule,
    ModelConfig,
    MonitorConfig,
    ObjectiveConfig,
    PretrainConfig,
    PretrainModule,
    SeqSetVAE,
    config,
)
from seqsetvae.errors import InputError
from tests.support.commands import run_script

OWN_SCRIPT = """
import sys

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from seqsetvae import CollapseMonitor, DiagonalGaussian, MonitorConfig


class OwnVAE(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.posterior = None
        self.encoder, self.decoder = torch.nn.Linear(4, 4), torch.nn.Linear(2, 4)

    def training_step(self, x, _):
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        self.posterior = DiagonalGaussian(mu.detach(), logvar.detach())
        z = mu + torch.randn_like(mu) * (logvar / 2).exp()
        kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(dim=1).mean()
        return (self.decoder(z) - x).square().sum(dim=1).mean() + 50 * kl

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


data = DataLoader(torch.randn(256, 4), batch_size=32)
settings = MonitorConfig(update_frequency=2, check_frequency=2, grace_steps=2, verbose=False)
monitor = CollapseMonitor(settings)
options = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
pl.Trainer(max_epochs=20, accelerator="cpu", callbacks=[monitor], **options).fit(OwnVAE(), data)
assert monitor.outcome.last.active_units == 0
print(int(monitor.outcome.level), *({"mlflow", "pandas", "optuna"} & set(sys.modules)))
"""
GLOBAL_STATE = """
import logging, os, random, signal, sys, threading, warnings

{libraries}
import numpy as np
import torch


def state():
    loggers = [logging.root, *(one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger))]
    return {{
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "warnings": list(warnings.filters),
        "logging": {{one.name: (one.level, list(one.handlers), one.disabled) for one in loggers if "seqsetvae" not in one.name}},
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "numbers of torch": (torch.get_default_dtype(), torch.get_float32_matmul_precision(), torch.is_grad_enabled()),
        "random": (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
        "signals": [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "hooks": (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr, sys.path[:]),
        "running": threading.active_count(),
    }}


before = state()
import seqsetvae
for name in seqsetvae.__all__:
    getattr(seqsetvae, name)
after = state()
print([name for name in before if before[name] != after[name]])
"""


@pytest.mark.parametrize("name", seqsetvae.__all__)
def test_every_name_is_found_where_it_is_at_home(name):
    found = getattr(seqsetvae, name)
    assert found.__name__ == name
    assert name in dir(seqsetvae)


def test_all_settings_are_offered():
    assert set(config.__all__) <= set(seqsetvae.__all__)


def test_what_is_not_there_is_said():
    with pytest.raises(AttributeError, match="has no attribute 'pretrian'"):
        _ = seqsetvae.pretrian  # type: ignore[attr-defined]


def run(code: str) -> list[str]:
    # Through standard input: the names of all modules that are loaded are too long for an argument.
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")


def test_the_import_alone_loads_only_what_python_brings():
    [loaded, *_] = run("import sys; before = set(sys.modules); import seqsetvae; print(*set(sys.modules) - before)")
    assert {one.partition(".")[0] for one in loaded.split()} - sys.stdlib_module_names == {"seqsetvae"}


def test_what_trains_loads_torch_only_when_it_is_told_how_threads_wait():
    code = "import sys, seqsetvae; seqsetvae.pretrain, seqsetvae.finetune; print('torch' in sys.modules)"
    assert run(code) == ["False", ""]


@pytest.mark.slow
def test_importing_every_name_changes_nothing_that_others_share():
    every = "import sys, seqsetvae\nfor name in seqsetvae.__all__: getattr(seqsetvae, name)\n"
    Path("every.py").write_text(every + "print(*sys.modules)")
    loaded = run_script("every.py").stdout.split()
    public = [one for one in loaded if not one.startswith(("seqsetvae", "tests", "__m"))]
    # What the libraries do when they are loaded is theirs: they are loaded before.
    libraries = (
        f"import importlib\nfor name in {public}:\n    try: importlib.import_module(name)\n    except ImportError: pass"
    )
    assert run(GLOBAL_STATE.format(libraries=libraries)) == ["[]", ""]


def test_the_monitor_watches_a_model_of_ones_own_in_a_script_with_one_line_of_imports(tmp_path):
    (tmp_path / "own.py").write_text(OWN_SCRIPT)
    done = subprocess.run([sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "posterior collapse detected!" in done.stdout
    assert done.stdout.splitlines()[-1] == "3"  # red, and none of those libraries
    assert not (tmp_path / "mlruns").exists()


SMALL = ModelConfig(width=8, latent_dim=4, levels=1, heads=2, ff_dim=8, history_layers=1)
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}


def metrics_of(folder: str) -> dict[str, dict[int, float]]:
    """What Lightning's CSV logger has written: metric -> step -> value."""
    [file] = Path(folder).rglob("metrics.csv")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    return {
        name: {int(row["step"]): float(row[name]) for row in rows if row[name]} for name in rows[0] if name != "step"
    }


@pytest.mark.slow
def test_the_script_of_the_docs_trains_with_the_settings_that_it_gives():
    page = (Path(__file__).parents[1] / "docs" / "train.md").read_text(encoding="utf-8")
    [script] = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "PretrainModule" in block]
    made: dict[str, Any] = {}
    exec(script, made)
    seen = metrics_of("logs")
    assert seen["beta"] == dict.fromkeys(range(1, 11), 5.0)
    for step in range(1, 11):
        loss = seen["train_recon_step"][step] + 5.0 * seen["train_kl_step"][step]
        assert math.isclose(seen["train_loss"][step], loss, rel_tol=1e-4)
    assert math.isclose(seen["val_loss"][10], seen["val_recon"][10] + seen["val_kl"][10], rel_tol=1e-5)
    assert seen["collapse/beta"] == seen["beta"]
    outlook = made["monitor"].primary.outlook
    assert (outlook.total_steps, outlook.warmup_steps, outlook.beta_at(0)) == (10, 0, 5.0)


@pytest.mark.slow
@pytest.mark.parametrize("steps_given", [None, 4])
def test_what_was_left_open_is_settled_by_the_trainers_length_unless_one_is_given(steps_given):
    data = EventDataModule(DataConfig(batch_size=64))  # 5 batches an epoch
    module = PretrainModule(
        PretrainConfig(objective=ObjectiveConfig(max_beta=0.4)), SeqSetVAE(SMALL, data.vocabulary), steps_given
    )
    monitor = CollapseMonitor(MonitorConfig(verbose=False))
    options = QUIET | {"limit_val_batches": 0}
    pl.Trainer(max_epochs=2, logger=CSVLogger("logs"), callbacks=[monitor], **options).fit(module, data)
    # The run is shorter than the least warm-up, so beta rises from its first step to its last.
    length = steps_given or 10
    seen = metrics_of("logs")["beta"]
    assert {step: round(beta, 6) for step, beta in seen.items()} == {
        step: round(0.4 * min(1.0, (step - 1) / length), 6) for step in range(1, 11)
    }
    assert monitor.primary.outlook.warmup_steps == length


def test_a_training_without_end_is_refused():
    data = EventDataModule(DataConfig(batch_size=64))
    module = PretrainModule(PretrainConfig(), SeqSetVAE(SMALL, data.vocabulary))
    with pytest.raises(InputError, match="give it max_epochs or max_steps"):
        pl.Trainer(max_epochs=-1, logger=False, **QUIET).fit(module, data)


def test_a_model_is_made_for_a_vocabulary_or_for_a_number_of_variables():
    vocabulary = EventDataModule(DataConfig()).vocabulary
    assert SeqSetVAE(vocabulary).variables == SeqSetVAE(SMALL, vocabulary).variables == len(vocabulary)
    assert SeqSetVAE(vocabulary).latent_dim == ModelConfig().latent_dim
    assert (SeqSetVAE(SMALL, 37).variables, SeqSetVAE(SMALL, 37).latent_dim) == (37, 4)
    for wrong in ((SMALL,), (vocabulary, SMALL)):
        with pytest.raises(TypeError, match="needs the vocabulary"):
            SeqSetVAE(*wrong)
