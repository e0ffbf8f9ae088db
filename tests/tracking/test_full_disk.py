"""A disk that takes no more: the journal stays whole, records wait in memory and reach the store from there."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from mlflow import MlflowClient

from seqsetvae.tracking.write.journal import Journal
from tests.tracking.recorded_points import ramp, stored_points

FILLED = """
import resource, sys
from pathlib import Path
from seqsetvae.tracking.write.journal import Journal

journal = Journal(Path(sys.argv[1]))
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
taken, waiting = [], []
for number in range(60):
    # Room for some bytes more than there are, every now and then: writes fail in the middle of a line.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100 + 37 * number, most))
    waiting.append({"tags": {"n": str(number), "text": "x" * (number % 7 * 30)}})
    try:
        journal.append(waiting)
        waiting = []
    except OSError:
        pass
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
journal.append(waiting)
"""


def test_writes_that_fail_anywhere_in_a_line_lose_and_double_nothing(tmp_path):
    subprocess.run([sys.executable, "-c", FILLED, str(tmp_path)], check=True)
    found = [record["tags"] for record, _ in Journal(tmp_path).unsent()]
    assert [int(tags["n"]) for tags in found] == list(range(60))
    assert all(len(tags["text"]) == int(tags["n"]) % 7 * 30 for tags in found)
    for path in tmp_path.glob("*.jsonl"):
        assert [json.loads(line) for line in path.read_text().splitlines()], "no torn line"


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process can grow: the kernel refuses every write."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
        signal.signal(signal.SIGXFSZ, handler)


def test_what_waits_in_memory_is_written_when_there_is_room_again(store, open_run):
    run = open_run(store)
    run.flush(30)
    with no_room():
        for step in range(50):
            run.log_metrics({"loss": step / 2}, step)
        assert not run.persist(5.0)
    for step in range(50, 60):
        run.log_metrics({"loss": step / 2}, step)
    assert run.persist(5.0)
    assert run.finish()
    assert stored_points(store, run.run_id, "loss") == ramp(0, 60)
    assert run.losses == ()


@pytest.mark.slow
def test_a_disk_that_stays_full_loses_nothing_where_the_store_is_elsewhere(server, open_run):
    """The server is a process of its own, to which the limit does not apply."""
    run = open_run(server.uri, finish_seconds=60.0)
    run.flush(30)
    with no_room():
        for step in range(700):
            run.log_metrics({"loss": step / 2}, step)
        run.log_params({"late": 1})
        assert run.finish("KILLED", "SIGTERM")
    stored = MlflowClient(server.uri).get_run(run.run_id)
    assert stored_points(server.uri, run.run_id, "loss") == ramp(0, 700)
    assert (stored.info.status, stored.data.params["late"]) == ("KILLED", "1")
    assert run.losses == ()


def test_what_neither_disk_nor_store_takes_is_said(store, open_run, capsys):
    run = open_run(store, finish_seconds=1.0)
    run.flush(30)
    with no_room():
        for step in range(50):
            run.log_metrics({"loss": step / 2}, step)
        run.log_text("figure", "figure.txt")
        assert not run.finish()
    assert "LOST" in capsys.readouterr().err
    assert run.losses == (f"50 points, 2 other records, 1 files of run {run.run_id}",)
