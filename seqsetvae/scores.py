"""How good predictions are, of risks above all: pure functions of labels (0 or 1) and scores, with bootstrap intervals. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Score = Callable[[Floats, Floats], float]
Curve = list[tuple[float, float, int]]
"""Of groups of subjects: mean prediction, mean or share observed, how many."""


def auroc(label_B: Floats, score_B: Floats) -> float:
    """Area under the ROC curve: the share of pairs in the right order, ties half.

    >>> auroc(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    _, place_B, count = np.unique(score_B, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - 0.5 * (count - 1)  # mean rank of each distinct score, from 1
    positives = label_B.sum()
    negatives = len(label_B) - positives
    return float((rank[place_B][label_B > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def precision_recall(label_B: Floats, score_B: Floats) -> tuple[Floats, Floats]:
    """Precision and recall at each distinct score as threshold, highest first."""
    order_B = np.argsort(-score_B, kind="stable")
    true_B = np.cumsum(label_B[order_B])
    ends = np.flatnonzero(np.append(np.diff(score_B[order_B]) != 0, True))
    return true_B[ends] / (ends + 1), true_B[ends] / true_B[-1]


def average_precision(label_B: Floats, score_B: Floats) -> float:
    """Step-wise area under the precision-recall curve, as sklearn's `average_precision_score`.

    >>> round(average_precision(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8])), 4)
    0.8333
    """
    precision, recall = precision_recall(label_B, score_B)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def auprc_trapezoid(label_B: Floats, score_B: Floats) -> float:
    """Area under the linearly interpolated precision-recall curve, which starts at (0, 1); mostly above the step-wise one.

    >>> round(auprc_trapezoid(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8])), 4)
    0.7917
    """
    precision, recall = precision_recall(label_B, score_B)
    return float(np.trapezoid(np.append(1.0, precision), np.append(0.0, recall)))


def min_precision_recall(label_B: Floats, score_B: Floats) -> float:
    """The greatest min(precision, recall) of any threshold (score 1 of the PhysioNet 2012 challenge)."""
    return float(np.minimum(*precision_recall(label_B, score_B)).max())


def brier(label_B: Floats, score_B: Floats) -> float:
    """Mean squared difference between risk and outcome."""
    return float(((score_B - label_B) ** 2).mean())


def calibration_gap(label_B: Floats, score_B: Floats) -> float:
    """Calibration in the large: mean predicted risk - observed share. Above 0: risks are too high.

    The absolute gaps of a calibration curve make no such score: resampling alone makes them larger.
    """
    return float(score_B.mean() - label_B.mean())


def calibration(label_B: Floats, score_B: Floats, groups: int = 10) -> Curve:
    """The calibration curve: (mean predicted risk, observed share, subjects) of groups of equal size, lowest risk first.

    >>> calibration(np.array([0.0, 1.0, 1.0, 1.0]), np.array([0.1, 0.3, 0.8, 0.9]), groups=2)
    [(0.2, 0.5, 2), (0.85, 1.0, 2)]
    """
    parts = np.array_split(np.argsort(score_B, kind="stable"), min(groups, len(label_B)))
    return [(round(float(score_B[part].mean()), 6), float(label_B[part].mean()), len(part)) for part in parts]


SCORES: Mapping[str, Score] = {
    "auroc": auroc,
    "auprc_average_precision": average_precision,
    "auprc_trapezoid": auprc_trapezoid,
    "min_precision_recall": min_precision_recall,
    "brier": brier,
    "calibration_gap": calibration_gap,
}
"""All scores of an evaluation, by the name that they are recorded under."""


@dataclass(frozen=True)
class Interval:
    """A score with its 95 % bootstrap interval.

    >>> print(Interval(0.785, 0.755, 0.815), Interval(-0.0004, -0.014, 0.012))
    0.785 (0.755-0.815) -0.000 (-0.014 to 0.012)
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}{' to ' if self.low < 0 else '-'}{self.high:.3f})"


def with_intervals(label_B: Floats, score_B: Floats, repeats: int = 500, seed: int = 0) -> dict[str, Interval]:
    """Every score with the percentile interval over resampled subjects (the same ones for every score, and for every model).

    Raises:
        ValueError: only one of the two outcomes occurs.
    """
    if not both_occur(label_B):
        raise ValueError("both outcomes must occur")
    return intervals(SCORES, both_occur, label_B, score_B, repeats, seed)


def resamples(label: Floats, usable: Callable[[Floats], bool], repeats: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Rows of subjects drawn with replacement, the same ones for every model and score; without those that cannot be scored."""
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        rows = rng.integers(0, len(label), len(label))
        if usable(label[rows]):
            yield rows


def intervals(
    scores: Mapping[str, Score],
    usable: Callable[[Floats], bool],
    label: Floats,
    answer: Floats,
    repeats: int = 500,
    seed: int = 0,
) -> dict[str, Interval]:
    """As :func:`with_intervals`, of any scores of labels and answers whose first dimension are the subjects.

    Args:
        scores: by name.
        usable: whether labels that were drawn can be scored.
        label: what came.
        answer: what was predicted.
        repeats: resamples.
        seed: of the resamples.
    """
    drawn: dict[str, list[float]] = {name: [] for name in scores}
    for rows in resamples(label, usable, repeats, seed):
        for name, score in scores.items():
            drawn[name].append(score(label[rows], answer[rows]))
    return {
        name: Interval(score(label, answer), *_quantiles([x for x in drawn[name] if not np.isnan(x)]))
        for name, score in scores.items()
    }


def _quantiles(drawn: list[float]) -> tuple[float, float]:
    low, high = np.quantile(drawn or [float("nan")], (0.025, 0.975)).tolist()
    return low, high


def both_occur(label_B: Floats) -> bool:
    """Whether there are labels 0 and labels 1."""
    return bool(0 < label_B.sum() < len(label_B))


def difference(
    label_B: Floats, first_B: Floats, second_B: Floats, score: Score, repeats: int = 500, seed: int = 0
) -> Interval:
    """By how much the first model scores higher than the second on the same subjects, with the interval of the paired bootstrap.

    >>> label_B, perfect_B = np.tile([0.0, 1.0], 50), np.tile([0.1, 0.9], 50)
    >>> print(difference(label_B, perfect_B, np.zeros(100), auroc))
    0.500 (0.500-0.500)
    """
    drawn = [
        score(label_B[rows], first_B[rows]) - score(label_B[rows], second_B[rows])
        for rows in resamples(label_B, both_occur, repeats, seed)
    ]
    found = score(label_B, first_B) - score(label_B, second_B)
    return Interval(found, *np.quantile(drawn, (0.025, 0.975)).tolist())
