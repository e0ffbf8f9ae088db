"""A disk that is full for checkpoints and for the journal: training goes on, its record is whole, and what is missing is said."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.faults.small_disk import SmallDisk, small_disk
from tests.faults.tally import Tally
from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.nightly]
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


MEGABYTES = 8
STEPS = 400


class Training:
    """A pretraining that works on a small disk, with its store there or on a server."""

    def __init__(self, disk: SmallDisk, server: str | None = None) -> None:
        self.disk = disk
        there = ["--tracking_uri", server] if server else []
        settings = [*TINY.split(), "--max_steps", str(STEPS), "--max_epochs", "50", *there]
        surroundings = {name: text for name, text in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "seqsetvae", "pretrain", *settings],
            cwd=disk.folder, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        # Through a pipe: where no disk is mounted, a file for it could not grow either.
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._lines.append(line)

    def wait_for(self, what: str) -> None:
        """A pattern in its output, or a file."""
        deadline = time.monotonic() + 120
        while not re.search(what, "".join(self._lines)) and not list(self.disk.folder.rglob(what)):
            assert self.process.poll() is None, "".join(self._lines)
            assert time.monotonic() < deadline, "".join(self._lines)
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """Exit code and output."""
        code = self.process.wait(180)
        self._reader.join()
        return code, "".join(self._lines)


def stored(folder: Path) -> tuple[str, list[int]]:
    """Status of the only run of a local store, and the steps of its loss."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        [(status,)] = database.execute("SELECT status FROM runs").fetchall()
        rows = database.execute("SELECT step FROM metrics WHERE key = 'train_loss' ORDER BY step").fetchall()
    return status, [step for (step,) in rows]


def told(held: bool, code: int, said: str) -> bool:
    """Whether the end was said as it should be: one exit code, what is missing by name, no traceback."""
    return held and code == 1 and "NOT WRITTEN" in said and ".ckpt" in said and "Traceback" not in said


def test_a_disk_that_is_full_for_a_while(tmp_path: Path, store_template: Path, tally: Tally) -> None:
    with small_disk(tmp_path / "disk", MEGABYTES) as disk:
        shutil.copy(store_template, disk.folder / "mlflow.db")
        training = Training(disk)
        training.wait_for("last.ckpt")
        disk.fill(training.process)
        training.wait_for("best_.* cannot be written")
        training.wait_for("Records wait in memory")
        disk.free()
        code, said = training.end()
        status, steps = stored(disk.folder)
        whole = (status, steps) == ("FINISHED", list(range(1, STEPS + 1)))
        held = told(whole and len(list(disk.folder.rglob("final_*.ckpt"))) == 1, code, said)
    tally.add("A full disk with the store on it, for a while", held)
    assert held, (code, status, said)


@pytest.mark.whole
def test_a_disk_that_stays_full(tmp_path: Path, store_template: Path, tally: Tally) -> None:
    """What neither it nor the store on it has taken is counted in words; afterwards `sync` delivers what there is."""
    with small_disk(tmp_path / "disk", MEGABYTES) as disk:
        shutil.copy(store_template, disk.folder / "mlflow.db")
        training = Training(disk)
        training.wait_for("last.ckpt")
        disk.fill(training.process)
        code, said = training.end()
        disk.free()
        sync = subprocess.run(
            [sys.executable, "-m", "seqsetvae", "sync"], cwd=disk.folder, capture_output=True, text=True
        )
        status, steps = stored(disk.folder)
        lost = re.search(r"LOST.*?(\d+) points", said)
        held = told(lost is not None and 0 < len(steps) < STEPS and len(steps) == len(set(steps)), code, said)
        held = held and status != "RUNNING" and sync.returncode == 0
    tally.add("A full disk with the store on it, to the end", held)
    assert held, (code, status, len(steps), said, sync.stdout + sync.stderr)


@pytest.mark.whole
def test_a_disk_that_stays_full_with_the_store_elsewhere(tmp_path: Path, tally: Tally) -> None:
    (tmp_path / "server").mkdir()
    server = MlflowServer(tmp_path / "server")
    server.start()
    with small_disk(tmp_path / "disk", MEGABYTES) as disk:
        training = Training(disk, server.uri)
        training.wait_for("last.ckpt")
        disk.fill(training.process)
        code, said = training.end()
        disk.free()
    [run] = MlflowClient(server.uri).search_runs(["1"])
    steps = sorted(one.step for one in MlflowClient(server.uri).get_metric_history(run.info.run_id, "train_loss"))
    server.kill()
    held = told((run.info.status, steps) == ("FINISHED", list(range(1, STEPS + 1))), code, said)
    tally.add("A full disk with the store elsewhere, to the end", held)
    assert held, (code, run.info.status, len(steps), said)
