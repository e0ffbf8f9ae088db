"""Sweeps as whole programs: killed, stopped, taken up again, and led by one command while another helps."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import optuna
import psutil
import pytest
from mlflow import MlflowClient
from optuna.trial import FrozenTrial, TrialState

from seqsetvae import names
from seqsetvae.training.recording import as_yaml
from seqsetvae.tuning import slots
from tests.support.commands import Command

pytestmark = pytest.mark.slow
STUDY = "mine"


def command(config, *more: str) -> Command:
    """A running `seqsetvae tune`."""
    Path("settings.yaml").write_text(as_yaml(config))
    searched = ["--max_beta_range", "[0.01,0.1]", "--free_bits_range", "null", "--study", STUDY, "--pruner", "none"]
    return Command(["tune", "--config", "settings.yaml", *searched, *more])


def trials() -> list[FrozenTrial]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.load_study(study_name=STUDY, storage="sqlite:///tune.db").trials


def wait_for(condition, process: Command, seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the sweep ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.2)


def is_ready(database: str) -> bool:
    """Whether Optuna has made all its tables: a second one that finds some of them missing would make them at the same time."""
    if not Path(database).is_file():
        return False
    with (
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection,
        suppress(sqlite3.OperationalError),
    ):
        return connection.execute("select count(*) from alembic_version").fetchone() == (1,)  # written last
    return False


def is_made() -> bool:
    return is_ready("tune.db") and STUDY in optuna.get_all_study_names("sqlite:///tune.db") and len(trials()) > 0


def is_training() -> bool:
    return is_made() and any(one.state == TrialState.RUNNING and "run_id" in one.user_attrs for one in trials())


def trials_by_process() -> Counter[str]:
    owners = [one.user_attrs[slots.OWNER] for one in trials() if slots.OWNER in one.user_attrs]
    return Counter(json.loads(owner)[names.TAG_PID] for owner in owners)


def statuses() -> tuple[str, Counter[tuple[str, str]]]:
    """Of the parent, and of all trials: status with state."""
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    runs = client.search_runs([client.get_experiment_by_name("seqsetvae").experiment_id])
    (parent,) = [run for run in runs if run.data.tags[names.TAG_KIND] == "tune"]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    return parent.info.status, Counter((run.info.status, run.data.tags[names.TAG_TRIAL_STATE]) for run in children)


@pytest.mark.nightly
def test_a_killed_sweep_is_taken_up_again(tiny):
    with command(tiny, "--n_trials", "3") as leader:
        wait_for(is_training, leader)
        workers = psutil.Process(leader.pid).children(recursive=True)
        for process in (*workers, psutil.Process(leader.pid)):
            process.kill()
    assert command(tiny, "--n_trials", "3").wait() == 0
    assert Counter(one.state for one in trials()) == {TrialState.COMPLETE: 3, TrialState.FAIL: 1}
    assert statuses() == ("FINISHED", {("FINISHED", "complete"): 3, ("KILLED", "failed"): 1})


@pytest.mark.nightly
def test_workers_outlive_their_leader_for_one_trial_at_most(tiny):
    with command(tiny, "--n_trials", "3") as leader:
        wait_for(is_training, leader)
        workers = psutil.Process(leader.pid).children(recursive=True)
        leader.send_signal(signal.SIGKILL)
    assert command(tiny, "--n_trials", "3").wait() == 0
    psutil.wait_procs(workers, timeout=30)
    assert not any(process.is_running() for process in workers)
    assert Counter(one.state for one in trials()) == {TrialState.COMPLETE: 3}
    assert statuses() == ("FINISHED", {("FINISHED", "complete"): 3})


def test_a_sweep_stops_on_request_and_goes_on(tiny):
    with command(tiny, "--n_trials", "2", "--n_workers", "2") as leader:
        wait_for(is_training, leader)
        leader.send_signal(signal.SIGTERM)
        assert leader.wait(150) == 143
    parent, _ = statuses()
    assert parent == "KILLED"
    assert not [one for one in trials() if one.state == TrialState.RUNNING]
    assert command(tiny, "--n_trials", "2").wait() == 0
    assert sum(one.state == TrialState.COMPLETE for one in trials()) == 2
    parent, children = statuses()
    assert parent == "FINISHED"
    assert children["FINISHED", "complete"] == 2
    assert not [status for status, _ in children if status == "RUNNING"]


def is_free(database: str) -> bool:
    """Whether nobody is writing to it."""
    with closing(sqlite3.connect(database, timeout=0.1)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("begin immediate")
        return True
    return False


def pause(processes: list[psutil.Process]) -> None:
    """Hold them still in the middle of a trial, at a moment at which they hold no lock."""
    while True:
        for process in processes:
            process.suspend()
        if is_free("tune.db") and is_free("mlflow.db") and is_training():
            return
        for process in processes:
            process.resume()
        time.sleep(0.1)


@pytest.mark.nightly
def test_another_command_can_help(tiny):
    settings = ("--n_trials", "4", "--heartbeat_seconds", "600")  # the paused trial is not to be taken for lost
    with command(tiny, *settings) as leader:
        wait_for(is_training, leader)
        workers = psutil.Process(leader.pid).children(recursive=True)
        pause(workers)
        with command(tiny, *settings, "--join", "true") as helper:
            wait_for(lambda: len(trials_by_process()) == 2, helper)
            for process in workers:
                process.resume()
            assert helper.wait(300) == 0
        assert leader.wait(300) == 0
    assert Counter(one.state for one in trials()) == {TrialState.COMPLETE: 4}
    assert sum(trials_by_process().values()) == 4
    assert statuses() == ("FINISHED", {("FINISHED", "complete"): 4})
