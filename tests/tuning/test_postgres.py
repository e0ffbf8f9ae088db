"""Four workers on a real PostgreSQL, MLflow's backend on the same server, one worker killed in mid-trial."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from dataclasses import replace

import optuna
import psutil
import pytest
from mlflow import MlflowClient
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from seqsetvae import names
from seqsetvae.config import TuneConfig
from seqsetvae.tuning import slots
from seqsetvae.tuning.lead import tune
from seqsetvae.tuning.storage import close_storage, open_storage
from tests.tuning.conftest import NARROW

N_TRIALS = 6


def kill_one_in_mid_trial(storage: str, study_name: str, killed: list[int], over: threading.Event) -> None:
    """SIGKILL for the first worker whose trial has begun to train."""
    opened = open_storage(storage, 30)
    try:
        find_and_kill(opened, study_name, killed, over)
    finally:
        close_storage(opened)


def find_and_kill(opened: BaseStorage, study_name: str, killed: list[int], over: threading.Event) -> None:
    while not over.wait(0.2):
        if study_name not in optuna.get_all_study_names(opened):
            continue
        for trial in optuna.load_study(study_name=study_name, storage=opened).get_trials():
            if trial.state == TrialState.RUNNING and "run_id" in trial.user_attrs:
                pid = int(json.loads(trial.user_attrs[slots.OWNER])[names.TAG_PID])
                os.kill(pid, signal.SIGKILL)
                killed.append(trial.number)
                return


@pytest.mark.nightly
def test_no_trial_is_lost_doubled_or_left_running(tiny, database, monkeypatch):
    storage, store = database("optuna"), database("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=kill_one_in_mid_trial, args=(storage, "shared", killed, over))
    killer.start()
    short = replace(tiny, trainer=replace(tiny.trainer, max_epochs=2))
    config = TuneConfig(
        study="shared", storage=storage, n_trials=N_TRIALS, n_workers=4, pruner="none", heartbeat_seconds=5
    )
    try:
        tune(short, NARROW, config)
    finally:
        over.set()
        killer.join()
    opened = open_storage(storage, 30)
    trials = optuna.load_study(study_name="shared", storage=opened).get_trials()
    close_storage(opened)
    states = Counter(trial.state for trial in trials)
    assert killed
    assert states == {TrialState.COMPLETE: N_TRIALS, TrialState.FAIL: 1}
    assert [trial.number for trial in trials if trial.state == TrialState.FAIL] == killed
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs[slots.SLOT] for trial in complete) == list(range(N_TRIALS))
    (retry,) = [trial for trial in complete if slots.RETRY_OF in trial.user_attrs]
    assert retry.params == trials[killed[0]].params

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("seqsetvae")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags[names.TAG_KIND] == "tune"]
    children = {
        run.data.tags[names.TAG_TRIAL]: run
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    assert len(children) == len(runs) - 1 == N_TRIALS + 1
    assert parent.info.status == "FINISHED"
    status = {number: run.info.status for number, run in children.items()}
    assert status == {str(trial.number): "KILLED" if trial.number in killed else "FINISHED" for trial in trials}
    assert not [process for process in psutil.Process().children() if "tuning.worker" in " ".join(process.cmdline())]
