"""A run followed while it is written: every point once, late ones too, at a cost that does not depend on the run's length."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from seqsetvae import names
from seqsetvae.errors import InputError
from seqsetvae.tracking.read import follow as reading
from seqsetvae.tracking.read.follow import OVERLAP, REREAD_EVERY, follow
from seqsetvae.tracking.read.run_reader import reader_of

KEYS = ("loss", "rare", "absent")


def new_run(uri: str, experiment: str = "followed") -> str:
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    number = found.experiment_id if found else client.create_experiment(experiment)
    return client.create_run(number, run_name="live").info.run_id


def write(uri: str, run_id: str, steps, key: str = "loss") -> None:
    """Values are half the step, times a second apart."""
    points = [Metric(key, step / 2, 1000 * step, step) for step in steps]
    for start in range(0, len(points), 1000):
        MlflowClient(uri).log_batch(run_id, points[start : start + 1000])


def steps_of(follower, key: str = "loss") -> list[int]:
    series = follower.poll().metrics[key]
    assert series.value_T.tolist() == [step / 2 for step in series.step_T.tolist()]
    assert series.time_T.tolist() == series.step_T.tolist()
    return series.step_T.tolist()


def check(uri: str) -> None:
    """All that a follower promises, on any store."""
    run_id = new_run(uri)
    follower = follow(uri, run_id, KEYS, points=100)
    assert follower.poll().metrics == {}, "a run that has only just begun"
    write(uri, run_id, range(10, 500, 10))
    assert steps_of(follower) == list(range(10, 500, 10))
    write(uri, run_id, [1, 300], "rare")
    write(uri, run_id, [500, 510, 530])
    assert steps_of(follower) == [*range(10, 510, 10), 510, 530]
    assert steps_of(follower, "rare") == [1, 300]
    write(uri, run_id, [520, 540])  # one of them late
    assert steps_of(follower) == list(range(10, 550, 10))
    write(uri, run_id, range(550, 4000, 10))
    assert steps_of(follower) == list(range(3000, 4000, 10)), "the last hundred"
    MlflowClient(uri).log_metric(run_id, "loss", float("nan"), 4_000_000, 4000)
    assert np.isnan(follower.poll().metrics["loss"].value_T[-1])
    MlflowClient(uri).set_terminated(run_id)
    run = follower.poll()
    assert (run.name, run.status, run.experiment, len(run.metrics["loss"])) == ("live", "FINISHED", "followed", 100)
    anew = follow(uri, run_id, KEYS, points=100).poll()
    assert anew.metrics["loss"].step_T.tolist() == run.metrics["loss"].step_T.tolist()
    with pytest.raises(InputError, match="There is no run 0123 in"):
        follow(uri, "0123", KEYS, points=100).poll()


def test_sqlite(store):
    check(store)


def test_a_server(server):
    check(server.uri)


def test_points_written_between_any_two_looks_come_once(store):
    """Batches of any size, as the shipper delivers them, with a look after each."""
    run_id, rng, written = new_run(store), np.random.default_rng(0), 0
    seen: Counter[Any] = Counter()
    follower = follow(store, run_id, KEYS, points=10_000)
    for size in rng.integers(0, 40, 60).tolist():
        write(store, run_id, range(written + 1, written + 1 + size))
        written += size
        if written:
            known = set(seen)
            seen.update(step for step in steps_of(follower) if step not in known)
            assert steps_of(follower) == list(range(1, written + 1))
    assert seen == Counter(range(1, written + 1))


def test_a_point_that_is_very_late_is_found_when_all_is_read_again(store):
    run_id = new_run(store)
    follower = follow(store, run_id, KEYS, points=1000)
    write(store, run_id, range(2, 10 * OVERLAP))
    follower.poll()
    write(store, run_id, [1])
    for _ in range(REREAD_EVERY):
        follower.poll()
    assert steps_of(follower)[0] == 1


def test_alerts_appear_and_a_half_written_table_is_waited_for(store, tmp_path):
    run_id = new_run(store)
    follower = follow(store, run_id, KEYS, points=10)
    assert follower.poll().alerts == ()
    table = json.dumps({"columns": ["step", "level"], "data": [[10, "yellow"]]})
    MlflowClient(store).log_text(run_id, table, names.ARTIFACT_ALERTS)
    assert [row["level"] for row in follower.poll().alerts] == ["yellow"]
    [path] = tmp_path.rglob("alerts.json")
    path.write_text(table[:20])
    assert [row["level"] for row in follower.poll().alerts] == ["yellow"]
    path.write_text(table.replace("yellow", "red"))
    assert [row["level"] for row in follower.poll().alerts] == ["red"]


@pytest.mark.parametrize("where", ["store", "server"])
def test_settings_that_are_no_params_are_read_when_their_file_has_arrived(where, request, monkeypatch):
    uri = request.getfixturevalue(where)
    uri = uri if where == "store" else uri.uri
    monkeypatch.setattr(reading, "FILES_SECONDS", 0.0)
    run_id, client = new_run(uri, "settings"), MlflowClient(uri)
    client.set_tag(run_id, names.TAG_KIND, "pretrain")
    client.log_param(run_id, "objective/max_beta", "0.2")
    follower = follow(uri, run_id, KEYS, points=10)
    assert follower.poll().params == {"objective/max_beta": "0.2"}
    client.log_text(
        run_id, "format_version: 2\nobjective:\n  max_beta: 0.2\nmonitor:\n  kl_threshold: 0.005\n", "config.yaml"
    )
    assert follower.poll().params == {"objective/max_beta": "0.2", "monitor/kl_threshold": "0.005"}
    client.log_text(run_id, "monitor: {kl_threshold: 7.0}\n", "config.yaml")
    assert follower.poll().params["monitor/kl_threshold"] == "0.005", "read once"


def test_alerts_of_a_run_on_a_server(server):
    run_id = new_run(server.uri, "alerts")
    table = {"columns": ["step", "level"], "data": [[10, "orange"]]}
    MlflowClient(server.uri).log_text(run_id, json.dumps(table), names.ARTIFACT_ALERTS)
    assert [row["level"] for row in follow(server.uri, run_id, KEYS, points=10).poll().alerts] == ["orange"]


def test_a_store_that_is_away_is_said_and_found_again(proxy):
    run_id = new_run(proxy.uri)
    follower = follow(proxy.uri, run_id, KEYS, points=10)
    write(proxy.uri, run_id, [1])
    assert steps_of(follower) == [1]
    proxy.status = 503
    write(proxy.upstream, run_id, [2])
    with pytest.raises(InputError, match=f"{proxy.uri} cannot be used"):
        follower.poll()
    proxy.status = None
    assert steps_of(follower) == [1, 2]


def test_a_file_that_is_being_written_to_is_read(store):
    run_id = new_run(store)
    write(store, run_id, [1])
    writer = sqlite3.connect(store.removeprefix("sqlite:///"))
    writer.execute("BEGIN IMMEDIATE")
    try:
        assert steps_of(follow(store, run_id, KEYS, points=10)) == [1]
    finally:
        writer.rollback()
        writer.close()


class Work:
    """What sqlite's virtual machine does for a follower, in thousands of steps: each row that is read or passed over takes some."""

    def __init__(self, follower) -> None:
        import sqlalchemy as sa

        self.thousands = 0
        follower._runs = reader_of(follower._uri)
        sa.event.listen(follower._runs.tables.engine, "connect", self._count)

    def _count(self, connection, _) -> None:
        def tick() -> int:
            self.thousands += 1
            return 0

        connection.set_progress_handler(tick, 1000)

    def of(self, action) -> int:
        before = self.thousands
        action()
        return self.thousands - before


