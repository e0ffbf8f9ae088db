"""`seqsetvae monitor` as a command: one look in words, a picture, and every mistake in one line."""

from __future__ import annotations

import re
import socket
import sqlite3

import pytest
from mlflow import MlflowClient
from PIL import Image

from seqsetvae import names
from seqsetvae.app.main import main
from seqsetvae.config import TrackingConfig
from seqsetvae.dashboard import watch
from seqsetvae.dashboard.monitor import watch_of
from seqsetvae.tracking.read import follow
from tests.dashboard.conftest import write_run, write_study, write_trial


def command(arguments: str, capsys) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["monitor", *arguments.split()])
    said = capsys.readouterr()
    return stopped.value.code, said.out, said.err


def test_where_there_is_no_terminal_every_run_is_told_in_words(recorded, capsys):
    code, out, _ = command(f"--run collapsed latest --tracking_uri {recorded}", capsys)
    assert code == 0
    assert out.count("collapsed (") == 1, "no run twice"
    for said in ("RED since step", "finished", "! KL divergence", "[threshold 0.01]", "alert       step"):
        assert said in out


def test_the_demo_needs_no_store(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("--demo --once", capsys)
    assert code == 0
    assert "simulated collapse" in out
    assert "RED since step" in out
    assert re.search(r"alert +step [\d,]+ red: active units ratio too low", out)
    assert not list(tmp_path.iterdir())


def test_a_study_is_a_table_of_its_trials_and_the_newest_of_them(tmp_path, new_store, capsys):
    uri = new_store(tmp_path)
    trials = write_study(uri)
    code, out, _ = command(f"--run my_study --tracking_uri {uri}", capsys)
    assert code == 0
    rows = [re.split(r"  +", line) for line in out.split("\n\n")[0].splitlines()]
    assert rows[0] == ["trial", "state", "light", "step", "validation NLL", "mutual information", "KL"]
    assert [row[:3] + row[4:5] for row in rows[1:]] == [
        [f"1 ({trials[1][:8]})", "running", "🟢 green", "15.50"],
        [f"0 ({trials[0][:8]})", "pruned", "🔴 red", "17.00"],
        [f"2 ({trials[2][:8]})", "running", "🟢 green", "-"],
    ]
    assert len(re.findall("^  light ", out, re.MULTILINE)) == 1
    assert f"trial 2 ({trials[2][:8]}) in exp" in out
    assert "not watched" not in out


def test_trials_that_begin_while_one_looks_join_the_list(tmp_path, new_store, monkeypatch):
    monkeypatch.setattr(watch, "LIST_EVERY", -1.0)
    uri = new_store(tmp_path)
    study = write_run(uri, "my_study", 0, watched=False)
    MlflowClient(uri).set_tag(study, names.TAG_KIND, "tune")
    write_run(uri, "of nobody's study", 100)
    seen = watch_of(TrackingConfig(uri), ["my_study"], 100)
    assert seen.of_a_study
    assert [run.run_id for run in seen.runs] == [study], "it has no trials yet"

    assert seen.look(0).notes == ("A study measures nothing itself: its trials do.",)
    assert len(seen.runs) == 1
    first, second = (write_trial(uri, study, number, 500) for number in range(2))
    for _ in range(2):
        list(seen.look_at_all())
        assert [run.run_id for run in seen.runs] == [study, first, second], "the oldest first, none twice"
    assert seen.runs[2].title == f"trial 1 ({second[:8]})"
    assert [one.run_id for one in seen.trials] == [first, second]

    (tmp_path / "mlflow.db").rename(tmp_path / "away.db")
    assert seen.look(0).trouble, "a store that is away ends nothing"
    (tmp_path / "away.db").rename(tmp_path / "mlflow.db")
    third = write_trial(uri, study, 2, 500)
    assert not seen.look(0).trouble
    assert seen.runs[-1].run_id == third


def test_a_picture(recorded, capsys, tmp_path):
    code, out, _ = command(f"--run collapsed --tracking_uri {recorded} --save {tmp_path}/now.png", capsys)
    assert (code, out) == (0, f"Saved {tmp_path}/now.png\n")
    with Image.open(tmp_path / "now.png") as picture:
        assert picture.size == (1400, 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["now.png"]


def test_a_run_that_nobody_watched_says_so(recorded, capsys, tmp_path):
    code, out, _ = command(f"--run blind --tracking_uri {recorded}", capsys)
    assert code == 0
    assert "not watched for collapse" in out
    assert "Monitoring was off (--disable_metrics_monitoring)" in out
    code, _, err = command(f"--run blind --tracking_uri {recorded} --save {tmp_path}/now.png", capsys)
    assert code == 2
    assert "has no collapse metrics to draw. Monitoring was off" in err
    assert not (tmp_path / "now.png").exists()


def test_a_store_that_is_locked_for_long_is_told(recorded, capsys, monkeypatch):
    monkeypatch.setattr(follow, "BUSY_SECONDS", 0.2)
    writer = sqlite3.connect(recorded.removeprefix("sqlite:///"))
    [run] = watch_of(TrackingConfig(tracking_uri=recorded), ["collapsed"], 100).runs
    assert run.look(0.0).trouble == ""
    writer.execute("BEGIN EXCLUSIVE")
    try:
        assert "database is locked" in run.look(0.0).trouble
    finally:
        writer.rollback()
        writer.close()
    assert run.look(0.0).trouble == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--run nobody --tracking_uri {store}", "There is no run with the id or the name 'nobody'"),
        ("--tracking_uri sqlite:///missing.db", "There is no tracking store"),
        ("--tracking_uri http://127.0.0.1:9", "http://127.0.0.1:9 cannot be used"),
        ("--experiment other --tracking_uri {store}", "There are no runs in"),
        ("--update_interval 2000 --demo", "the guides count milliseconds: their 2000 is 2 here"),
        ("--max_points 5 --demo", "--monitor.max_points is 5, but must be from 10 to 2000"),
        ("--save picture.jpg --demo", "name the file *.png"),
        (
            "--save /proc/no/picture.png --tracking_uri {store}",
            "--monitor.save: /proc/no/picture.png cannot be written",
        ),
        ("--web --port 99999 --demo", "--monitor.port 99999 of 127.0.0.1 cannot be listened on"),
        ("--web --host 203.0.113.1 --demo", "of 203.0.113.1 cannot be listened on"),
    ],
)
def test_mistakes_are_explained(arguments, said, recorded, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, _, err = command(arguments.format(store=recorded), capsys)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_port_in_use(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = command(f"--demo --web --port {taken.getsockname()[1]}", capsys)
    assert code == 2
    assert "cannot be listened on: Address already in use. Choose another one with --monitor.port" in err
