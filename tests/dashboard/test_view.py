"""What the dashboard says of histories whose answer is known: level, thresholds, progress, speed, silence, what is missing."""

from __future__ import annotations

import math
import os
import socket
from dataclasses import replace

import numpy as np
import pytest

from seqsetvae import names
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.dashboard.demo import STEPS, STEPS_PER_SECOND, DemoRun, simulated
from seqsetvae.dashboard.page import alerts, indicators, light, run
from seqsetvae.dashboard.status import status_text
from seqsetvae.dashboard.watch import SeenRun, vanished
from seqsetvae.errors import InputError
from seqsetvae.tracking.read.recorded_run import RecordedRun, Series

START = 1_000_000.0


class Planted:
    """A run that is what a test says."""

    def __init__(self, recorded: RecordedRun) -> None:
        self.recorded = recorded
        self.trouble = ""

    def poll(self) -> RecordedRun:
        if self.trouble:
            raise InputError(self.trouble)
        return self.recorded


def planted(metrics=None, status: str = "RUNNING", params=None, tags=None, alerts=()) -> RecordedRun:
    return RecordedRun(
        "ab" * 16, "a run", status, "exp", START, None, params or {}, tags or {}, metrics or {}, alerts, "here"
    )


def look(recorded: RecordedRun, now: float):
    return SeenRun("id", "title", Planted(recorded)).look(now)


def every_tenth_step(count: int, seconds: float, value: float = 1.0) -> Series:
    steps = 10 * np.arange(1, count + 1)
    return Series.of(steps, 1000 * (START + seconds * np.arange(1, count + 1)), np.full(count, value))


def demo_at(seconds: float):
    now = [START]
    demo = DemoRun(lambda: now[0])
    now[0] = START + seconds
    return SeenRun("demo", "demo", demo).look(now[0] + 0.5)


def test_the_demo_goes_from_green_to_red_by_the_real_detector():
    before, after = demo_at(45), demo_at(STEPS / STEPS_PER_SECOND - 2)
    assert (before.level, before.alerts, before.reasons) == (Level.GREEN, (), ())
    assert after.level == Level.RED
    assert [alert.level for alert in after.alerts] == [Level.RED, Level.ORANGE, Level.YELLOW], "newest first"
    assert after.verdict.startswith("RED since step ")
    assert any("mutual information too low" in reason for reason in after.reasons)
    assert after.reasons[-1].startswith("to try: Lower --objective.max_beta")
    assert simulated(4000).mean_variance > 0.99, (
        "a collapsed posterior is the prior, which the guides' rule takes for health"
    )


def test_each_indicator_stands_beside_its_threshold():
    charts = {chart.title: chart for chart in demo_at(STEPS / STEPS_PER_SECOND).charts}
    out = {title for title, chart in charts.items() if chart.out_of_range}
    assert out == {"KL divergence", "Mutual information", "Active units", "Decoder use"}
    assert charts["KL divergence"].range == "above 0.01"
    assert charts["Active units"].rows[0].value == "0 of 16"
    assert charts["Active units"].range == "above 1.6 of 16"
    assert [one.label for one in charts["Mutual information"].references] == [
        "threshold 0.1",
        "ceiling ln 1,024 = 6.93",
    ]
    assert charts["Posterior variance"].range == "", "no rule of the default set judges it"
    assert [row.title for row in charts["Posterior variance"].rows] == ["Posterior variance", "  share of σ² > 0.01"]
    assert {"Reconstruction loss", "Weight of the KL term", "Loss", "Gradient norm"} <= set(charts)


