"""Scores against scikit-learn, and intervals against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, brier_score_loss, precision_recall_curve, roc_auc_score

from seqsetvae import scores


@pytest.mark.parametrize("decimals", [1, 8])  # 1: mostly ties
def test_scores_are_those_of_sklearn(decimals):
    rng = np.random.default_rng(0)
    label = (rng.random(500) < 0.15).astype(float)
    score = np.clip(0.3 * label + 0.7 * rng.random(500), 0, 1).round(decimals)
    precision, recall, _ = precision_recall_curve(label, score)
    assert scores.auroc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert scores.average_precision(label, score) == pytest.approx(average_precision_score(label, score), abs=1e-12)
    assert scores.auprc_trapezoid(label, score) == pytest.approx(auc(recall, precision), abs=1e-12)
    assert scores.brier(label, score) == pytest.approx(brier_score_loss(label, score), abs=1e-12)
    assert scores.min_precision_recall(label, score) == pytest.approx(np.minimum(precision, recall).max(), abs=1e-12)


def test_true_risks_are_calibrated_and_scaled_ones_are_not():
    rng = np.random.default_rng(1)
    risk = rng.random(20_000)
    label = (rng.random(20_000) < risk).astype(float)
    assert scores.calibration_gap(label, risk) == pytest.approx(0.0, abs=0.01)
    assert scores.calibration_gap(label, risk / 2) == pytest.approx(-0.25, abs=0.01)
    assert all(abs(predicted - observed) < 0.05 for predicted, observed, _ in scores.calibration(label, risk))


def test_the_interval_covers_the_true_auroc_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    true = 0.7602  # of two normal distributions one standard deviation apart: Phi(1 / sqrt 2)
    covered = 0
    for seed in range(60):
        label = (np.arange(200) < 60).astype(float)
        found = scores.with_intervals(label, rng.standard_normal(200) + label, repeats=100, seed=seed)["auroc"]
        assert found.low <= found.value <= found.high
        covered += found.low <= true <= found.high
    assert covered >= 50


def test_one_outcome_only_is_refused():
    with pytest.raises(ValueError, match="both outcomes"):
        scores.with_intervals(np.zeros(5), np.zeros(5))
