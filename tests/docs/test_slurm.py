"""The job script of the SLURM page: it ends by the clock, queues itself again and goes on; any other end is its own.

SLURM's two programs and the training are stand-ins that write down what they were called with: that SIGUSR1 ends a training with
a checkpoint and code 138 is tested with the real one (tests/training).
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "howto" / "slurm.md").read_text()
[SCRIPT] = [
    block for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if block.startswith("#!")
]
STAND_INS = {
    "srun": 'exec "$@"',
    "scontrol": 'echo "scontrol $*" >> calls',
    "seqsetvae": 'echo "seqsetvae $*" >> calls; exit "$ENDS_WITH"',
}


def submitted(folder: Path, ends_with: int, restarts: int) -> tuple[int, list[str]]:
    """The exit code of the job, and what it has called."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").touch()
    (folder / "programs").mkdir()
    for name, text in STAND_INS.items():
        program = folder / "programs" / name
        program.write_text(f"#!/bin/bash\n{text}\n")
        program.chmod(0o755)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "icu", "SLURM_RESTART_COUNT": str(restarts), "STORE": "stores/mine"}
    path = f"{folder / 'programs'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash"],
        input=SCRIPT,
        text=True,
        cwd=folder,
        env={"PATH": path, "ENDS_WITH": str(ends_with), **slurm},
        capture_output=True,
    )
    assert done.stderr == ""
    return done.returncode, (folder / "calls").read_text().splitlines()


@pytest.mark.parametrize(("ends_with", "queued"), [(138, ["scontrol requeue 7"]), (0, []), (3, [])])
def test_only_a_job_that_the_clock_has_ended_is_queued_again(tmp_path, ends_with, queued):
    code, calls = submitted(tmp_path, ends_with, restarts=0)
    assert code == ends_with
    assert calls == ["seqsetvae pretrain --store stores/mine --max_epochs 10 --experiment icu", *queued]


def test_a_job_that_was_queued_again_goes_on(tmp_path):
    _, calls = submitted(tmp_path, 0, restarts=1)
    assert calls == [
        "seqsetvae pretrain --store stores/mine --max_epochs 10 --experiment icu --resume_from_checkpoint last.ckpt"
    ]


def test_it_asks_for_the_signal_in_time():
    assert re.search(r"^#SBATCH --signal=USR1@\d{2,}$", SCRIPT, re.MULTILINE)
    assert "--requeue" in SCRIPT
