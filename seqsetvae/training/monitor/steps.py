"""How far a training is, and how far it will go, in the steps that its losses are recorded at."""

from __future__ import annotations

import math

import lightning.pytorch as pl

UNKNOWN_LENGTH = 10_000
"""Steps that a run without an end (`max_epochs=-1`) is taken to have: frequencies and grace period are those of such a run."""


def steps_of(trainer: pl.Trainer) -> int:
    """Optimizer steps so far.

    With several optimizers `global_step` counts each of them, and a step here is a batch, as for Lightning's loggers.
    """
    if len(trainer.optimizers) < 2:
        return int(trainer.global_step)
    return int(trainer.fit_loop.epoch_loop.total_batch_idx) + 1


def expected_steps(trainer: pl.Trainer) -> int:
    """Of the whole run; :data:`UNKNOWN_LENGTH` where it has no end."""
    total = trainer.estimated_stepping_batches
    return int(total) if math.isfinite(total) and total > 0 else UNKNOWN_LENGTH
