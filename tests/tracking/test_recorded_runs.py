"""What is read back is what was written: the same from sqlite, PostgreSQL and a server as MLflow's own client says, while others write."""

from __future__ import annotations

import json
import math
import sqlite3
import time

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from seqsetvae import names
from seqsetvae.errors import InputError
from seqsetvae.tracking.read.run_reader import choose, open_runs
from seqsetvae.tracking.write.attachments import attach_files


def record(uri: str, experiment: str, name: str = "one", parent: str = "", points: bool = True) -> str:
    """A run with a metric that holds NaN, one that has a step twice, a param, a table of alerts."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    number = found.experiment_id if found else client.create_experiment(experiment)
    run = client.create_run(number, run_name=name, tags={"mlflow.parentRunId": parent} if parent else {})
    if not points:
        return run.info.run_id
    loss = [Metric("train_loss", 30.0 - step, 1000 * (100 + step), step) for step in range(5)]
    again = [Metric("train_loss", 99.0, 500_000, 3)]
    broken = [Metric("grad_norm", value, 1000, step) for step, value in enumerate((1.0, math.nan, math.inf))]
    client.log_batch(run.info.run_id, [*loss, *again, *broken], [Param("model/latent_dim", "16")], [RunTag("a", "b")])
    table = {"columns": ["step", "level"], "data": [[10, "yellow"], [20, "red"]]}
    client.log_text(run.info.run_id, json.dumps(table), names.ARTIFACT_ALERTS)
    client.set_terminated(run.info.run_id)
    return run.info.run_id


def check(uri: str, experiment: str) -> None:
    run_id = record(uri, experiment)
    with open_runs(uri) as store:
        assert choose(store.listing(experiment), ["latest"], uri) == [run_id]
        recorded = store.read(run_id)
    assert (recorded.name, recorded.status, recorded.experiment) == ("one", "FINISHED", experiment)
    assert (recorded.params["model/latent_dim"], recorded.tags["a"]) == ("16", "b")
    assert recorded.end_time >= recorded.start_time > time.time() - 60
    loss = recorded.metrics["train_loss"]
    assert loss.step_T.tolist() == [0, 1, 2, 3, 4]
    assert loss.value_T.tolist() == [30.0, 29.0, 28.0, 99.0, 26.0], "of step 3 the last written counts"
    assert loss.time_T[:2].tolist() == [100.0, 101.0]
    norm = recorded.metrics["grad_norm"].value_T
    assert norm[0] == 1.0
    assert np.isnan(norm[1])
    assert norm[2] > 1e300
    assert [row["level"] for row in recorded.alerts] == ["yellow", "red"]


def test_sqlite(store):
    check(store, "exp")


def test_a_server(server):
    check(server.uri, "histories")


def test_files_are_put_into_a_run_that_has_ended(server, store):
    for uri in (server.uri, store):
        run_id = record(uri, "logged")
        attach_files(uri, run_id, {"a.txt": b"a", "b.png": b"b"}, names.ARTIFACT_ANALYSIS)
        client = MlflowClient(uri)
        assert [one.path for one in client.list_artifacts(run_id, "analysis")] == ["analysis/a.txt", "analysis/b.png"]
        assert client.get_run(run_id).info.status == "FINISHED"


def test_a_file_that_is_being_written_to(store):
    run_id = record(store, "exp")
    writer = sqlite3.connect(store.removeprefix("sqlite:///"))
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO metrics VALUES ('late', 1.0, 1, ?, 1, 0)", (run_id,))
    try:
        with open_runs(store) as histories:
            assert "late" not in histories.read(run_id).metrics
    finally:
        writer.rollback()
        writer.close()


def test_nothing_is_written(store, tmp_path):
    run_id = record(store, "exp")
    (tmp_path / "mlflow.db").chmod(0o444)
    before = (tmp_path / "mlflow.db").read_bytes()
    with open_runs(store) as histories:
        histories.read(run_id)
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_runs_are_found_by_id_beginning_name_and_with_their_children(store):
    parent = record(store, "exp", "study")
    first, second = (record(store, "exp", f"trial {number}", parent) for number in (0, 1))
    grandchild = record(store, "exp", "rescue", first)
    with open_runs(store) as histories:
        listing = histories.listing()
    assert {one.run_id for one in listing} == {parent, first, second, grandchild}
    assert choose(listing, ["trial 1"], store) == [second]
    assert choose(listing, [first[:12], "rescue"], store) == [first, grandchild]
    assert choose(listing, ["study"], store) == [parent, first, second, grandchild]
    assert choose(listing, ["latest"], store) == [grandchild]


def test_mistakes_name_what_was_looked_for_and_where(store, tmp_path):
    missing, text = (f"sqlite:///{tmp_path / name}" for name in ("missing.db", "text.db"))
    with pytest.raises(InputError, match=r"no tracking store /.*/missing\.db\. Give the"), open_runs(missing):
        pass
    assert not (tmp_path / "missing.db").exists()
    (tmp_path / "text.db").write_text("no database, but long enough to be looked at" * 20)
    with pytest.raises(InputError, match=r"text\.db cannot be used: .*not a database"), open_runs(text) as other:
        other.listing()
    with open_runs(store) as histories:
        with pytest.raises(InputError, match=r"There are no runs in sqlite:///.*mlflow\.db"):
            choose(histories.listing(), ["latest"], store)
        run_id = record(store, "exp", "kept")
        empty = record(store, "exp", "empty", points=False)
        deleted = record(store, "exp", "deleted")
        MlflowClient(store).delete_run(deleted)
        listing = histories.listing()
        for unknown in ("nobody", deleted, "deleted"):
            with pytest.raises(
                InputError, match=f"no run with the id or the name '{unknown}' in sqlite.*{run_id} 'kept'"
            ):
                choose(listing, [unknown], store)
        with pytest.raises(InputError, match=rf"Run {empty} 'empty' \(RUNNING\) in sqlite.* has no metrics"):
            histories.read(empty)
        with pytest.raises(InputError, match=r"There is no run 0000 in sqlite"):
            histories.read("0000")


def test_a_server_that_does_not_answer():
    uri = "http://127.0.0.1:9"
    with pytest.raises(InputError, match=r"http://127.0.0.1:9 cannot be used"), open_runs(uri):
        pass
