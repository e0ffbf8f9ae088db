"""A real server that is stopped, killed, failing or slow costs no step and loses no point."""

from __future__ import annotations

import signal
import time

import pytest
from mlflow import MlflowClient

from seqsetvae import names
from seqsetvae.tracking.write.delivery import sync
from tests.tracking.recorded_points import ramp, stored_points

pytestmark = pytest.mark.slow


def log_ramp(run, first, end):
    for step in range(first, end):
        run.log_metrics({"loss": step / 2}, step)


def wait_for_trouble(run):
    """Until the shipping thread has met the outage."""
    deadline = time.monotonic() + 30
    while not run._writer.trouble:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stopped_server_holds_up_nothing_and_gets_everything_later(server, open_run):
    run = open_run(server.uri, finish_seconds=120.0)
    log_ramp(run, 0, 100)
    assert run.flush(30)
    server.signal(signal.SIGSTOP)
    log_ramp(run, 100, 600)
    wait_for_trouble(run)
    # One request takes 5 s here until it is given up: had a single call of these waited for one, they could not be through.
    started = time.monotonic()
    log_ramp(run, 600, 1600)
    assert time.monotonic() - started < 5
    server.signal(signal.SIGCONT)
    log_ramp(run, 1600, 1700)
    assert run.finish()
    assert stored_points(server.uri, run.run_id, "loss") == ramp(0, 1700)
    assert MlflowClient(server.uri).get_run(run.run_id).info.status == "FINISHED"


def test_a_killed_server_that_comes_back_gets_everything(server, open_run):
    run = open_run(server.uri, finish_seconds=120.0)
    log_ramp(run, 0, 100)
    run.flush(30)
    log_ramp(run, 100, 700)
    server.kill()
    log_ramp(run, 700, 800)
    wait_for_trouble(run)
    server.start()
    log_ramp(run, 800, 900)
    assert run.finish()
    assert stored_points(server.uri, run.run_id, "loss") == ramp(0, 900)


@pytest.mark.parametrize(("status", "delay"), [(500, 0.0), (429, 0.0), (404, 0.0), (None, 7.0)])
def test_a_failing_or_slow_server_loses_and_doubles_nothing(proxy, open_run, status, delay):
    """404 without MLflow's JSON is what a gateway says while the server behind it is away.

    With a delay the server does get the request, but the client has given up on the answer: every batch is delivered twice.
    """
    run = open_run(proxy.uri, finish_seconds=120.0)
    log_ramp(run, 0, 50)
    run.flush(30)
    proxy.status, proxy.delay = status, delay
    log_ramp(run, 50, 200)
    wait_for_trouble(run)
    log_ramp(run, 200, 300)
    proxy.status, proxy.delay = None, 0.0
    assert run.finish()
    assert stored_points(proxy.uri, run.run_id, "loss") == ramp(0, 300)


def test_what_the_store_missed_at_the_end_is_delivered_by_sync(proxy, open_run, tmp_path, capsys):
    run = open_run(proxy.uri, finish_seconds=1.0)
    assert run.local_artifact_dir is None
    run.flush(30)
    proxy.status = 503
    log_ramp(run, 0, 100)
    run.log_params({"late": {"param": 1}})
    run.log_text("still here", "notes/late.txt")
    run.checkpoint_dir.mkdir(parents=True)
    (run.checkpoint_dir / "last.ckpt").write_bytes(b"weights")
    run.log_file(run.checkpoint_dir / "last.ckpt", "checkpoints/last.ckpt", copy=False)
    run.log_dataset("late", "0123", "there")
    assert not run.finish("KILLED", "SIGTERM")
    assert "seqsetvae sync --tracking.work_dir outputs" in capsys.readouterr().err

    assert not sync("outputs").complete
    assert "still unsent" in capsys.readouterr().out
    proxy.status = None
    assert sync("outputs").complete
    client = MlflowClient(proxy.uri)
    stored = client.get_run(run.run_id)
    assert stored_points(proxy.uri, run.run_id, "loss") == ramp(0, 100)
    assert stored.info.status == "KILLED"
    assert stored.data.tags[names.TAG_ENDED_BY] == "SIGTERM"
    assert stored.data.params["late/param"] == "1"
    assert stored.inputs.dataset_inputs[0].dataset.name == "late"
    for folder, name, content in (("notes", "late.txt", b"still here"), ("checkpoints", "last.ckpt", b"weights")):
        local = client.download_artifacts(run.run_id, f"{folder}/{name}", str(tmp_path))
        with open(local, "rb") as stream:
            assert stream.read() == content
    assert not (tmp_path / "outputs" / "spool" / run.run_id).exists()
    sync("outputs")
    assert "Nothing to deliver" in capsys.readouterr().out
