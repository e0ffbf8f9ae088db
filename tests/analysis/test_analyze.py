"""`analyze` on real runs: one that collapses and is rescued, one that is healthy. Its figures show the numbers that were recorded."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from seqsetvae import names, palette
from seqsetvae.analysis.analyze import analyze
from seqsetvae.analysis.replay import replay
from seqsetvae.analysis.run_analysis import analyze_run
from seqsetvae.app.main import main
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.config import (
    DataConfig,
    ModelConfig,
    MonitorConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PretrainConfig,
    TrackingConfig,
    TrainerConfig,
)
from seqsetvae.figures.comparison import MOST, comparison, looks_of, pick
from seqsetvae.figures.run import loss_curves, performance_metrics, training_dynamics
from seqsetvae.posterior import DiagonalGaussian
from seqsetvae.tracking.read.recorded_run import RecordedRun
from seqsetvae.tracking.read.run_reader import open_runs
from seqsetvae.training.fit import pretrain
from seqsetvae.training.module import PretrainModule
from seqsetvae.training.monitor.collapse_outcome import PosteriorNotFinite
from tests.analysis.made_runs import healthy, run, series

COLLAPSING = PretrainConfig(
    data=DataConfig(batch_size=32),
    model=ModelConfig(width=8, latent_dim=4, levels=1, heads=2, ff_dim=8, history_layers=1, dropout=0.1),
    objective=ObjectiveConfig(max_beta=50.0),
    optimizer=OptimizerConfig(lr=1e-2),
    trainer=TrainerConfig(max_epochs=12, accelerator="cpu", log_every_n_steps=3, progress_bar=False),
    monitor=MonitorConfig(on_collapse="rescue", early_warning=True, grace_steps=60),
    tracking=TrackingConfig(log_system_metrics=False, run_name="hot"),
)
HEALTHY = replace(
    COLLAPSING,
    objective=ObjectiveConfig(max_beta=0.1),
    trainer=replace(COLLAPSING.trainer, max_epochs=40),
    tracking=TrackingConfig(log_system_metrics=False, run_name="mild"),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> str:
    """Address of a store with the runs `hot`, its rescue, and `mild`, by the rules of now."""
    folder = tmp_path_factory.mktemp("runs")
    uri = new_store(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        for config in (COLLAPSING, HEALTHY):
            pretrain(config)
    return uri


def histories(uri: str) -> dict[str, RecordedRun]:
    with open_runs(uri) as opened:
        return {one.name: opened.read(one.run_id) for one in opened.listing()}


def tracking(uri: str) -> TrackingConfig:
    return TrackingConfig(tracking_uri=uri)


@pytest.mark.slow
def test_the_rules_replayed_give_the_alerts_of_the_run(store):
    runs = histories(store)
    hot, rescue, mild = runs["hot"], runs["rescue 1: hot"], runs["mild"]
    again = replay(hot)
    assert again.guessed == ()
    assert [(one.step, one.level.word) for one in again.alerts] == [(row["step"], row["level"]) for row in hot.alerts]
    assert again.differences(hot.alerts) == []
    assert max(one.level for one in again.alerts) == Level.RED
    assert {one.detector for one in again.alerts} == {"primary", "early warning"}
    recorded = {int(row["step"]): row for row in hot.alerts if row["detector"] == "primary"}
    for alert in again.alerts:
        if alert.detector == "primary":
            row = recorded[alert.step]
            assert "; ".join(alert.reasons) == row["reasons"]
            assert (alert.held_back, alert.advice) == (row["held_back"], row["advice"])
            assert alert.beta == pytest.approx(row["beta"], rel=1e-5)
    # A rescue begins with what the detector remembered of the run before it.
    assert replay(rescue, again.statistics).differences(rescue.alerts) == []
    assert replay(mild).differences(mild.alerts) == []
    assert len(replay(mild).statistics) == len(mild.metrics[names.COLLAPSE_KL])
    # The verdict at the end is replayed from what was measured then, whatever was said on the way.
    final = {key: one for key, one in mild.metrics.items() if key.startswith(names.COLLAPSE_FINAL)}
    silent = {key: replace(one, value_T=0.0 * one.value_T) for key, one in final.items() if "decoder" in key}
    assert len(silent) == 3
    last = replay(replace(mild, metrics=mild.metrics | silent)).alerts[-1]
    assert (last.level, last.step) == (Level.RED, int(mild.metrics[names.COLLAPSE_KL].step_T[-1]))


@pytest.mark.slow
def test_a_posterior_that_is_no_number_is_red_again(tmp_path, monkeypatch):
    original = PretrainModule.training_step

    def training_step(self, batch, batch_idx):
        loss = original(self, batch, batch_idx)
        if self.global_step == 12:
            self.posterior = DiagonalGaussian(self.posterior.mu_SZ * float("nan"), self.posterior.logvar_SZ)
        return loss

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PretrainModule, "training_step", training_step)
    with pytest.raises(PosteriorNotFinite):
        pretrain(replace(HEALTHY, trainer=replace(HEALTHY.trainer, max_epochs=2)))
    [broken] = histories(f"sqlite:///{tmp_path / 'mlflow.db'}").values()
    analysis = analyze_run(broken)
    assert [alert.step for alert in analysis.alerts if alert.level == Level.RED] == [13]
    assert analysis.replay.differences(broken.alerts) == []
    assert analysis.findings[0].level == Level.RED


@pytest.mark.slow
def test_other_rules_see_something_else(store):
    """The guides' rules are silent on a complete collapse, or late: that they can be replayed on any run shows it."""
    hot = histories(store)["hot"]
    params = {**hot.params, "monitor/rules": "source"}
    theirs = replay(replace(hot, params=params))
    assert theirs.config.rules == "source"
    assert theirs.guessed == ()
    assert theirs.differences(hot.alerts) != []


