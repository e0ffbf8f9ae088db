"""ROC, precision-recall and decision curves against scikit-learn and sums by hand; their bands hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from seqsetvae.curves import (
    CURVES,
    GRID,
    THRESHOLDS,
    bands,
    net_benefit,
    net_benefit_of_all,
    precision_recall_curve,
    roc_curve,
)


def drawn(seed: int, stays: int = 400) -> tuple[np.ndarray, np.ndarray]:
    dice = np.random.default_rng(seed)
    label = (dice.random(stays) < 0.2).astype(float)
    risk = 1.0 / (1.0 + np.exp(-(label * 1.5 - 1.5 + dice.normal(size=stays))))
    return label, np.round(risk, 2)  # with ties


def test_curves_are_those_of_scikit_learn():
    label, risk = drawn(0)
    false, true, _ = metrics.roc_curve(label, risk, drop_intermediate=False)
    np.testing.assert_allclose(roc_curve(label, risk)[1:], np.interp(GRID, false, true)[1:])
    assert np.trapezoid(roc_curve(label, risk), GRID) == pytest.approx(metrics.roc_auc_score(label, risk), abs=0.003)
    precision, recall, _ = metrics.precision_recall_curve(label, risk)
    for x, found in zip(GRID[1:], precision_recall_curve(label, risk)[1:], strict=True):
        least = recall[recall >= x - 1e-9].min()  # the least recall that reaches it, at the highest threshold
        assert found == pytest.approx(precision[recall == least].max())


def test_net_benefit_counts_true_and_false_alarms():
    label, risk = drawn(1)
    for threshold, found in zip(THRESHOLDS, net_benefit(label, risk), strict=True):
        alarm = risk >= threshold
        right = (alarm & (label == 1)).sum() - threshold / (1 - threshold) * (alarm & (label == 0)).sum()
        assert found == pytest.approx(right / len(label))
    assert net_benefit_of_all(label)[9] == pytest.approx(label.mean() - 1 / 9 * (1 - label.mean()))


def test_bands_hold_the_curve_of_all_patients_in_95_of_100_samples():
    truth = {name: curve(*drawn(99, 100_000)) for name, (_, curve) in CURVES.items()}
    inside = []
    for seed in range(40):
        for name, band in bands(*drawn(seed + 100), repeats=60).items():
            middle = slice(10, 45)
            inside.append((band.low_T <= truth[name])[middle] & (truth[name] <= band.high_T)[middle])
    assert np.mean(inside) == pytest.approx(0.93, abs=0.04)
