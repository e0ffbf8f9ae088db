"""The monitor as the guides have it, in a Trainer of one's own: by names and settings, with backup and figures, watched from outside."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch

from seqsetvae import CollapseMonitor, MonitorConfig, PosteriorCollapseDetector, PosteriorMetricsMonitor
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.errors import InputError
from tests.training.plain_vae import PlainVAE, loader

SETTINGS = {"update_frequency": 5, "plot_frequency": 50, "early_stop_patience": 3, "grace_steps": 20, "verbose": False}


def fit(model: pl.LightningModule, *callbacks: pl.Callback, **options) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", callbacks=list(callbacks), **quiet | options)
    trainer.fit(model, loader())
    return trainer


def test_the_guides_second_method_keeps_log_figures_and_a_backup_that_is_from_before_the_collapse(tmp_path):
    pl.seed_everything(0)
    alerts: list[Diagnosis] = []
    detector = PosteriorCollapseDetector(
        kl_threshold=0.02,
        var_threshold=0.1,
        active_units_threshold=0.1,
        check_frequency=5,
        auto_save_on_collapse=True,
        log_dir=str(tmp_path / "logs"),
        on_alert=alerts.append,
        **SETTINGS,
    )
    fit(PlainVAE(beta=20.0), detector)
    assert isinstance(detector, CollapseMonitor)
    assert detector.config.kl_threshold == 0.02
    assert [alert.level for alert in alerts][-1] == Level.RED == detector.outcome.level
    assert not any("--" in alert.advice for alert in alerts), "in a script there are no flags"
    there = {path.name for path in (tmp_path / "logs").iterdir()}
    [backup] = [name for name in there if name.startswith("model_before_collapse_step_")]
    assert {"collapse_detection.log", "final_statistics.txt", "alerts.json"} <= there
    assert any(name.startswith("monitoring_plot_step_") for name in there)
    saved = torch.load(tmp_path / "logs" / backup, weights_only=True)
    assert saved["global_step"] < detector.outcome.first_red_step
    PlainVAE(beta=20.0).load_state_dict(saved["state_dict"])
    # A second run in the same folder does not mix with the first.
    again = PosteriorMetricsMonitor(log_dir=str(tmp_path / "logs"), **SETTINGS)
    fit(PlainVAE(beta=0.5), again)
    [earlier] = (tmp_path / "logs").glob("earlier_*")
    assert backup in {path.name for path in earlier.iterdir()}
    assert not list((tmp_path / "logs").glob("model_before_collapse_*"))
    assert "Collapse detected: no" in (tmp_path / "logs" / "final_statistics.txt").read_text()


def test_figures_are_drawn_once_for_each_time_that_they_are_asked_for_however_often_checks_fall_between(tmp_path):
    often = {**SETTINGS, "update_frequency": 20, "check_frequency": 15, "plot_frequency": 30}
    monitor = CollapseMonitor(log_dir=str(tmp_path), **often)
    fit(PlainVAE(beta=0.5), monitor)
    assert monitor.steps_history == [15, 20, 30, 40, 45, 60, 75, 80, 90, 100]
    steps = sorted(int(path.stem.rpartition("_")[2]) for path in tmp_path.glob("monitoring_plot_step_*.png"))
    assert steps == [30, 60, 90, 100]


class Changes(pl.Callback):
    """The guides' stages: a check every 10 steps at first, then every 20."""

    def __init__(self, detector: CollapseMonitor) -> None:
        self.detector = detector
        self.seen: list[int] = []

    def on_train_batch_end(self, trainer, *_):
        self.seen.append(self.detector.global_step)
        self.detector.check_frequency = 10 if trainer.global_step < 60 else 20


def test_the_check_frequency_may_be_set_while_it_trains_and_what_it_has_seen_be_looked_at():
    pl.seed_everything(0)
    settings = {**SETTINGS, "update_frequency": 100, "check_frequency": 10}
    detector = CollapseMonitor(**settings)
    assert detector.check_frequency == 10
    changes = Changes(detector)
    fit(PlainVAE(beta=0.5), detector, changes)
    assert detector.steps_history == [10, 20, 30, 40, 50, 60, 80, 100]
    assert changes.seen == list(range(1, 101))


def test_several_monitors_stand_in_one_trainer_and_a_checkpoint_gives_each_its_own_state(tmp_path):
    pl.seed_everything(0)

    def two() -> tuple[CollapseMonitor, CollapseMonitor]:
        return CollapseMonitor(**SETTINGS), CollapseMonitor(title="strict", **{**SETTINGS, "kl_threshold": 50.0})

    plain, strict = two()
    trainer = fit(PlainVAE(beta=0.5), plain, strict)
    trainer.save_checkpoint(tmp_path / "both.ckpt")
    assert strict.outcome.worst > plain.outcome.worst
    after = two()
    state = torch.load(tmp_path / "both.ckpt", weights_only=True)["callbacks"]
    assert len({key for key in state if key.startswith("CollapseMonitor")}) == 2
    for monitor, before in zip(after, (plain, strict), strict=True):
        monitor.load_state_dict(state[monitor.state_key])
        assert monitor.steps_history == before.steps_history


def test_the_guides_two_detectors_share_their_default_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pl.seed_everything(0)
    primary = PosteriorCollapseDetector(kl_threshold=0.01, check_frequency=10, **SETTINGS | {"on_collapse": "warn"})
    warning = PosteriorCollapseDetector(kl_threshold=50.0, check_frequency=5, **SETTINGS | {"on_collapse": "warn"})
    trainer = fit(PlainVAE(beta=0.5), primary, warning)
    assert warning.outcome.worst > primary.outcome.worst
    for monitor, folder in ((primary, "collapse_logs"), (warning, "collapse_logs/monitor_2")):
        said = (tmp_path / folder / "final_statistics.txt").read_text()
        assert f"KL threshold: {monitor.config.kl_threshold:g}" in said
        red = monitor.outcome.first_red_step is not None
        assert f"Collapse detected: {'yes' if red else 'no'}" in said
    trainer.save_checkpoint("both.ckpt")
    again = PosteriorCollapseDetector(kl_threshold=50.0)
    again.load_state_dict(torch.load("both.ckpt", weights_only=True)["callbacks"][again.state_key])
    assert again.steps_history == warning.steps_history


def test_a_verdict_at_the_end_stands_in_the_final_statistics(tmp_path):
    pl.seed_everything(0)
    monitor = CollapseMonitor(log_dir=str(tmp_path), **SETTINGS | {"update_frequency": 90, "check_frequency": 90})
    fit(PlainVAE(beta=20.0), monitor)
    assert (monitor.outcome.level, monitor.outcome.first_red_step) == (Level.RED, 100)
    assert "Collapse detected: yes\nCollapse at step: 100" in (tmp_path / "final_statistics.txt").read_text()


def test_settings_are_given_one_way_and_checked():
    with pytest.raises(TypeError, match="either a MonitorConfig or settings by name: kl_threshold"):
        CollapseMonitor(MonitorConfig(), kl_threshold=0.1)
    with pytest.raises(InputError, match="kl_threshold is 0"):
        PosteriorCollapseDetector(kl_threshold=0.0)
    with pytest.raises(TypeError, match="kl_treshold"):
        CollapseMonitor(kl_treshold=0.1)
