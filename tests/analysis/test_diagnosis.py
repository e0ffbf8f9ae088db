"""Each trouble that the guides define is found where it was planted, with its step; a healthy run is left in peace."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqsetvae import names
from seqsetvae.analysis.diagnosis import (
    COLLAPSE,
    OVERFITTING,
    STAGNANT,
    STRONG,
    WEAK,
    Evidence,
    diagnose,
    unjudged,
)
from seqsetvae.analysis.findings import Finding
from seqsetvae.analysis.instability import INSTABILITY
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.tracking.read.recorded_run import Series
from tests.analysis.made_runs import STEPS, healthy, series

FALL = np.exp(-STEPS / 400)


def found(metrics: dict[str, Series], alerts: tuple[Diagnosis, ...] = (), **params: str) -> list[Finding]:
    return diagnose(Evidence(metrics, alerts, params))


def only(metrics: dict[str, Series], alerts: tuple[Diagnosis, ...] = (), **params: str) -> Finding:
    [one] = found(metrics, alerts, **params)
    return one


@pytest.mark.parametrize("seed", range(30))
def test_a_healthy_run_has_nothing(seed):
    assert found(healthy(seed)) == []
    assert unjudged(Evidence(healthy(seed) | {names.COLLAPSE_KL: series(STEPS)})) == []


def test_nothing_at_all_is_not_judged():
    assert found({}) == []
    assert len(unjudged(Evidence({}))) == 3


def test_collapse_by_kl_where_nobody_watched():
    dead = healthy() | {names.TRAIN_KL: series(8 * np.exp(-STEPS / 50))}
    one = only(dead, **{"objective/max_beta": "50.0"})
    assert (one.name, one.level) == (COLLAPSE, Level.RED)
    assert "below 0.01" in one.evidence[0]
    assert "it was 50; try 5" in one.advice[0]


RED = Diagnosis(
    400, Level.RED, (), ("KL divergence too low: 0.001000 < 0.01",), "Lower --objective.max_beta (beta is 50)."
)
BACK = Diagnosis(700, Level.GREEN, (), (), "Nothing to do.")


def test_collapse_by_the_monitor():
    watched = healthy() | {names.COLLAPSE_KL: series(0.001 * FALL), names.COLLAPSE_ACTIVE_UNITS: series(0 * STEPS)}
    one = only(watched, (RED,))
    assert (one.name, one.level) == (COLLAPSE, Level.RED)
    assert one.evidence[0] == "red since step 400: KL divergence too low: 0.001000 < 0.01"
    assert "active units: 0 at step 1,000 (highest 0)" in one.evidence
    assert one.advice[0] == RED.advice


def test_a_collapse_that_has_passed():
    one = only(healthy() | {names.COLLAPSE_KL: series(8 * FALL)}, (RED, BACK))
    assert (one.name, one.level) == (COLLAPSE, Level.YELLOW)
    assert one.evidence[0].startswith("red from step 400 on, back since step 700")


def test_a_run_that_ends_before_it_can_be_judged():
    grace = "grace period until step 2000: it has not been alive yet"
    early = Diagnosis(400, Level.YELLOW, (), ("KL divergence too low", "mutual information too low"), "Lower.", grace)
    one = only(healthy() | {names.COLLAPSE_KL: series(0.001 * FALL)}, (early,))
    assert (one.name, one.level) == (COLLAPSE, Level.YELLOW)
    assert one.evidence[:2] == (
        "it looks collapsed since step 400: KL divergence too low; mutual information too low",
        grace,
    )


def test_an_early_warning_alone_is_no_collapse():
    early = Diagnosis(400, Level.ORANGE, (), ("KL divergence too low",), "Lower beta.", detector="early warning")
    assert found(healthy() | {names.COLLAPSE_KL: series(8 * FALL)}, (early,)) == []


def test_stagnation_is_evidence_of_a_collapse_not_a_second_finding():
    flat = {names.TRAIN_RECON: series(24.0 + 0 * STEPS), names.COLLAPSE_KL: series(0.001 * FALL)}
    one = only(healthy() | flat, (RED,))
    assert one.name == COLLAPSE
    assert "hardly improved" in one.evidence[-1]


def test_overfitting():
    validated = STEPS[9::10]
    rises = series([22, 19, 17.5, 17, 17.2, 17.6, 18, 18.5, 19, 19.5], validated)
    one = only(healthy() | {names.VAL_RECON: rises, "val_auc": series(np.linspace(0.8, 0.7, 10), validated)})
    assert (one.name, one.level) == (OVERFITTING, Level.ORANGE)
    assert "lowest at step 400 (17 nats per set)" in one.evidence[0]
    assert "val_auc fell from 0.800 (step 100) to 0.700" in one.evidence
    assert "--trainer.max_steps 400" in one.advice[0]


def test_both_losses_rising_is_no_overfitting():
    validated = STEPS[9::10]
    up = 15 + STEPS / 200
    rising = {names.VAL_RECON: series(up[9::10], validated), names.TRAIN_RECON: series(up)}
    assert OVERFITTING not in [one.name for one in found(healthy() | rising)]


def test_loss_spikes():
    metrics = healthy()
    loss = metrics[names.TRAIN_LOSS].value_T.copy()
    loss[[40, 70]] += (60.0, 90.0)
    one = only(metrics | {names.TRAIN_LOSS: series(loss)})
    assert (one.name, one.level) == (INSTABILITY, Level.ORANGE)
    assert "spikes at steps 410, 710: up to" in one.evidence[0]
    assert one.advice[0].startswith("Lower --optimizer.lr")


def test_a_gradient_that_explodes():
    metrics = healthy()
    norm = metrics[names.GRADIENT_NORM].value_T.copy()
    norm[60] = 5000.0
    one = only(metrics | {names.GRADIENT_NORM: series(norm)}, **{"trainer/gradient_clip_val": "1.0"})
    assert one.name == INSTABILITY
    assert "explodes at step 610: a norm of up to 5e+03" in one.evidence[0]
    assert "1 is clipped to" in one.evidence[0]


def test_a_gradient_that_vanishes():
    metrics = healthy()
    one = only(metrics | {names.GRADIENT_NORM: series(np.exp(-STEPS / 40.0))})
    assert (one.name, one.level) == (INSTABILITY, Level.ORANGE)
    assert "vanishes" in one.evidence[0]


@pytest.mark.parametrize("broken", [math.nan, 1.797e308])
def test_what_is_no_number(broken):
    metrics = healthy()
    loss = metrics[names.TRAIN_LOSS].value_T.copy()
    loss[-1] = broken
    one = only(metrics | {names.TRAIN_LOSS: series(loss)})
    assert (one.name, one.level) == (INSTABILITY, Level.RED)
    assert one.evidence == ("train_loss is NaN or infinite at step 1,000",)


def test_kl_below_the_normal_range():
    one = only(healthy() | {names.TRAIN_KL: series(0.05 + 5 * np.exp(-STEPS / 50))})
    assert (one.name, one.level) == (STRONG, Level.ORANGE)
    assert "below the normal range of 0.1 to 10" in one.evidence[0]
    assert "it reached 0.1; try 0.033" in one.advice[0]


def test_reconstruction_given_up_as_beta_rises():
    dip = 15 + 10 * np.exp(-STEPS / 100) + 8 * np.maximum(0, STEPS - 300) / 700
    metrics = {
        names.TRAIN_RECON: series(dip),
        names.TRAIN_LOSS: series(dip),
        names.TRAIN_KL: series(20 - 19 * STEPS / 1000),
        names.BETA: series(STEPS / 100.0),
    }
    strong = [one for one in found(healthy() | metrics) if one.name == STRONG]
    assert len(strong) == 1
    assert "the reconstruction has worsened from" in strong[0].evidence[0]


def test_kl_beyond_100():
    one = only(healthy() | {names.TRAIN_KL: series(150 + 50 * FALL)})
    assert (one.name, one.level) == (WEAK, Level.ORANGE)
    assert "above 100" in one.evidence[0]


@pytest.mark.parametrize(
    ("recon", "words"),
    [(np.where(STEPS < 300, 30 - STEPS / 30, 20.0), "stagnates"), (30.0 + 0 * STEPS, "hardly improved")],
)
def test_stagnating_reconstruction(recon, words):
    one = only(healthy() | {names.TRAIN_RECON: series(recon), names.TRAIN_LOSS: series(recon)})
    assert (one.name, one.level) == (STAGNANT, Level.YELLOW)
    assert words in one.evidence[0]
