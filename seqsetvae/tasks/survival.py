"""What survival analysis needs beside a model: Kaplan-Meier, Harrell's C, the Brier score under censoring. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
AT_ONCE = 256
"""Events whose pairs are compared together."""


def kaplan_meier(hours_B: Floats, event_B: Floats, at: Floats, *, before: bool = False) -> Floats:
    """Share without the event at some times (Kaplan and Meier 1958); with `before` just before them.

    >>> kaplan_meier(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 0, 1, 1]), np.array([0.5, 1.0, 2.0, 3.0])).round(3).tolist()
    [1.0, 0.75, 0.5, 0.0]
    """
    time, place_B = np.unique(hours_B, return_inverse=True)
    events = np.bincount(place_B, event_B, minlength=len(time))
    at_risk = len(hours_B) - np.concatenate(([0], np.cumsum(np.bincount(place_B, minlength=len(time)))[:-1]))
    share = np.concatenate(([1.0], np.cumprod(1.0 - events / at_risk)))
    return np.asarray(share[np.searchsorted(time, at, side="left" if before else "right")])


def concordance(hours_B: Floats, event_B: Floats, score_B: Floats) -> float:
    """Harrell's C (1982): of the pairs whose order is known, the share in which the one with the earlier event has the higher score.

    >>> concordance(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 1.0]), np.array([0.9, 0.1, 0.5]))
    1.0
    """
    right = pairs = 0.0
    for rows in np.array_split(np.flatnonzero(event_B > 0), max(1, -(-int(event_B.sum()) // AT_ONCE))):
        hours, score = hours_B[rows, None], score_B[rows, None]
        later = (hours < hours_B) | ((hours == hours_B) & (event_B == 0))
        right += float((later & (score > score_B)).sum()) + 0.5 * float((later & (score == score_B)).sum())
        pairs += float(later.sum())
    return right / pairs if pairs else float("nan")


def brier_under_censoring(hours_B: Floats, event_B: Floats, risk_BJ: Floats, at: Floats) -> float:
    """Mean over some times of the squared difference between risk and outcome; stays that are lost before count through those that are not.

    Weights are the inverse probability of being observed (Graf et al. 1999). Times at which nobody is left are passed over.
    """
    observed_B = kaplan_meier(hours_B, 1.0 - event_B, hours_B, before=True)
    found = []
    for time, risk_B, observed in zip(at, risk_BJ.T, kaplan_meier(hours_B, 1.0 - event_B, at), strict=True):
        if observed > 0:
            had_B, not_yet_B = (hours_B <= time) & (event_B > 0), hours_B > time
            weight_B = had_B / np.where(had_B, observed_B, 1.0) + not_yet_B / observed
            found.append(float((weight_B * (had_B - risk_B) ** 2).mean()))
    return float(np.mean(found)) if found else float("nan")
