"""What is known of a training before it starts: its length, and the course of beta."""

from __future__ import annotations

import math

import lightning.pytorch as pl

from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.config.settled import SettledObjective
from seqsetvae.config.settling import first_height
from seqsetvae.errors import InputError
from seqsetvae.objective import scheduled_beta


def planned_steps(trainer: pl.Trainer) -> int:
    """Optimizer steps that a trainer is going to make.

    Raises:
        InputError: it has no end.
    """
    steps = trainer.estimated_stepping_batches
    if not math.isfinite(steps):
        raise InputError(
            "The trainer has no end, on which schedules and thresholds depend: give it max_epochs or max_steps."
        )
    return int(steps)


def beta_outlook(config: SettledObjective, total_steps: int) -> BetaOutlook:
    """What is known beforehand about beta."""
    if config.beta_schedule == "controller":
        return BetaOutlook(total_steps)
    height = first_height(config, total_steps)
    return BetaOutlook(total_steps, height, lambda step: scheduled_beta(config, step, total_steps))
