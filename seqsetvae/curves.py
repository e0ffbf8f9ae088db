"""ROC, precision-recall and decision curves with bootstrap bands: what a model offers at each threshold, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from seqsetvae.scores import Floats, both_occur, resamples

GRID = np.linspace(0.0, 1.0, 101)
"""Of false positive rates and of recalls."""
THRESHOLDS = np.linspace(0.01, 0.6, 60)
"""Risks from which on someone would act."""


@dataclass(frozen=True)
class Band:
    """A curve over a grid with its pointwise 95 % interval over resampled subjects."""

    x_T: Floats
    y_T: Floats
    low_T: Floats
    high_T: Floats


def roc_curve(label_B: Floats, risk_B: Floats) -> Floats:
    """True positive rate at each false positive rate of :data:`GRID`, ties of risk resolved along a straight line.

    >>> roc_curve(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8]))[[0, 50, 100]].tolist()
    [1.0, 1.0, 1.0]
    """
    true_T, false_T = _counts(label_B, risk_B)
    return np.interp(GRID, false_T / false_T[-1], true_T / true_T[-1])


def precision_recall_curve(label_B: Floats, risk_B: Floats) -> Floats:
    """Precision at the least number of alarms that reaches each recall of :data:`GRID`.

    >>> found = precision_recall_curve(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.5, 0.4, 0.35, 0.8]))
    >>> found[[0, 50, 51, 100]].round(3).tolist()
    [1.0, 1.0, 0.667, 0.667]
    """
    true_T, false_T = _counts(label_B, risk_B)
    first_T = np.maximum(1, np.searchsorted(true_T, GRID * true_T[-1] - 1e-9))
    return true_T[first_T] / (true_T + false_T)[first_T]


def net_benefit(label_B: Floats, risk_B: Floats) -> Floats:
    """Net benefit of acting from each of :data:`THRESHOLDS` on, true positives per subject (Vickers & Elkin 2006).

    >>> found = net_benefit(np.array([0.0, 1.0]), np.array([0.3, 0.9]))
    >>> found[[0, 28, 59]].round(3).tolist()  # thresholds of 1, 29 and 60 %: act on both, both, one
    [0.495, 0.296, 0.5]
    """
    act_TB = risk_B >= THRESHOLDS[:, None]
    odds_T = THRESHOLDS / (1.0 - THRESHOLDS)
    return (act_TB * label_B).mean(1) - odds_T * (act_TB * (1.0 - label_B)).mean(1)


def net_benefit_of_all(label_B: Floats) -> Floats:
    """The same of acting on everyone."""
    return net_benefit(label_B, np.ones_like(label_B))


CURVES: Mapping[str, tuple[Floats, Callable[[Floats, Floats], Floats]]] = {
    "roc": (GRID, roc_curve),
    "precision_recall": (GRID, precision_recall_curve),
    "net_benefit": (THRESHOLDS, net_benefit),
}
"""Grid and curve by name."""


def bands(label_B: Floats, risk_B: Floats, repeats: int, seed: int = 0) -> dict[str, Band]:
    """Every curve of one model; the resampled subjects are the same for every model.

    Args:
        label_B: 0 or 1, both of which occur.
        risk_B: of the same subjects.
        repeats: resamples.
        seed: of the resamples.
    """
    drawn: dict[str, list[Floats]] = {name: [] for name in CURVES}
    for rows in resamples(label_B, both_occur, repeats, seed):
        for name, (_, curve) in CURVES.items():
            drawn[name].append(curve(label_B[rows], risk_B[rows]))
    found = {}
    for name, (x_T, curve) in CURVES.items():
        low_T, high_T = np.quantile(drawn[name], (0.025, 0.975), axis=0)
        found[name] = Band(x_T, curve(label_B, risk_B), low_T, high_T)
    return found


def _counts(label_B: Floats, risk_B: Floats) -> tuple[Floats, Floats]:
    """True and false positives of each threshold, the highest first, beginning with no alarm at all; equal risks are one threshold."""
    order_B = np.argsort(-risk_B, kind="stable")
    last_T = np.append(np.flatnonzero(np.diff(risk_B[order_B])), len(risk_B) - 1)
    true_B = np.cumsum(label_B[order_B])
    true_T = np.append(0.0, true_B[last_T])
    return true_T, np.append(0.0, last_T + 1.0) - true_T
