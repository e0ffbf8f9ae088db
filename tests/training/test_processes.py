"""Whole programs: a run killed without warning, a run whose server dies and comes back, and a run of two processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from seqsetvae import names
from seqsetvae.tracking.write.vanished import mend_stale_runs
from seqsetvae.training.fit import pretrain
from seqsetvae.training.recording import as_yaml
from tests.support.commands import Command
from tests.support.mlflow_server import MlflowServer
from tests.training.conftest import resuming


def words(config, *more: str) -> list[str]:
    Path("settings.yaml").write_text(as_yaml(config))
    return ["pretrain", "--config", "settings.yaml", *more]


def client() -> MlflowClient:
    return MlflowClient(os.environ["MLFLOW_TRACKING_URI"])


@pytest.mark.slow
def test_a_run_killed_without_warning_is_mended_and_continued(tiny, history):
    config = replace(tiny, trainer=replace(tiny.trainer, max_epochs=3, checkpoint_every_n_steps=7))
    expected = history(pretrain(config).run_id, names.TRAIN_LOSS)
    with Command(words(config), pause=0.05) as process:
        deadline = time.monotonic() + 120
        while not (written := list(Path("mlruns").glob("*/*/artifacts/checkpoints/last.ckpt"))[1:]):
            assert process.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    run_ids = {run.info.run_id for run in client().search_runs(["1"], "attributes.status = 'RUNNING'")}
    assert len(run_ids) == 1, written
    (run_id,) = run_ids
    assert mend_stale_runs(client(), "1", Path(tiny.tracking.work_dir).absolute()) == [run_id]
    assert client().get_run(run_id).info.status == "KILLED"
    resumed = pretrain(resuming(config, f"mlruns/1/{run_id}/artifacts/checkpoints/last.ckpt"))
    assert resumed.run_id == run_id
    assert client().get_run(run_id).info.status == "FINISHED"
    assert history(run_id, names.TRAIN_LOSS) == expected


@pytest.fixture
def server(tmp_path, empty_store) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.mark.slow
def test_training_goes_on_while_its_server_is_away(tiny, history, server, monkeypatch):
    config = replace(tiny, trainer=replace(tiny.trainer, max_epochs=6, checkpoint_every_n_steps=5))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)

    def last_checkpoint() -> float:
        return max((path.stat().st_mtime for path in Path("outputs").rglob("last.ckpt")), default=0.0)

    with Command(words(config), pause=0.2) as process:
        deadline = time.monotonic() + 120
        while last_checkpoint() == 0.0:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        server.kill()
        away = time.time()
        time.sleep(6.0)  # several tries of the writer, each with a longer pause before it
        assert process.poll() is None, "the run ended before its server came back"
        assert last_checkpoint() > away + 3.0, "training stood still"
        server.start()
    assert process.returncode == 0
    (run,) = client().search_runs(["1"])
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(run.info.run_id, names.TRAIN_LOSS)] == list(range(1, 61))


@pytest.mark.nightly
def test_two_processes_share_one_run_and_the_batches(tiny, history):
    completed = subprocess.run(
        [sys.executable, "-m", "seqsetvae", *words(tiny, "--devices", "2", "--plot_frequency", "10")],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.count("SeqSetVAE pretraining") == 1
    (run,) = client().search_runs(["1"])
    assert run.info.status == "FINISHED"
    steps = [step for step, _ in history(run.info.run_id, names.TRAIN_LOSS)]
    assert steps == list(range(1, 11))  # 2 epochs of 10 batches, dealt to 2 processes
    one_process = pretrain(tiny).val_metrics
    last = history(run.info.run_id, names.VAL_LOSS)[-1]
    assert last[0] == 10
    assert last[1] == pytest.approx(one_process[names.VAL_LOSS], rel=0.1)
