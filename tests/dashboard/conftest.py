"""Runs of a store that hold what a collapse looks like, in no time: the simulated run, written as a training writes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from seqsetvae import names
from seqsetvae.dashboard.demo import STEPS, STEPS_PER_SECOND, DemoRun
from seqsetvae.tracking.read.recorded_run import RecordedRun


def simulated_until(step: int) -> RecordedRun:
    """The simulated run, which is at this step just now."""
    now = time.time()
    demo = DemoRun(lambda: now - step / STEPS_PER_SECOND)
    demo._clock = lambda: now
    return demo.poll()


def write_run(uri: str, name: str, step: int = STEPS, watched: bool = True) -> str:
    """A run in a store; its id."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name("exp")
    # Beside the database: what MLflow does by itself is a folder in the working directory.
    artifacts = str(Path(uri.removeprefix("sqlite:///")).with_name("artifacts")) if uri.startswith("sqlite") else None
    experiment_id = found.experiment_id if found else client.create_experiment("exp", artifacts)
    run = client.create_run(experiment_id, run_name=name)
    recorded = simulated_until(step)
    if not watched:
        kept = {key: series for key, series in recorded.metrics.items() if not key.startswith("collapse/")}
        off = {"monitor/disable_metrics_monitoring": "True"}
        recorded = replace(recorded, metrics=kept, params=recorded.params | off, alerts=())
    points = [
        Metric(key, value, int(1000 * when), step)
        for key, series in recorded.metrics.items()
        for step, when, value in zip(
            series.step_T.tolist(), series.time_T.tolist(), series.value_T.tolist(), strict=True
        )
    ]
    for start in range(0, len(points), 1000):
        client.log_batch(run.info.run_id, points[start : start + 1000])
    params = [Param(key, value) for key, value in recorded.params.items()]
    client.log_batch(run.info.run_id, params=params, tags=[RunTag(key, value) for key, value in recorded.tags.items()])
    if recorded.alerts:
        columns = list(recorded.alerts[0])
        table = {"columns": columns, "data": [[row[column] for column in columns] for row in recorded.alerts]}
        client.log_text(run.info.run_id, json.dumps(table), names.ARTIFACT_ALERTS)
    if recorded.status != "RUNNING":
        client.set_terminated(run.info.run_id)
    return run.info.run_id


def write_study(uri: str) -> list[str]:
    """`my_study` in a store: the ids of its trials, a pruned one that is red, one that is better, and one without a validation yet."""
    client = MlflowClient(uri)
    study = write_run(uri, "my_study", 0, watched=False)
    client.set_tag(study, names.TAG_KIND, "tune")
    trials = [write_trial(uri, study, number, step) for number, step in enumerate((STEPS, 1500, 1000))]
    for trial, nll in zip(trials, (17.0, 15.5), strict=False):
        client.log_metric(trial, names.VAL_RECON, nll, step=1000)
    client.set_tag(trials[0], names.TAG_TRIAL_STATE, "pruned")
    return trials


def write_trial(uri: str, study: str, number: int, step: int) -> str:
    """A trial of a study, given by its id; its own id."""
    client, trial = MlflowClient(uri), write_run(uri, f"trial {number}", step)
    client.set_tag(trial, "mlflow.parentRunId", study)
    client.set_tag(trial, names.TAG_TRIAL, number)
    return trial


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> str:
    """Address of a store with a run that is healthy so far, one that nobody watched, and the newest, which has collapsed."""
    uri = new_store(tmp_path_factory.mktemp("dashboard"))
    write_run(uri, "healthy so far", step=1500)
    write_run(uri, "blind", watched=False)
    write_run(uri, "collapsed")
    return uri
