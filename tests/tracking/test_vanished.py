"""A training process that is killed: its records are on disk, its run is mended by the next command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from mlflow import MlflowClient

from seqsetvae import names
from seqsetvae.tracking.compat.sqlite_tables import may_hold_runs
from seqsetvae.tracking.read.run_reader import open_runs
from seqsetvae.tracking.write.vanished import mend_stale_runs
from tests.tracking.recorded_points import stored_points

VICTIM = """
import sys, time
from seqsetvae.config import TrackingConfig
from seqsetvae.tracking.write import lane
from seqsetvae.tracking.write.start import start_run

lane.SHIP_SECONDS = 1000.0  # nothing is delivered while it lives
config = TrackingConfig(tracking_uri=sys.argv[1], log_system_metrics=False)
run = start_run(config, kind="pretrain", run_name="victim", params={"seed": 0}, config_yaml="", tags={})
time.sleep(1.0)
for step in range(400):
    run.log_metrics({"loss": step / 2}, step)
time.sleep(1.0)
print(run.run_id, flush=True)
time.sleep(600)
"""


ENDING = """
import os, sys
from seqsetvae.config import TrackingConfig
from seqsetvae.tracking.write import spool_writer
from seqsetvae.tracking.write.spool import Spool
from seqsetvae.tracking.write.start import start_run

config = TrackingConfig(tracking_uri=sys.argv[1], log_system_metrics=False)
run = start_run(config, kind="pretrain", run_name="victim", params={"seed": 0}, config_yaml="", tags={})
print(run.run_id, flush=True)
run.flush()
spool_writer.WRITE_SECONDS = 1000.0  # both in one round
run._writer._wake.set()
Spool.keep_content = lambda *_: os.kill(os.getpid(), 9)
run.log_text("scores", "scores.txt")
run.finish()
"""


@pytest.fixture
def victim(store):
    process: Any = subprocess.Popen([sys.executable, "-c", VICTIM, store], stdout=subprocess.PIPE, text=True)
    process.run_id = process.stdout.readline().strip()
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_killed_run_is_delivered_and_marked_by_the_next_command(store, victim, open_run):
    client = MlflowClient(store)
    experiment = client.get_run(victim.run_id).info.experiment_id
    assert mend_stale_runs(client, experiment, "outputs") == [], "a live run is left alone"
    assert client.get_run(victim.run_id).info.status == "RUNNING"

    victim.send_signal(signal.SIGKILL)
    victim.wait()
    with open_run(store):
        pass
    killed = client.get_run(victim.run_id)
    assert killed.info.status == "KILLED"
    assert killed.data.tags[names.TAG_ENDED_BY] == "process vanished"
    assert [step for step, _ in stored_points(store, victim.run_id, "loss")] == list(range(400))
    assert killed.data.params == {"seed": "0"}


def test_runs_of_other_hosts_and_of_unknown_owners_are_left_alone(store):
    client = MlflowClient(store)
    experiment = client.create_experiment("others")
    gone = {names.TAG_PID: "1", names.TAG_PROCESS_START: "1.0"}
    client.create_run(experiment, tags={**gone, names.TAG_HOST: "elsewhere"})
    client.create_run(experiment)
    assert mend_stale_runs(client, experiment, "outputs") == []


def test_a_number_used_again_by_another_process_does_not_keep_a_run_alive(store):
    import socket

    client = MlflowClient(store)
    experiment = client.create_experiment("reused")
    tags = {names.TAG_HOST: socket.gethostname(), names.TAG_PID: str(os.getpid()), names.TAG_PROCESS_START: "1.0"}
    run = client.create_run(experiment, tags=tags)
    assert mend_stale_runs(client, experiment, "outputs") == [run.info.run_id]
    assert client.get_run(run.info.run_id).info.status == "KILLED"


def test_a_forked_child_neither_records_nor_waits(store, open_run):
    run = open_run(store)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        run.log_metrics({"child": 1.0}, 0)
        run.flush(60)
        run.finish()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert time.monotonic() - started < 30
    run.log_metrics({"parent": 1.0}, 0)
    assert run.finish()
    assert set(MlflowClient(store).get_run(run.run_id).data.metrics) == {"parent"}


FORGETFUL = """
import sys
from seqsetvae.config import TrackingConfig
from seqsetvae.tracking.write.start import start_run

config = TrackingConfig(tracking_uri=sys.argv[1], log_system_metrics=False)
run = start_run(config, kind="pretrain", run_name=None, params={}, config_yaml="", tags={})
for step in range(400):
    run.log_metrics({"loss": step / 2}, step)
print(run.run_id)
"""


@pytest.mark.slow
def test_a_program_that_ends_without_finishing_its_run_still_delivers(store):
    done = subprocess.run([sys.executable, "-c", FORGETFUL, store], capture_output=True, text=True, check=True)
    run_id = done.stdout.strip()
    assert [step for step, _ in stored_points(store, run_id, "loss")] == list(range(400))
    assert MlflowClient(store).get_run(run_id).info.status == "FAILED"


@pytest.mark.slow
def test_a_run_is_not_finished_before_its_last_files_are_safe(store, open_run):
    died = subprocess.run([sys.executable, "-c", ENDING, store], stdout=subprocess.PIPE, text=True)
    assert died.returncode == -signal.SIGKILL
    with open_run(store):
        pass
    assert MlflowClient(store).get_run(died.stdout.strip()).info.status == "KILLED"


HALF = """
import os, sqlite3, sys

connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size = 1")  # so that pages are written before the end of the transaction
connection.execute("UPDATE metrics SET value = -1, key = key || printf('%.1000c', 'x')")
os.kill(os.getpid(), 9)
"""


def test_a_store_that_a_killed_process_has_half_written_is_read(store, open_run, tmp_path):
    with open_run(store) as run:
        for step in range(400):
            run.log_metrics({"loss": step / 2}, step)
    died = subprocess.run([sys.executable, "-c", HALF, str(tmp_path / "mlflow.db")])
    assert died.returncode == -signal.SIGKILL
    assert (tmp_path / "mlflow.db-journal").stat().st_size > 0
    with open_runs(store) as reader:
        assert reader.read(run.run_id).metrics["loss"].value_T.tolist() == [step / 2 for step in range(400)]
    assert may_hold_runs(tmp_path / "mlflow.db")
