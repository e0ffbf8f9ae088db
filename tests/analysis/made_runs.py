"""Histories whose diagnosis is known, made of a few numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from seqsetvae import names
from seqsetvae.tracking.read.recorded_run import RecordedRun, Series

STEPS = 10 * np.arange(1, 101)


def series(values: Sequence[float] | np.ndarray, steps: Sequence[int] | np.ndarray = STEPS) -> Series:
    return Series.of(steps, 1000 * np.asarray(steps), values)


def healthy(seed: int = 0) -> dict[str, Series]:
    """A noisy run that learns to its end: 100 points of training, 10 validations."""
    rng = np.random.default_rng(seed)
    fall = np.exp(-STEPS / 400)
    recon = 15 + 15 * fall + rng.normal(0, 0.4, 100)
    beta = np.minimum(1.0, STEPS / 200) * 0.1
    kl = 8 + 20 * fall**3 + rng.normal(0, 0.2, 100)
    validated = STEPS[9::10]
    return {
        names.TRAIN_RECON: series(recon),
        names.TRAIN_KL: series(kl),
        names.TRAIN_LOSS: series(recon + beta * kl),
        names.BETA: series(beta),
        names.GRADIENT_NORM: series(rng.lognormal(2.0, 0.4, 100)),
        names.VAL_RECON: series(16 + 15 * fall[9::10], validated),
        names.VAL_KL: series(kl[9::10], validated),
        names.VAL_LOSS: series(16 + 15 * fall[9::10] + kl[9::10], validated),
    }


def run(metrics: Mapping[str, Series], **params: str) -> RecordedRun:
    return RecordedRun("0123456789abcdef", "made", "FINISHED", "exp", 0.0, 2000.0, params, {}, metrics)
