"""Opening a store: it works wherever it lies, or is refused within seconds by a sentence about what is wrong."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from seqsetvae.config import TrackingConfig
from seqsetvae.errors import InputError, MlflowStoreError
from seqsetvae.tracking.connection.address import (
    recorded_uri,
    resolve_uri,
    sqlite_path,
    sqlite_uri,
    usable,
    without_password,
)
from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.tracking.connection.place import check_place
from tests.tracking.recorded_points import ramp, stored_points


@pytest.mark.parametrize("name", ["what?x", "50%25 done", "50% done", "a#b", "Straße 雪", "a&b=c;d", "quote'\"q"])
def test_a_store_in_a_folder_of_any_name_holds_all_of_the_run(tmp_path, monkeypatch, sqlite_template, open_run, name):
    folder = tmp_path / "outer" / name
    folder.mkdir(parents=True)
    (folder / "mlflow.db").write_bytes(sqlite_template)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with open_run(None) as run:
        run.log_metrics({"loss": 0.0}, 0)
        run.log_text("hello", "notes/a.txt")
    assert stored_points(run.tracking_uri, run.run_id, "loss") == ramp(0, 1)
    client = MlflowClient(run.tracking_uri)
    local = client.download_artifacts(run.run_id, "notes/a.txt", str(tmp_path))
    assert Path(local).read_text() == "hello"
    assert run.local_artifact_dir.is_relative_to(folder)
    assert [path.name for path in folder.parent.iterdir()] == [name], "nothing is written beside it"
    with sqlite3.connect(folder / "mlflow.db") as tables:
        assert tables.execute("SELECT run_uuid FROM runs").fetchall() == [(run.run_id,)]


@pytest.mark.parametrize("name", ["plain", "what?x", "50%25 done", "50% done"])
def test_a_path_in_an_address_is_found_however_it_is_written(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    path = folder / "mlflow.db"
    for written in (sqlite_uri(path), f"sqlite:///{path}"):
        assert sqlite_path(written) == path
        assert usable(usable(written)) == sqlite_uri(path)


def test_a_store_whose_making_is_killed_leaves_nothing_behind_that_hinders_the_next(tmp_path):
    opening = "import sys; from seqsetvae.tracking.connection.opening import open_client; print('go', flush=True); open_client(sys.argv[1])"
    path = tmp_path / "new.db"
    for wait in (1.5, 2.5, 3.5):  # imports, then tables one after the other
        process = subprocess.Popen(
            [sys.executable, "-c", opening, f"sqlite:///{path}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout.readline() == b"go\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not path.exists() or open_client(f"sqlite:///{path}").search_experiments()
    client = open_client(f"sqlite:///{path}")
    run = client.create_run("0")
    assert client.get_run(run.info.run_id).info.status == "RUNNING"
    assert [one.name for one in tmp_path.iterdir() if "partial" in one.name] == []


def test_a_store_that_an_earlier_version_left_half_made_is_put_aside(tmp_path, sqlite_template):
    path = tmp_path / "half.db"
    path.write_bytes(sqlite_template)
    with sqlite3.connect(path) as tables:
        tables.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        tables.execute("DROP TABLE inputs")
    assert open_client(f"sqlite:///{path}").search_experiments()
    assert len(list(tmp_path.glob("half.db.unfinished-*"))) == 1


def test_an_older_store_with_runs_is_left_alone(tmp_path, sqlite_template):
    path = tmp_path / "old.db"
    path.write_bytes(sqlite_template)
    uri = f"sqlite:///{path}"
    MlflowClient(uri).create_run("0")
    with sqlite3.connect(path) as tables:
        tables.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    before = path.read_bytes()
    program = "import sys; from seqsetvae.tracking.connection.opening import open_client; open_client(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", program, uri], capture_output=True, text=True)
    assert "mlflow db upgrade" in done.stderr
    assert "Start the server" not in done.stderr
    assert path.read_bytes() == before


def refusal(uri: str) -> str:
    """The sentence, which must come within ten seconds."""
    started = time.monotonic()
    with pytest.raises(MlflowStoreError) as refused:
        open_client(uri)
    assert time.monotonic() - started < 10
    return str(refused.value)


def test_each_kind_of_trouble_has_a_sentence_of_its_own(tmp_path):
    (tmp_path / "text.db").write_text(
        "this is no database, but it is long enough to be looked at as if it were one" * 20
    )
    with sqlite3.connect(tmp_path / "other.db") as tables:
        tables.execute("CREATE TABLE recipes (name TEXT)")
    (tmp_path / "folder.db").mkdir()
    said = {
        "text.db": "is not an SQLite database",
        "other.db": "not one of MLflow: it holds the tables recipes",
        "folder.db": "is a folder",
        "missing/mlflow.db": "lies in a folder that does not exist",
    }
    for name, words in said.items():
        sentence = refusal(f"sqlite:///{tmp_path / name}")
        assert words in sentence
        assert "Start the server" not in sentence


def test_start_the_server_is_said_only_where_none_answers(tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        assert "Start the server" in refusal(f"http://127.0.0.1:{port}")
        assert "Start the server" in refusal(f"postgresql+psycopg://me:secret@127.0.0.1:{port}/mlflow")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>a web site</html>", "is no MLflow server"),
        (404, b"nothing here", "is no MLflow server"),
        (401, b"who are you?", "refuses the login"),
        (503, b"busy", "answers with an error"),
    ],
)
def test_a_server_that_answers_otherwise(status, body, words):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sentence = refusal(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
    assert words in sentence
    assert "Start the server" not in sentence


def test_an_experiment_that_is_not_there_is_named(store, open_run, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "987654")
    for refuse in (lambda: check_place(TrackingConfig(tracking_uri=store)), lambda: open_run(store)):
        with pytest.raises(InputError, match="no experiment 987654 in sqlite") as refused:
            refuse()
        assert "Start the server" not in str(refused.value)


AS_NOBODY = """
import os, sys
for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
    os.environ.pop(name, None)