def test_thresholds_are_those_that_the_run_has_recorded():
    demo = DemoRun(lambda: START)
    demo._clock = lambda: START + 30
    recorded = demo.poll()
    stricter = replace(recorded, params=recorded.params | {"monitor/kl_threshold": "99.0"})
    [chart] = [chart for chart in look(stricter, START + 30).charts if chart.title == "KL divergence"]
    assert (chart.range, chart.out_of_range) == ("above 99", True)
    unknown = look(replace(recorded, params={}), START + 30)
    assert "the run has not recorded its own" in unknown.notes[0]
    by_guides = replace(recorded, params=recorded.params | {"monitor/rules": "source"})
    charts = {chart.title: chart for chart in look(by_guides, START + 30).charts}
    assert charts["Posterior variance"].range == "above 0.1"
    assert charts["Mutual information"].range == ""


def test_progress_speed_and_time_left():
    loss = every_tenth_step(50, seconds=2.0)  # 5 steps a second
    patients = every_tenth_step(50, 2.0, value=40.0)
    recorded = planted(
        {names.TRAIN_LOSS: loss, names.PATIENTS_PER_SECOND: patients}, tags={names.TAG_TOTAL_STEPS: "2000"}
    )
    where = look(recorded, START + 103.0).progress
    assert (where.step, where.total, where.share) == (500, 2000, 0.25)
    assert where.steps_per_second == pytest.approx(5.0)
    assert where.patients_per_second == pytest.approx(40.0)
    assert where.seconds_left == pytest.approx(300.0)
    assert where.age == pytest.approx(3.0)
    assert (where.place, where.speed, where.left) == (
        "step 500 of 2,000 (25%)",
        "40.0 patients/s, 5 steps/s",
        "0:05:00 left",
    )
    ended = look(replace(recorded, status="FINISHED"), START + 103.0)
    assert (ended.progress.left, ended.freshness, ended.state) == ("", "last point 3 s ago", "finished")


def test_the_probability_of_a_collapse_is_said_while_it_trains():
    measured = {names.COLLAPSE_PROBABILITY: every_tenth_step(3, 1.0, 0.42), names.COLLAPSE_KL: every_tenth_step(3, 1.0)}
    said = "Probability that the run ends collapsed: 42%."
    assert said in look(planted(measured), START + 4.0).notes
    assert said not in look(planted(measured, status="FINISHED"), START + 4.0).notes


def test_a_night_between_stop_and_resume_is_no_time_of_training():
    before, after = every_tenth_step(20, 2.0), every_tenth_step(20, 2.0)
    night = 30_000.0
    loss = Series(
        np.concatenate([before.step_T, 200 + after.step_T]),
        np.concatenate([before.time_T, night + after.time_T]),
        np.ones(40),
    )
    recorded = planted({names.TRAIN_LOSS: loss}, tags={names.TAG_TOTAL_STEPS: "1000"})
    where = look(recorded, START + night + 41).progress
    assert where.seconds_left == pytest.approx(120.0)
    assert not where.silent


def test_a_run_that_has_gone_silent_is_seen():
    recorded = planted({names.TRAIN_LOSS: every_tenth_step(50, 2.0)})
    assert look(recorded, START + 100 + 59).state == "running"
    silent = look(recorded, START + 100 + 700)
    assert (silent.state, silent.worrying) == ("running, but silent for 11 min", True)
    assert (silent.progress.speed, silent.progress.left) == ("", ""), "neither holds any more"
    validates = planted({names.TRAIN_LOSS: replace_gap(every_tenth_step(50, 2.0), seconds=600.0)})
    assert not look(validates, START + 700 + 1000).worrying, "one that was as long without a point before may validate"
    assert look(planted(), START + 299).state == "running"
    assert look(planted(), START + 301).worrying, "nothing at all after five minutes"
    assert not look(replace(recorded, status="FINISHED"), START + 1e6).worrying


def replace_gap(series: Series, seconds: float) -> Series:
    return Series(series.step_T, series.time_T + np.where(series.step_T > 250, seconds, 0.0), series.value_T)


def test_a_process_that_has_vanished_is_seen_at_once():
    here = {names.TAG_HOST: socket.gethostname(), names.TAG_PROCESS_START: "1.0", names.TAG_PID: str(os.getpid())}
    assert vanished(planted(tags=here))
    assert "its process has vanished" in look(planted(tags=here), START).state
    assert not vanished(planted(tags=here | {names.TAG_HOST: "elsewhere"}))
    assert not vanished(planted(status="KILLED", tags=here))


