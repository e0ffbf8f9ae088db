"""Reading a long run back: by one query, against metric by metric through MLflow's tracking client, in the same store."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from seqsetvae import names
from seqsetvae.analysis.analyze import files_of
from seqsetvae.analysis.run_analysis import analyze_run
from seqsetvae.certify.table import Table
from seqsetvae.config.figures import ON_SCREEN
from seqsetvae.tracking.read.recorded_run import RecordedRun
from seqsetvae.tracking.read.run_reader import open_runs

KEYS = (
    *(names.TRAIN_LOSS, names.TRAIN_RECON, names.TRAIN_KL, names.BETA, names.GRADIENT_NORM, names.LEARNING_RATE),
    *(names.VAL_LOSS, names.VAL_RECON, names.VAL_KL, names.PATIENTS_PER_SECOND),
    *(f"other/{number}" for number in range(10)),
)


def measure(quick: bool = False) -> list[Table]:
    """Seconds for all points of a run, each way; and for everything that `analyze` does with them."""
    steps = 2_000 if quick else 50_000
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{Path(folder) / 'mlflow.db'}"
        run_id = make_run(uri, steps)
        by_client, expected = seconds_by_client(uri, run_id)
        by_query, recorded = seconds_by_query(uri, run_id)
    points = sum(len(series) for series in recorded.metrics.values())
    if points != expected:
        raise AssertionError(f"{points} points were read, {expected} are there")
    started = time.perf_counter()
    files_of(analyze_run(recorded), ON_SCREEN)
    judged = time.perf_counter() - started
    keys = len(recorded.metrics)
    rows: list[tuple[object, ...]] = [
        (f"MLflow's tracking client, {keys} metrics one by one", f"{by_client:.2f} s", "1x"),
        ("one read-only query", f"{by_query:.2f} s", f"{by_client / by_query:.0f}x"),
        (
            "all of `analyze`: query, diagnosis, figures, report",
            f"{by_query + judged:.2f} s",
            f"{by_client / (by_query + judged):.0f}x",
        ),
    ]
    title = f"Reading a run back: {steps:,} steps of {keys} metrics, {points:,} points in sqlite"
    return [Table(title, ("how", "time", "speed"), rows, "Each way in the same process, the client first.")]


def make_run(uri: str, steps: int, keys: Sequence[str] = KEYS, ended: bool = True) -> str:
    """A run with that many steps of these metrics; its points go in by SQL, for MLflow's client would take minutes."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name("long")
    run_id: str = client.create_run(found.experiment_id if found else client.create_experiment("long")).info.run_id
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, 0)", points_of(run_id, steps, keys))
        # As MLflow keeps it: the newest value of each metric, by which its client knows what there is.
        database.execute(
            "INSERT INTO latest_metrics SELECT key, value, timestamp, step, is_nan, run_uuid FROM metrics "
            "WHERE run_uuid = ? AND step = ?",
            (run_id, steps),
        )
    if ended:
        client.set_terminated(run_id)
    return run_id


def points_of(run_id: str, steps: int, keys: Sequence[str]) -> Iterator[tuple[str, float, int, str, int]]:
    """Rows in the order in which a training writes them: a step's metrics together; the last one was written just now."""
    rng = np.random.default_rng(0)
    falling_T = 20.0 + 10.0 * np.exp(-np.arange(steps) / steps)
    started = int(1000 * time.time()) - 50 * steps
    for step, level in enumerate(falling_T.tolist(), start=1):
        noise = rng.normal(0.0, 0.1, len(keys)).tolist()
        for key, value in zip(keys, noise, strict=True):
            yield key, level + value, started + 50 * step, run_id, step


def seconds_by_client(uri: str, run_id: str) -> tuple[float, int]:
    """Seconds, and the number of points, by `get_metric_history` of each metric that the run has."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    client.search_experiments(max_results=1)  # opening the store is not what is measured
    started = time.perf_counter()
    run = client.get_run(run_id)
    points = sum(len(client.get_metric_history(run_id, key)) for key in run.data.metrics)
    return time.perf_counter() - started, points


def seconds_by_query(uri: str, run_id: str) -> tuple[float, RecordedRun]:
    """Seconds, and the run, by the way that `analyze` takes; opening the store included."""
    started = time.perf_counter()
    with open_runs(uri) as reader:
        recorded = reader.read(run_id)
    return time.perf_counter() - started, recorded