from seqsetvae.config import TrackingConfig
from seqsetvae.errors import InputError
from seqsetvae.tracking.connection.place import check_place
from seqsetvae.tracking.write.start import start_run
config = TrackingConfig(log_system_metrics=False)
try:
    check_place(config)
except InputError as refused:
    sys.exit(f"refused: {refused}")
with start_run(config, kind="pretrain", run_name=None, params={}, config_yaml="", tags={}) as run:
    run.log_metrics({"loss": 1.0}, 0)
"""


def test_a_user_without_a_name_can_record_where_it_may_write_and_is_refused_where_not(store, tmp_path, monkeypatch):
    """In a user namespace of its own, where the number of the user has no entry anywhere."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    command = ["unshare", "--user", "--map-user=54321", sys.executable, "-c", AS_NOBODY]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    client = MlflowClient(store)
    [run] = client.search_runs([client.get_experiment_by_name("seqsetvae").experiment_id])
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 1.0})
    assert run.data.tags["mlflow.user"] == "uid-54321"
    done = subprocess.run(command, cwd=closed, capture_output=True, text=True)
    assert "refused: Cannot write here" in done.stderr


def test_a_login_leaves_the_address_for_where_mlflow_looks_for_it(monkeypatch):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "unset")
    given = TrackingConfig(tracking_uri="http://me:p%40ss@host:5000/mlflow")
    assert resolve_uri(given) == "http://host:5000/mlflow"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "p@ss"


def test_an_address_recorded_without_its_password_needs_the_whole_one(monkeypatch):
    whole = "postgresql://me:secret@db:5432/mlflow?sslmode=disable"
    masked = recorded_uri(whole)
    assert masked == "postgresql://me:***@db:5432/mlflow?sslmode=disable"
    assert usable(masked, whole) == whole
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@elsewhere/mlflow")
    with pytest.raises(MlflowStoreError, match="without its password"):
        usable(masked)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", whole)
    assert usable(masked) == whole


@pytest.mark.parametrize(
    "address",
    [
        "http://me:PLANTED@host/x",
        "https://:PLANTED@host",
        "postgresql+psycopg://me:a@PLANTED@host/db",
        "mysql://me@host/db?password=PLANTED&charset=utf8",
        "http://host/?api_token=PLANTED",
    ],
)
def test_no_form_of_an_address_shows_its_secret(address):
    for text in (without_password(address), without_password(f"failed: {address}: no answer"), recorded_uri(address)):
        assert "PLANTED" not in text
    assert (
        without_password("http://127.0.0.1:5000/#/experiments/1/runs/me@x")
        == "http://127.0.0.1:5000/#/experiments/1/runs/me@x"
    )
