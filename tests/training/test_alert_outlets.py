"""Where alerts go: a table and a log in MLflow and in a folder, tags, the console, messages; and the report at the end."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from mlflow import MlflowClient
from PIL import Image
from tqdm import tqdm

from seqsetvae import names
from seqsetvae.collapse.detector import Detector, DetectorState
from seqsetvae.collapse.diagnosis import Diagnosis, Indicator, Level
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig, TrackingConfig
from seqsetvae.config.settling import settle_monitor
from seqsetvae.errors import InputError
from seqsetvae.tracking.write.run import Run
from seqsetvae.tracking.write.start import start_run
from seqsetvae.training.monitor import alert_outlets
from seqsetvae.training.monitor.alert_outlets import AlertOutlets
from seqsetvae.training.monitor.collapse_report import final_report
from seqsetvae.training.monitor.run_outlets import RunOutlets

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"


def diagnosis(level: Level, step: int, kl: float = 0.008, detector: str = "primary") -> Diagnosis:
    """With KL alone out of range, or, from orange on, KL and mutual information."""
    indicators = (
        Indicator("kl", "KL divergence", kl, 0.01),
        Indicator("active_units", "active units ratio", 0.5, 0.1),
        Indicator("mutual_information", "mutual information", 0.02, 0.1),
    )
    fired = {Level.GREEN: (), Level.YELLOW: indicators[:1]}.get(level, indicators[::2])
    return Diagnosis(step, level, indicators, tuple(map(str, fired)), "Lower beta.", beta=0.1, detector=detector)


COURSE = [diagnosis(level, 1000 * place) for place, level in enumerate([*[*Level][1:], Level.GREEN], 1)][1:]
"""Yellow at step 2000, orange, red at step 4000, green."""


class Messages:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def send(self, title: str, body: str) -> None:
        self.sent.append((title, body))


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "png")
    return content.getvalue()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_store: Callable[[Path], str]) -> Run:
    monkeypatch.chdir(tmp_path)
    new_store(tmp_path)
    settings = TrackingConfig(log_system_metrics=False)
    return start_run(settings, kind="pretrain", run_name="r", params={}, config_yaml="", tags={})


def silent(folder: Path | None = None, run: Run | None = None) -> AlertOutlets:
    log_dir = None if folder is None else str(folder)
    return AlertOutlets(log_dir, False) if run is None else RunOutlets(run, log_dir, False)


def test_mlflow_has_table_log_report_figure_and_tags(run, tmp_path):
    outlets = silent(run=run)
    for one in COURSE:
        outlets.alert(one)
    outlets.alert(diagnosis(Level.ORANGE, 5000, detector="early warning"))
    outlets.note(Level.GREEN, "Model saved to: x.ckpt")
    outlets.figure(names.IMAGE_COLLAPSE, png(), 500)
    outlets.report("Total checks: 80\n")
    assert run.finish()

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    tags = client.get_run(run.run_id).data.tags
    assert tags[names.TAG_COLLAPSE] == "green", "the early warning has no say in it"
    assert (tags[names.TAG_COLLAPSE_WORST], tags[names.TAG_COLLAPSE_STEP]) == ("red", "4000")
    assert tags["mlflow.loggedImages"] == "True"

    mlflow.set_experiment(experiment_id=run.experiment_id)
    table = mlflow.load_table(names.ARTIFACT_ALERTS, run_ids=[run.run_id])
    assert table["step"].tolist() == [2000, 3000, 4000, 5000, 5000]
    assert table["level"].tolist() == ["yellow", "orange", "red", "green", "orange"]
    assert table["detector"].tolist() == ["primary"] * 4 + ["early warning"]
    assert table["kl"].tolist() == [0.008] * 5
    assert table["decoder_use"].isna().all()
    assert table["thresholds"][0] == "kl < 0.01; active_units_ratio < 0.1; mutual_information < 0.1"
    assert table["reasons"][1] == "KL divergence too low: 0.008000 < 0.01; mutual information too low: 0.020000 < 0.1"

    def text(artifact: str) -> str:
        return Path(client.download_artifacts(run.run_id, artifact, str(tmp_path))).read_text()

    assert text(names.ARTIFACT_COLLAPSE_REPORT) == "Total checks: 80\n"
    assert text(names.ARTIFACT_COLLAPSE_LOG).count("\n") == 4 + 5 + 5 + 1 + 5 + 1
    assert len(client.list_artifacts(run.run_id, "images")) == 2
    for path in (names.ARTIFACT_COLLAPSE_FIGURE, names.ARTIFACT_COLLAPSE_THUMBNAIL):
        with Image.open(client.download_artifacts(run.run_id, path, str(tmp_path))) as image:
            assert image.size == (4, 4)


@pytest.mark.filterwarnings("ignore:.*select_dtypes")  # MLflow 3.17 uses what pandas 4 changes
def test_the_table_is_what_log_table_itself_writes(run, tmp_path):
    outlets = silent(tmp_path / "folder", run)
    for one in COURSE:
        outlets.alert(one)
    assert run.finish()
    ours = json.loads((tmp_path / "folder" / "alerts.json").read_text())
    mlflow.set_experiment(experiment_id=run.experiment_id)
    with mlflow.start_run() as other:
        mlflow.log_table(pd.DataFrame(ours["data"], columns=ours["columns"]), names.ARTIFACT_ALERTS)
    client = MlflowClient()
    path = client.download_artifacts(other.info.run_id, names.ARTIFACT_ALERTS, str(tmp_path))
    assert json.loads(Path(path).read_text()) == ours
    key = "mlflow.loggedArtifacts"
    tags = [client.get_run(run_id).data.tags[key] for run_id in (run.run_id, other.info.run_id)]
    assert json.loads(tags[0]) == json.loads(tags[1])


def test_the_columns_stay_the_same_and_hold_plain_json(tmp_path):
    outlets = silent(tmp_path)
    outlets.alert(diagnosis(Level.YELLOW, 1, kl=float("nan")))
    table = json.loads((tmp_path / "alerts.json").read_text(), parse_constant=pytest.fail)
    columns = ["step", "level", "reasons", "kl", "active_units_ratio", "mutual_information", "decoder_use"]
    more = ["thresholds", "probability", "beta", "held_back", "advice", "time", "detector", "alert"]
    assert table["columns"] == [*columns, *more]
    assert table["data"][0][3:7] == [None, 0.5, 0.02, None]
    variance = Indicator("mean_variance", "latent variance", 0.05, 0.1)
    outlets.alert(Diagnosis(2, Level.YELLOW, (variance,), (str(variance),), ""))
    table = json.loads((tmp_path / "alerts.json").read_text())
    assert table["columns"][:8] == [*columns, "mean_variance"]
    assert [row[7] for row in table["data"]] == [None, 0.05]


def test_the_log_has_the_format_of_the_guides(tmp_path):
    outlets = silent(tmp_path)
    for one in COURSE:
        outlets.alert(one)
    outlets.note(Level.GREEN, "Model saved to: ./collapse_logs/model_before_collapse_step_4000.ckpt")
    log = (tmp_path / "collapse_detection.log").read_text()
    kl, information = "KL divergence too low: 0.008000 < 0.01", "mutual information too low: 0.020000 < 0.1"
    two = f"  - {kl}\n  - {information}\n  - beta: 0.1\n  - advice: Lower beta.\n"
    assert re.sub(STAMP, "TIME", log) == (
        f"TIME - WARNING - Step 2000: posterior collapse warning!\n  - {kl}\n  - beta: 0.1\n  - advice: Lower beta.\n"
        f"TIME - WARNING - Step 3000: posterior collapse warning!\n{two}"
        f"TIME - ERROR - 🚨 posterior collapse detected! Step: 4000\n{two}"
        "TIME - INFO - Step 5000: back in range\n"
        "TIME - INFO - Model saved to: ./collapse_logs/model_before_collapse_step_4000.ckpt\n"
    )


@pytest.mark.parametrize(("verbose", "circles"), [(True, "🟡🟠🔴🟢"), (False, "🔴")])
def test_the_console_shows_all_or_red_alone(verbose, circles, capsys):
    outlets = AlertOutlets(None, verbose)
    for one in COURSE:
        outlets.alert(one)
    outlets.note(Level.GREEN, "noted")
    outlets.report("the end\n")
    out, err = capsys.readouterr()
    assert "".join(re.findall("[🟢🟡🟠🔴]", out)) == circles
    assert (out.count("advice: Lower beta."), "noted\nthe end\n" in out, err) == (len(circles.strip("🟢")), verbose, "")


def test_an_alert_does_not_break_a_progress_bar(capsys):
    with tqdm(total=10) as bar:
        bar.update(3)
        AlertOutlets(None, True).alert(COURSE[0])
    out, err = capsys.readouterr()
    assert out.startswith("🟡 Step 2000: posterior collapse warning!\n")
    cleared = err.rpartition("3/10")[0]
    assert re.search(r"\r +\r", cleared), "the bar was taken away first, and drawn again after it"


def test_a_terminal_without_circles(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", terminal)
    AlertOutlets(None, True).alert(COURSE[0])
    assert terminal.buffer.getvalue().startswith(b"? Step 2000: posterior collapse warning!")


def test_messages_for_orange_and_red_and_for_the_end_of_red():
    messages = Messages()
    outlets = AlertOutlets(None, False, messages, "pretrain demo (run 1a2b)")
    for one in [*COURSE, diagnosis(Level.YELLOW, 6000), diagnosis(Level.GREEN, 7000)]:
        outlets.alert(one)
    assert [title for title, _ in messages.sent] == [
        "🟠 pretrain demo (run 1a2b): Step 3000: posterior collapse warning! (orange)",
        "🔴 pretrain demo (run 1a2b): posterior collapse detected! Step: 4000 (red)",
        "🟢 pretrain demo (run 1a2b): Step 5000: back in range (green, no longer red)",
    ]
    body = messages.sent[1][1].splitlines()
    assert body[0] == "pretrain demo (run 1a2b) at step 4000: red"
    assert body[1:] == [*COURSE[2].reasons, "beta: 0.1", "advice: Lower beta."]


def test_other_ranks_are_silent(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    messages = Messages()
    outlets = AlertOutlets(str(tmp_path), True, messages)
    outlets.alert(COURSE[2])
    outlets.report("end")
    assert (capsys.readouterr(), messages.sent, list(tmp_path.iterdir())) == (("", ""), [], [])
    assert outlets.alerts == [COURSE[2]]


def test_a_resumed_run_keeps_its_record(tmp_path, capsys):
    first = AlertOutlets(str(tmp_path), False)
    for one in COURSE[:3]:
        first.alert(one)
    torch.save(first.state_dict(), tmp_path / "state.ckpt")
    table = (tmp_path / "alerts.json").read_text()

    messages = Messages()
    second = AlertOutlets(str(tmp_path), False, messages)
    second.load_state_dict(torch.load(tmp_path / "state.ckpt", weights_only=True))
    assert second.alerts == first.alerts == COURSE[:3]
    assert (tmp_path / "alerts.json").read_text() == table
    second.alert(COURSE[3])
    assert [title for title, _ in messages.sent] == ["🟢 seqsetvae: Step 5000: back in range (green, no longer red)"]
    assert len(re.findall(STAMP, (tmp_path / "collapse_detection.log").read_text())) == 4
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"alerts.json", "collapse_detection.log", "state.ckpt"}, "nothing put aside"


def test_tags_go_back_to_those_of_the_checkpoint(run):
    outlets = silent(run=run)
    outlets.alert(COURSE[0])
    state = outlets.state_dict()
    outlets.alert(COURSE[2])
    resumed = silent(run=run)
    resumed.load_state_dict(state)
    assert run.finish()
    tags = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_run(run.run_id).data.tags
    assert (tags[names.TAG_COLLAPSE], tags[names.TAG_COLLAPSE_WORST]) == ("yellow", "yellow")


@pytest.mark.parametrize(("judged", "tagged"), [((), "unknown"), ((Level.GREEN,), "green")])
def test_a_healthy_run_is_tagged_green_once_it_was_judged(run, judged, tagged):
    outlets = silent(run=run)
    for level in judged:
        outlets.judged("primary", level)
    assert run.finish()
    tags = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_run(run.run_id).data.tags
    assert (tags[names.TAG_COLLAPSE], tags[names.TAG_COLLAPSE_WORST]) == (tagged, tagged)


def test_the_log_of_an_earlier_run_in_the_same_folder_is_put_aside(tmp_path):
    silent(tmp_path).alert(COURSE[0])
    earlier = (tmp_path / "collapse_detection.log").read_text()
    later = silent(tmp_path)
    later.alert(COURSE[1])
    later.save("monitoring_plot_step_1000.png", b"figure")
    found = sorted(path.name for path in tmp_path.iterdir())
    assert [re.sub(r"\d{8}_\d{6}", "WHEN", name) for name in found] == [
        "alerts.json",
        "alerts_WHEN.json",
        "collapse_detection.log",
        "collapse_detection_WHEN.log",
        "monitoring_plot_step_1000.png",
    ]
    assert (tmp_path / found[3]).read_text() == earlier


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=rf"--monitor\.log_dir: {tmp_path}/file/logs cannot be written"):
        silent(tmp_path / "file" / "logs")


def test_a_folder_that_fails_later_does_not_end_the_training(tmp_path, capsys):
    outlets = silent(tmp_path / "logs")
    (tmp_path / "logs").rmdir()
    outlets.alert(COURSE[0])
    outlets.alert(COURSE[1])
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "alerts.json cannot be written (No such file or directory)" in err
    assert len(outlets.alerts) == 2


def test_the_record_is_bounded(monkeypatch):
    monkeypatch.setattr(alert_outlets, "KEPT", 20)
    outlets = AlertOutlets(None, False)
    for step in range(30):
        outlets.alert(diagnosis(Level.YELLOW if step % 2 else Level.GREEN, step))
    assert len(outlets.alerts) == 20
    assert outlets.alerts[-1].step == 29


DEAD = CollapseStatistics(450, 1024, 0.000123, 0, 16, 0.0021, 6.9315, 1.0, 1.0, 1.0, 1.0, decoder_use=0.0004, beta=0.5)


def report(state: DetectorState, last: CollapseStatistics | None = DEAD, done: int = 500) -> list[str]:
    config = settle_monitor(MonitorConfig(), total_steps=2000, warmup_steps=300)
    text = final_report(
        state,
        config,
        last,
        planned_steps=2000,
        done_steps=done,
        seconds=7200.0,
        backup=None,
        log_file="collapse/collapse_detection.log",
        outcome="stopped: posterior collapse",
    )
    return text.splitlines()


def test_the_report_of_a_collapse_by_a_real_detector():
    detector = Detector(settle_monitor(MonitorConfig(), 2000, 300), BetaOutlook(2000, 300))
    for step in range(350, 501, 50):
        detector.check(CollapseStatistics(**vars(DEAD) | {"step": step}))
    lines = report(detector.state)
    assert {
        "Total checks: 4",
        "Warnings: 4",
        "Collapse detected: yes",
        "Collapse at step: 450",
        "Log file: collapse/collapse_detection.log",
        "Steps: 500 of 2000 planned, in 2:00:00",
        "Saved by stopping early: 6.0 hours",
        "KL threshold: 0.01",
        "Mutual information threshold: 0.1",
        "Check frequency: 50",
        "Grace period: until step 300",
        "Early stop patience: 2",
        "Final statistics, at step 450:",
        "KL divergence: 0.000123 nats per set",
        "Active units: 0 of 16",
        "Mutual information: 0.0021 nats of at most 6.93 (ln 1024: 1024 sets were pooled)",
        "Decoder use: 0.0004 nats per set",
        "Collapsed dimensions: 100.0%",
    } <= set(lines)


@pytest.mark.parametrize(
    ("state", "done"),
    [
        (DetectorState(checks=10), 500),
        (DetectorState(checks=10, first_red_step=100, level=0), 500),
        (DetectorState(checks=40, first_red_step=100, level=3), 2000),
        (DetectorState(first_red_step=100, level=3), 0),
    ],
    ids=["interrupted", "recovered, then interrupted", "to its end", "no step done"],
)
def test_nothing_was_saved(state, done):
    lines = report(state, None, done)
    assert not [line for line in lines if line.startswith("Saved")]
    assert lines[-1] == "Final statistics: none, the run was too short for a measurement"
    assert ("Recovered from it: yes" in lines) == (state.first_red_step is not None and state.level == 0)
