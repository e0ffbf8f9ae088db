"""Instability, as the source guides have it: loss spikes, gradients that explode or vanish, and figures that are no numbers. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from seqsetvae import names
from seqsetvae.analysis.findings import Finding, steps_in_words
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.tracking.read.recorded_run import Series
from seqsetvae.tracking.read.smoothing import finite, running_median, tail

INSTABILITY = "instability"
NEIGHBORS = 11
"""Points around one that it is held against."""
LEAST_POINTS = 2 * NEIGHBORS
SPIKE, SPIKE_SIGMAS = 0.5, 10.0
"""A loss above the median of its neighbors by this share of it, and by so many times the scatter around it, is a spike."""
EXPLODES = 20.0
"""A gradient norm above this multiple of the median of its neighbors, and of the clipping norm, explodes."""
VANISHES = 1e-6
"""Gradient norm below which nothing is learned any more."""
START = 0.05
"""Share of a run whose first fall is no spike."""


def instability(metrics: Mapping[str, Series], clip: float | None) -> Finding | None:
    """What speaks for instability.

    Args:
        metrics: all of a run.
        clip: norm that gradients are clipped to; None or 0: they are not.
    """
    said, worst = [], Level.YELLOW
    for key in (names.TRAIN_LOSS, names.VAL_LOSS, names.TRAIN_KL, names.GRADIENT_NORM):
        series = metrics.get(key)
        if series is not None and (broken_T := ~(np.abs(series.value_T) < 1e300)).any():
            said.append(f"{key} is NaN or infinite at {steps_in_words(series.step_T[broken_T])}")
            worst = Level.RED
    loss = finite(metrics.get(names.TRAIN_LOSS))
    if loss is not None and (spiked := spikes(loss)).any():
        highest = int(np.flatnonzero(spiked)[np.argmax(loss.value_T[spiked])])
        usual = running_median(loss.value_T, NEIGHBORS)[highest]
        said.append(
            f"the loss spikes at {steps_in_words(loss.step_T[spiked])}: up to {loss.value_T[highest]:.4g} where {usual:.4g} is usual"
        )
        worst = max(worst, Level.ORANGE if spiked.sum() > 1 else Level.YELLOW)
    norm = finite(metrics.get(names.GRADIENT_NORM))
    if norm is not None and (exploded := explosions(norm, clip)).any():
        highest = int(np.flatnonzero(exploded)[np.argmax(norm.value_T[exploded])])
        said.append(
            f"the gradient explodes at {steps_in_words(norm.step_T[exploded])}: a norm of up to {norm.value_T[highest]:.3g}, where "
            f"{np.median(norm.value_T):.3g} is usual"
            + (f" and {clip:g} is clipped to" if clip else " and nothing is clipped")
        )
        worst = max(worst, Level.ORANGE)
    if norm is not None and len(norm) >= LEAST_POINTS and tail(norm) < VANISHES:
        said.append(f"the gradient vanishes: a norm of {tail(norm):.2g} at the end")
        worst = max(worst, Level.ORANGE)
    if not said:
        return None
    return Finding(INSTABILITY, worst, tuple(said), _advice(clip))


def spikes(loss: Series) -> NDArray[np.bool_]:
    """Which points of a loss stand out from their neighbors.

    >>> series = Series.of(range(60), range(60), [30.0 - 0.1 * t + 40 * (t == 40) for t in range(60)])
    >>> np.flatnonzero(spikes(series)).tolist()
    [40]
    """
    if len(loss) < LEAST_POINTS:
        return np.zeros(len(loss), np.bool_)
    usual_T = running_median(loss.value_T, NEIGHBORS)
    above_T = loss.value_T - usual_T
    scatter = 1.4826 * float(np.median(np.abs(above_T)))
    found_T = (above_T > SPIKE * np.abs(usual_T)) & (above_T > SPIKE_SIGMAS * scatter)
    found_T[: max(NEIGHBORS // 2, int(START * len(loss)))] = False
    return np.asarray(found_T, np.bool_)


def explosions(norm: Series, clip: float | None) -> NDArray[np.bool_]:
    """Which gradient norms are far out of proportion."""
    if len(norm) < LEAST_POINTS:
        return np.zeros(len(norm), np.bool_)
    usual_T = np.maximum(running_median(norm.value_T, NEIGHBORS), float(np.median(norm.value_T)))
    found_T = norm.value_T > EXPLODES * np.maximum(usual_T, clip or 0.0)
    found_T[: int(START * len(norm))] = False
    return np.asarray(found_T, np.bool_)


def _advice(clip: float | None) -> tuple[str, ...]:
    clipping = "Lower --trainer.gradient_clip_val" if clip else "Switch clipping on: --trainer.gradient_clip_val 1.0"
    return (
        "Lower --optimizer.lr (a third), or lengthen --optimizer.lr_warmup_steps.",
        f"{clipping}{f' (it is {clip:g})' if clip else ''}.",
        "A beta that rises too fast does this as well: lengthen --objective.beta_warmup_steps.",
        "Look for extreme values in the data: `seqsetvae check --store STORE`, and the report of `seqsetvae prepare`.",
    )