def test_the_cost_of_a_look_does_not_grow_with_the_run(store):
    """Counted, not timed: what a query reads, in a run of 2,000 and of 200,000 points of ten metrics."""
    keys = [f"metric_{number}" for number in range(10)]
    first, further = [], []
    for steps in (200, 20_000):
        run_id = new_run(store)
        with sqlite3.connect(store.removeprefix("sqlite:///")) as database:
            rows = [(key, 0.5, step, run_id, step, 0) for step in range(1, steps + 1) for key in keys]
            database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)
            newest = [(key, 0.5, steps, steps, 0, run_id) for key in keys]
            database.executemany("INSERT INTO latest_metrics VALUES (?, ?, ?, ?, ?, ?)", newest)
        follower = follow(store, run_id, keys, points=100)
        work = Work(follower)
        first.append(work.of(follower.poll))
        for key in keys:
            MlflowClient(store).log_metric(run_id, key, 0.5, int(1000 * time.time()), steps + 1)
        further.append(work.of(follower.poll))
        assert [int(one.step_T[-1]) for one in follower.poll().metrics.values()] == [steps + 1] * 10
    assert first[1] <= 1.2 * first[0] + 1
    assert further[1] <= 1.2 * further[0] + 1
    assert further[0] < first[0], "and a second look reads less than the first"