def test_what_is_missing_is_explained():
    loss = {names.TRAIN_LOSS: every_tenth_step(5, 1.0), names.TRAIN_KL: every_tenth_step(5, 1.0, 0.001)}
    off = look(planted(loss, params={"monitor/disable_metrics_monitoring": "True"}), START)
    assert off.level is None
    assert off.verdict == "not watched for collapse"
    assert "Monitoring was off (--disable_metrics_monitoring)" in off.notes[0]
    [kl] = [chart for chart in off.charts if chart.title == "KL divergence"]
    assert (kl.range, kl.out_of_range) == ("above 0.01", True), "the guides' own rule needs no monitor"
    early = look(planted(loss, params={"monitor/update_frequency": "50"}), START)
    assert "the first comes at step 50" in early.notes[0]
    assert "Nothing recorded yet" in look(planted(), START).notes[0]
    finetuned = look(
        planted({names.FINETUNE_AUC: every_tenth_step(3, 1.0, 0.8)}, tags={names.TAG_KIND: "finetune"}), START
    )
    assert "kind finetune" in finetuned.notes[0]
    assert [chart.title for chart in finetuned.charts] == ["AUC and AUPRC"]
    assert "by run 77" in look(planted(loss, tags={names.TAG_RESCUED_BY: "77"}), START).notes[-1]


def test_trouble_is_said_and_what_was_seen_stays():
    source = Planted(planted({names.TRAIN_LOSS: every_tenth_step(50, 2.0)}))
    watched = SeenRun("id", "title", source)
    assert watched.look(START + 100).trouble == ""
    source.trouble = "The tracking store is locked."
    seen = watched.look(START + 130)
    assert (seen.trouble, seen.progress.step, seen.progress.age) == ("The tracking store is locked.", 500, 30.0)
    source.trouble = ""
    assert watched.look(START + 131).trouble == ""
    source.trouble = "Away."
    assert SeenRun("id", "title", source).look(START).trouble == "Away.", "also where nothing was seen yet"


def test_a_posterior_that_is_no_number_is_red_and_said():
    demo = DemoRun(lambda: START)
    demo._clock = lambda: START + 10
    recorded = demo.poll()
    broken = recorded.metrics[names.COLLAPSE_KL]
    broken.value_T[-1] = math.nan
    [kl] = [chart for chart in look(recorded, START + 10).charts if chart.title == "KL divergence"]
    assert (kl.rows[0].value, kl.out_of_range) == ("NaN or inf", True)


def test_updates_that_come_one_by_one_give_what_all_at_once_give():
    now = [START]
    followed = SeenRun("demo", "demo", DemoRun(lambda: now[0]))
    for seconds in range(0, 105, 3):
        now[0] = START + seconds
        seen = followed.look(now[0])
    assert seen.charts[0].traces[0].step_T.tolist() == list(range(50, STEPS + 1, 50))
    anew = demo_at(102)
    for mine, other in zip(seen.charts, anew.charts, strict=True):
        np.testing.assert_array_equal(mine.traces[0].value_T, other.traces[0].value_T)


def test_names_from_outside_are_no_markup():
    recorded = replace(planted({names.TRAIN_LOSS: every_tenth_step(5, 1.0)}), name="<script>alert(1)</script>")
    view = look(recorded, START)
    whole = light(view) + run(view) + indicators(view) + alerts(view)
    assert "<script>" not in whole
    assert "&lt;script&gt;" in whole


def test_the_status_in_words():
    text = status_text(demo_at(STEPS / STEPS_PER_SECOND))
    for said in (
        "RED since step",
        "finished; last point",
        "step 4,000 of 4,000 (100%)",
        "! Active units           0 of 16 [threshold 0.1]",
        "alert       step",
        "to try: Lower --objective.max_beta",
    ):
        assert said in text
