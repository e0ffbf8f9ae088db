"""With torch alone: what the README's loop says, and what an import costs."""

from __future__ import annotations

import subprocess
import sys

from conftest import run_block

IMPORT = """
import sys, time
import torch
before, started = set(sys.modules), time.process_time()
from collapse_monitor import Level, LoopMonitor, MonitorConfig, forecast
print(time.process_time() - started, *sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""


def test_an_import_takes_less_than_half_a_second_beyond_torch_and_brings_numpy_alone():
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    seconds, *loaded = done.stdout.split()
    assert float(seconds) < 0.5
    # Beside the modules without an owner that compiled ones leave behind, such as `_cython_3_3_1`.
    assert {name for name in loaded if name[0] != "_"} - sys.stdlib_module_names <= {"collapse_monitor", "numpy"}


def test_the_loop_of_the_readme_is_red(capsys):
    names = run_block("A loop of your own")
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("collapses from beta 4.")
    assert out[1].startswith("RED at step ")
    assert names["logged"][-1]["collapse/level"] == 3.0