@pytest.mark.slow
def test_a_run_with_its_rescue_and_a_healthy_one(store, tmp_path, capsys):
    found = {one.run.name: one for one in analyze(tracking(store), ["hot", "mild"], str(tmp_path / "out"))}
    said = capsys.readouterr().out
    assert found["mild"].findings == ()
    worst = found["hot"].findings[0]
    assert (worst.name, worst.level) == ("posterior collapse", Level.RED)
    assert all("as while it trained" in one.agreement for one in found.values())
    assert "Nothing found" in said
    assert re.search(r"posterior collapse \(red\)\n  - red since step \d+: ", said)
    page = (tmp_path / "out" / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page), "one page that needs nothing else"
    for png in re.findall(r"data:image/png;base64,([^\"]+)", page):
        assert Image.open(io.BytesIO(base64.b64decode(png))).size == (1400, 1000)
    assert "To try next" in page
    assert "objective/max_beta" in page
    for one in found.values():
        [folder] = (tmp_path / "out").glob(f"*_{one.run.run_id[:8]}")
        assert {file.name for file in folder.iterdir()} == {
            "loss_curves.png",
            "training_dynamics.png",
            "collapse_metrics.png",
            "collapse_analysis.txt",
            "report.html",
        }
    text = (tmp_path / "out" / "collapse_analysis.txt").read_text()
    assert "No performance_metrics.png: the run has no AUC" in text
    assert (tmp_path / "out" / "comparison.png").is_file()


@pytest.mark.slow
def test_one_run_logged_to_itself_from_the_command_line(store, tmp_path, capsys):
    [run_id] = [one.run_id for one in histories(store).values() if one.name == "mild"]
    arguments = ["analyze", "--run", run_id[:10], "--save_dir", str(tmp_path / "a"), "--log", "--tracking_uri", store]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    written = {file.name for file in (tmp_path / "a").iterdir()}
    assert {"loss_curves.png", "training_dynamics.png", "collapse_analysis.txt", "report.html"} <= written
    logged = {file.path for file in MlflowClient(store).list_artifacts(run_id, "analysis")}
    assert logged == {f"analysis/{name}" for name in written}
    assert "among the artifacts of the run, in analysis/" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "There is no tracking store"),
        ("--tracking_uri http://127.0.0.1:9", "http://127.0.0.1:9 cannot be used"),
        ("--save_dir file/below", "--analyze.save_dir is 'file/below', which cannot be made"),
        ("--run", "--analyze.run"),
    ],
)
def test_mistakes_are_explained(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(SystemExit) as ended:
        main(["analyze", *arguments.split()])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["analyze", "--help", "all"])
    out = " ".join(capsys.readouterr().out.split())
    for words in (
        "--analyze.run RUN ...",
        "latest",
        "A rescued run brings its rescues along",
        "report.html",
        "analysis/",
    ):
        assert words in out


