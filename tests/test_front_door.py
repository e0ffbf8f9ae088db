"""`import seqsetvae` is all that a script needs: every name is there, and nothing is loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import seqsetvae
from seqsetvae import config

OWN_SCRIPT = """
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
print(int(monitor.outcome.level))
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
        _ = seqsetvae.pretrian


def test_the_import_alone_loads_nothing_heavy_and_changes_no_environment_variable():
    code = (
        "import os, sys; before = dict(os.environ); import seqsetvae; print(before == dict(os.environ), *sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == "True"
    assert not {"torch", "mlflow", "lightning", "pandas", "seqsetvae.config"} & set(said)


def test_the_monitor_watches_a_model_of_ones_own_in_a_script_with_one_line_of_imports(tmp_path):
    (tmp_path / "own.py").write_text(OWN_SCRIPT)
    done = subprocess.run([sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "posterior collapse detected!" in done.stdout
    assert done.stdout.splitlines()[-1] == "3"  # red
    assert not (tmp_path / "mlruns").exists()
