"""A database of a version that is not known: no SQL of ours touches it, MLflow's client reads it, and nobody is sent to start a server."""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.store.db import utils

from seqsetvae.errors import InputError
from seqsetvae.tracking.compat.moved_store import settle_moved
from seqsetvae.tracking.compat.sqlite_tables import has_experiment
from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.tracking.read import run_reader
from seqsetvae.tracking.read.client_runs import ClientRuns
from seqsetvae.tracking.read.follow import follow
from seqsetvae.tracking.read.run_reader import open_runs
from tests.tracking.test_follow import write
from tests.tracking.test_recorded_runs import record

NEWER = "fedcba987654"


@pytest.fixture
def newer(store, tmp_path) -> tuple[str, str]:
    """Address of a database with a run that says it is of a version yet to come, and the run's id."""
    run_id = record(store, "exp")
    path = tmp_path / "newer.db"
    shutil.copy(tmp_path / "mlflow.db", path)
    with sqlite3.connect(path) as tables:
        tables.execute("UPDATE alembic_version SET version_num = ?", (NEWER,))
    run_reader._say_once.cache_clear()
    return f"sqlite:///{path}", run_id


@pytest.fixture
def upgraded(newer, monkeypatch) -> None:
    """An MLflow to which that version is the newest, as the next one may be."""
    monkeypatch.setattr(utils, "_get_latest_schema_revision", lambda: NEWER)


@pytest.fixture
def told() -> Iterator[list[str]]:
    """Warnings of ours."""
    messages: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler, ours = Kept(logging.WARNING), logging.getLogger("seqsetvae")
    ours.addHandler(handler)
    yield messages
    ours.removeHandler(handler)


@pytest.mark.usefixtures("upgraded")
def test_what_mlflow_itself_knows_is_read_by_its_client(newer, store, told, tmp_path):
    uri, run_id = newer
    for _ in range(2):
        with open_runs(uri) as reader, open_runs(store) as known:
            assert isinstance(reader, ClientRuns)
            assert [run.run_id for run in reader.listing("exp")] == [run_id]
            ours, same = reader.read(run_id), known.read(run_id)
    assert {key: one.value_T.tolist()[:3] for key, one in ours.metrics.items() if key != "grad_norm"} == {
        "train_loss": [30.0, 29.0, 28.0]
    }
    assert (ours.params, dict(ours.tags), ours.alerts) == (same.params, dict(same.tags), same.alerts)
    assert re.fullmatch(
        rf"sqlite:.*newer\.db is read by MLflow's own client.*: the database is of a version \({NEWER}\) .*\.",
        "\n".join(told),
    )

    follower = follow(uri, run_id, ["train_loss", "late"], points=3)
    assert follower.poll().metrics["train_loss"].step_T.tolist() == [2, 3, 4]
    write(uri, run_id, [1, 2], "late")
    assert follower.poll().metrics["late"].step_T.tolist() == [1, 2]


@pytest.mark.usefixtures("upgraded")
def test_it_is_not_written_to_where_it_was_moved(newer, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "mlflow.db"
    shutil.copy(newer[0].removeprefix("sqlite:///"), moved)
    shutil.copytree(tmp_path / "mlruns", tmp_path / "elsewhere" / "mlruns")
    before = moved.read_bytes()
    assert settle_moved(moved) is None
    assert moved.read_bytes() == before
    with sqlite3.connect(moved) as tables:
        tables.execute("UPDATE alembic_version SET version_num = 'dc11669786a5'")
    assert settle_moved(moved) == str(tmp_path), "a known one is set right"


def test_an_experiment_in_it_is_left_for_mlflow_to_find(newer, tmp_path):
    assert has_experiment(Path(newer[0].removeprefix("sqlite:///")), "12345")
    assert not has_experiment(tmp_path / "mlflow.db", "12345")


def test_what_mlflow_does_not_know_either_is_refused_and_left_alone(newer, sqlite_template, tmp_path):
    empty = tmp_path / "empty.db"
    empty.write_bytes(sqlite_template)
    with sqlite3.connect(empty) as tables:
        tables.execute("UPDATE alembic_version SET version_num = ?", (NEWER,))
    for path in (Path(newer[0].removeprefix("sqlite:///")), empty):
        before = path.read_bytes()
        command = [sys.executable, "-m", "seqsetvae", "analyze", "--tracking.tracking_uri", f"sqlite:///{path}"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert "was made by another version of MLflow" in done.stderr
        assert NEWER in done.stderr
        assert "Traceback" not in done.stderr
        assert "Start the server" not in done.stderr
        assert path.read_bytes() == before
    assert list(tmp_path.glob("*unfinished*")) == []


def test_a_database_that_is_upgraded_while_it_is_followed_is_read_on(store, tmp_path, monkeypatch, told):
    run_id = record(store, "exp")
    run_reader._say_once.cache_clear()
    follower = follow(store, run_id, ["train_loss"], points=3)
    assert follower.poll().metrics["train_loss"].step_T.tolist() == [3, 4]
    with sqlite3.connect(tmp_path / "mlflow.db") as tables:
        tables.execute("UPDATE alembic_version SET version_num = ?", (NEWER,))
    monkeypatch.setattr(utils, "_get_latest_schema_revision", lambda: NEWER)
    write(store, run_id, [5], "train_loss")
    with pytest.raises(InputError, match=rf"of a version \({NEWER}\) that this seqsetvae does not know"):
        follower.poll()
    for _ in range(3):
        run = follower.poll()
    assert run.metrics["train_loss"].step_T.tolist() == [3, 4, 5]
    assert len([one for one in told if NEWER in one]) == 1
    assert open_client(store).search_experiments()
    assert MlflowClient(store).get_run(run_id)
