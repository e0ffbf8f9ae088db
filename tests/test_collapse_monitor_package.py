"""The package `collapse-monitor`: what it is made of stands alone, without this project and without what only this project needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "packages" / "collapse-monitor"
ALONE = """
import importlib.abc, sys, time

OF_TORCH = {"torch", "torchgen", "numpy", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec", "typing_extensions"}

class TorchAlone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in OF_TORCH | {"collapse_monitor"} | sys.stdlib_module_names:
            raise ImportError(f"{name} is not installed")

import torch
sys.meta_path.insert(0, TorchAlone())
started = time.process_time()
from collapse_monitor import DiagonalGaussian, LoopMonitor, MonitorConfig, forecast
seconds = time.process_time() - started
monitor = LoopMonitor(400, MonitorConfig(update_frequency=20, grace_steps=100))
for step in range(1, 401):
    x = torch.randn(64, 3)
    q = DiagonalGaussian(torch.zeros(64, 3), torch.zeros(64, 3))
    diagnosis = monitor.update(step, q, nll=lambda z: 0.5 * x.square().sum(1))
print(seconds, monitor.verdict().level.name, monitor.lost, forecast(torch.randn(500, 3)).nothing_to_encode)
"""


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the wheel has it; that wheel is built by `make collapse-monitor`."""
    target = tmp_path_factory.mktemp("assembled")
    program = (
        f"import sys; sys.path.insert(0, {str(PACKAGE)!r}); from assemble import assemble; from pathlib import Path"
    )
    program += f"; assemble(Path({str(target / 'collapse_monitor')!r}))"
    subprocess.run([sys.executable, "-B", "-c", program], check=True)
    for file in (PACKAGE / "collapse_monitor").iterdir():
        shutil.copy(file, target / "collapse_monitor")
    (target / "collapse_monitor-0.dist-info").mkdir()
    (target / "collapse_monitor-0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: collapse-monitor\nVersion: 0\n"
    )
    return target


@pytest.mark.slow
def test_with_torch_alone_it_judges_a_loop_and_data(assembled):
    done = subprocess.run(
        [sys.executable, "-c", ALONE], env={"PYTHONPATH": str(assembled)}, cwd=assembled, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    seconds, level, lost, noise = done.stdout.split()
    assert (level, lost, noise) == ("RED", "nothing", "True")
    assert float(seconds) < 0.5


def test_nothing_of_it_names_this_project_or_its_tracking(assembled):
    files = list((assembled / "collapse_monitor").rglob("*.py"))
    assert not [file for file in files if "seqsetvae" in file.read_text()]
    parts = {file.relative_to(assembled / "collapse_monitor").parts[0] for file in files}
    assert not parts & {"tracking", "data", "model", "tuning", "dashboard", "app", "objective.py"}