def axes_by_title(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def test_loss_curves_show_the_recorded_numbers():
    made = run(healthy())
    axes = axes_by_title(loss_curves(made, (), ""))
    assert list(axes) == ["Loss", "Reconstruction", "KL divergence"]
    points, mean, validation = axes["Reconstruction"].lines
    np.testing.assert_array_equal(points.get_ydata(), made.metrics[names.TRAIN_RECON].value_T)
    np.testing.assert_array_equal(validation.get_ydata(), made.metrics[names.VAL_RECON].value_T)
    assert np.std(np.diff(mean.get_ydata())) < np.std(np.diff(points.get_ydata()))
    assert [text.get_text() for text in axes["Loss"].get_legend().get_texts()] == [
        "train: recon + β·KL",
        "validation: −ELBO (β = 1)",
    ]


def test_dynamics_show_the_terms_of_the_loss_as_shares():
    made = run(healthy(), **{"trainer/gradient_clip_val": "1.0"})
    axes = axes_by_title(training_dynamics(made, (), ""))
    recon, penalty = (line for line in axes["Loss weights: share of each term"].lines if line.get_label() != "_points")
    np.testing.assert_allclose(recon.get_ydata() + penalty.get_ydata(), 1.0)
    expected = made.metrics[names.TRAIN_RECON].value_T / made.metrics[names.TRAIN_LOSS].value_T
    shown = axes["Loss weights: share of each term"].lines[0].get_ydata()
    np.testing.assert_allclose(shown, expected)
    assert axes["KL against reconstruction"].get_xlabel() == "KL, nats per set"


def test_performance_is_drawn_where_there_is_any():
    assert performance_metrics(run(healthy()), (), "") is None
    scores = {name: series([0.6, 0.7, 0.8], [1, 2, 3]) for name in ("val_auc", "val_auprc", "val_accuracy")}
    figure = performance_metrics(run(healthy() | scores), (), "")
    assert list(axes_by_title(figure)) == ["AUC", "AUPRC", "Accuracy"]
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.6, 0.7, 0.8]


def test_a_run_that_is_no_training_of_a_vae_is_not_called_healthy():
    scores = {"both/val_auc": series([0.7], [1]), "train_loss": series([0.7, 0.6], [1, 2])}
    analysis = analyze_run(run(scores))
    assert analysis.verdict.startswith("Not judged")
    assert "No performance_metrics.png: each score was recorded once: both/val_auc 0.7." in analysis.notes


def test_runs_are_aligned_by_step_and_by_wall_time():
    slow = {key: replace(one, time_T=one.time_T * 3) for key, one in healthy(1).items()}
    figure = comparison([run(healthy()), replace(run(slow), name="slow", run_id="feed" * 8)])
    by_step, by_time = figure.axes[:2]
    assert [line.get_xdata()[-1] for line in by_step.lines] == [1000, 1000]
    assert by_time.lines[1].get_xdata()[-1] == pytest.approx(3 * by_time.lines[0].get_xdata()[-1])
    [legend] = figure.legends
    assert [text.get_text().splitlines()[0] for text in legend.get_texts()] == ["made", "slow"]
    assert legend.get_window_extent().x0 > by_time.get_window_extent().x1, "outside the data"


def test_runs_that_end_in_collapse_are_warm_and_no_two_look_alike():
    many = [
        replace(run(healthy(seed)), tags={names.TAG_COLLAPSE: "red" if seed % 2 else "green"}) for seed in range(MOST)
    ]
    for dead in (many, [replace(one, tags={names.TAG_COLLAPSE: "red"}) for one in many]):
        looks = looks_of(dead)
        assert len(set(looks)) == MOST
        warm = [color in palette.WARM for color, _ in looks]
        assert warm == [one.tags[names.TAG_COLLAPSE] == "red" for one in dead]


def test_of_many_runs_the_best_are_compared():
    many = [replace(run(healthy(seed)), run_id=f"{seed:032x}") for seed in range(MOST + 5)]
    worse = [replace(one, metrics={**one.metrics, names.VAL_LOSS: series([99.0], [1])}) for one in many[:5]]
    assert pick([*worse, *many[5:]]) == many[5:]
