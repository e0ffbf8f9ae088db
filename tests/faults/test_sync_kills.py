"""`seqsetvae sync` may be killed at any moment, again and again: the next one goes on, and nothing arrives twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from seqsetvae.config import TrackingConfig
from seqsetvae.tracking.write.start import start_run
from tests.faults.tally import Tally
from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.nightly]
STEPS = 15_000
KILLS = 2


def test_a_sync_that_is_killed_again_and_again_delivers_everything_once(
    tmp_path: Path, how_many: int, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server = MlflowServer(tmp_path)
    server.start()
    config = TrackingConfig(tracking_uri=server.uri, work_dir=str(tmp_path / "work"), log_system_metrics=False)
    run = start_run(
        config, kind="pretrain", run_name=None, params={"a": 1}, config_yaml="a: 1\n", tags={}, finish_seconds=0.1
    )
    assert run.flush(60)
    server.kill()
    for step in range(STEPS):
        run.log_metrics({"loss": step / 2}, step)
    run.log_text("kept", "notes/a.txt")
    assert not run.finish()
    server.start()

    command = [sys.executable, "-m", "seqsetvae", "sync", "--tracking.work_dir", str(tmp_path / "work")]
    client, moments = MlflowClient(server.uri), random.Random(0)
    killed = 0
    for _ in range(how_many or KILLS):
        before = len(client.get_metric_history(run.run_id, "loss"))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(client.get_metric_history(run.run_id, "loss")) == before:
            time.sleep(0.05)  # until it has begun to deliver
        time.sleep(moments.uniform(0.0, 0.5))
        process.kill()
        killed += process.wait() != 0
    assert killed, "not one of them was killed at work"
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    arrived = sorted((one.step, one.value) for one in client.get_metric_history(run.run_id, "loss"))
    held = arrived == [(step, step / 2) for step in range(STEPS)]
    tally.add("SIGKILL of `sync`, then `sync` again", held)
    assert held
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert [one.path for one in client.list_artifacts(run.run_id, "notes")] == ["notes/a.txt"]
    server.kill()
