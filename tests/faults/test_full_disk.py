"""A disk that is full for checkpoints and for the journal: training goes on, its record is whole, and what is missing is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.faults.tally import Tally
from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.slow
TINY = (
    "--width 16 --latent_dim 4 --levels 1 --history_layers 1 --heads 2 --ff_dim 16 --max_steps 30 --log_every_n_steps 1 "
    "--progress_bar false --log_system_metrics false --register_model false --limit_val_batches 2 --on_collapse warn "
    "--checkpoint_every_n_steps 10"
)
# No file of the training may grow beyond so many bytes: not a checkpoint, and the journal only for a while. The server is not bound.
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
from seqsetvae.app.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("most", [30_000])
def test_training_goes_on_and_says_what_could_not_be_written(tmp_path: Path, most: int, tally: Tally) -> None:
    (tmp_path / "server").mkdir()
    server = MlflowServer(tmp_path / "server")
    server.start()
    work = tmp_path / "work"
    work.mkdir()
    command = [sys.executable, "-c", LIMITED, str(most), "pretrain", *TINY.split(), "--tracking_uri", server.uri]
    done = subprocess.run(command, cwd=work, env=dict(os.environ), capture_output=True, text=True)
    said = done.stdout + done.stderr
    [run] = MlflowClient(server.uri).search_runs(["1"])
    losses = MlflowClient(server.uri).get_metric_history(run.info.run_id, "train_loss")
    server.kill()
    held = done.returncode == 1 and sorted(one.step for one in losses) == list(range(1, 31))
    tally.add("A disk that takes no checkpoint", held)
    assert held, said
    assert "Traceback" not in said
    assert run.info.status == "FINISHED"
    assert ".ckpt" in said
    assert list(work.rglob("*.ckpt")) == [], "no half of a checkpoint is left"
