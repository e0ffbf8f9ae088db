"""A tracking server that also keeps the files.

Checkpoints reach it during the run, resume fetches them from there, a model that could not be registered at the end is registered by
`sync`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.faults.ordeal import TINY
from tests.faults.tally import Tally
from tests.support.mlflow_server import MlflowServer, Proxy

pytestmark = [pytest.mark.slow, pytest.mark.nightly]
STEPS = 600
UPLOAD_SECONDS = 3.0
SETTINGS = [
    *("pretrain", *TINY, "--on_collapse", "warn", "--max_epochs", str(STEPS // 10), "--limit_val_batches", "1"),
    *("--checkpoint_every_n_steps", "5", "--upload_every_minutes", str(UPLOAD_SECONDS / 60.0)),
    *("--log_every_n_steps", "5", "--check_frequency", "50"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


def begin(folder: Path, uri: str, *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / "output.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "seqsetvae", *arguments],
            cwd=folder, env=os.environ | {"MLFLOW_TRACKING_URI": uri}, stdout=log, stderr=log,
        )  # fmt: skip


def wait_for(condition, process: subprocess.Popen[bytes], folder: Path, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, (folder / "output.txt").read_text()
        assert time.monotonic() < deadline, (folder / "output.txt").read_text()
        time.sleep(0.05)


def test_checkpoints_arrive_during_the_run_and_resume_fetches_them_when_the_folder_is_gone(
    tmp_path: Path, server: MlflowServer, tally: Tally
) -> None:
    times: set[float] = set()

    def arrived() -> bool:
        """Three states of `last.ckpt` have been seen on the server's disk."""
        times.update(
            path.stat().st_mtime for path in server.folder.glob("artifacts/*/*/artifacts/checkpoints/last.ckpt")
        )
        return len(times) >= 3

    with begin(tmp_path, server.uri, *SETTINGS) as process:
        wait_for(arrived, process, tmp_path)
        process.send_signal(signal.SIGKILL)
    shutil.rmtree(tmp_path / "outputs")
    with begin(tmp_path, server.uri, *SETTINGS, "--resume_from_checkpoint", "last.ckpt") as process:
        code = process.wait(300)
    said = (tmp_path / "output.txt").read_text()
    [run] = MlflowClient(server.uri).search_runs(["1"], "attributes.status != 'DELETED'")
    steps = sorted(one.step for one in MlflowClient(server.uri).get_metric_history(run.info.run_id, "train_loss"))
    between = [later - earlier for earlier, later in zip(sorted(times), sorted(times)[1:], strict=False)]
    held = (
        (code, run.info.status) == (0, "FINISHED")
        and steps == [1, *range(5, STEPS + 1, 5)]
        and "last.ckpt, step" in said
    )
    tally.add("A machine that is lost with its disk: resume from the artifact store", held)
    tally.add("Checkpoints are uploaded during the run, at a bounded rate", min(between) > UPLOAD_SECONDS - 1.0)
    assert held, (code, run.info.status, len(steps), said)
    assert min(between) > UPLOAD_SECONDS - 1.0, between


@pytest.mark.whole
def test_a_model_whose_server_was_away_at_the_end_is_registered_by_sync(
    tmp_path: Path, server: MlflowServer, tally: Tally
) -> None:
    proxy = Proxy(server.uri)
    proxy.run_in_thread()
    # Nothing in here collapses: a model that has would not be registered.
    healthy = ["--width", "16", "--lr", "0.01", "--max_beta", "0.01", "--batch_size", "16"]
    short = ["pretrain", *TINY, *healthy, "--register_model", "true", "--run_name", "late"]
    with begin(tmp_path, proxy.uri, *short) as process:
        wait_for(lambda: list(tmp_path.rglob("last.ckpt")), process, tmp_path)
        proxy.status = 503
        code = process.wait(300)
    with begin(tmp_path, proxy.uri, "sync") as process:
        assert process.wait(120) == 1, "sync says that something is undelivered"
    proxy.status = None
    with begin(tmp_path, proxy.uri, "sync") as process:
        synced = process.wait(120)
    proxy.shutdown()
    proxy.server_close()
    said = (tmp_path / "output.txt").read_text()
    client = MlflowClient(server.uri)
    [run] = client.search_runs(["1"], "tags.`mlflow.runName` = 'late'")
    versions = [
        one.version for one in client.search_model_versions("name = 'seqsetvae'") if one.run_id == run.info.run_id
    ]
    held = (code, synced, run.info.status, len(versions)) == (0, 0, "FINISHED", 1)
    tally.add("A server that is away at the end: `sync` delivers, then registers the model", held)
    assert held, (code, synced, run.info.status, versions, said)
