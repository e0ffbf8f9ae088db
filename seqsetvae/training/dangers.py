"""What is likely to end in a collapse, said before the first step."""

from __future__ import annotations

from seqsetvae.collapse.forecast import Forecast
from seqsetvae.config import ObjectiveConfig
from seqsetvae.config.settled import SettledObjective
from seqsetvae.config.settling import BEARABLE_BETA, LEAST_BETA_WARMUP, TOO_HIGH_BETA, settle_objective
from seqsetvae.objective import scheduled_beta
from seqsetvae.training.beta_forecast import forecast_for
from seqsetvae.training.plan import Plan


def dangers(plan: Plan, told: Forecast | None = None) -> list[str]:
    """In words, empty where there is none: beta rises before the decoder can have learned to listen, or to where nothing survives.

    Args:
        plan: the run.
        told: of its data. None: they are looked at where more is asked for than is always borne, which takes a second.
    """
    max_beta = plan.config.objective.max_beta
    if (
        told is None and max_beta > BEARABLE_BETA and plan.config.model.prior != "learned"
    ):  # for which nothing can be told
        told = forecast_for(plan)
    found = [too_fast(plan), told.advice(max_beta) if told is not None else ""]
    return [f"Likely to collapse: {danger}" for danger in found if danger]


def too_fast(plan: Plan) -> str:
    """What to say of a beta that is high while the decoder cannot have learned to listen; empty where it is not."""
    objective, total = plan.config.objective, plan.total_steps
    if (
        objective.beta_schedule == "controller" or objective.free_bits > 0.0
    ):  # the one lowers it, the others cost nothing
        return ""
    beta = early_beta(objective, total)
    if beta <= TOO_HIGH_BETA:
        return ""
    by_itself = settle_objective(ObjectiveConfig(max_beta=objective.max_beta), total)
    remedy = (
        "Give --objective.max_beta alone: the warm-up to it is then slow enough"
        if early_beta(by_itself, total) <= TOO_HIGH_BETA
        else "The run is too short for it: lower --objective.max_beta, or train longer"
    )
    steps = min(LEAST_BETA_WARMUP, total)
    return (
        f"beta is {beta:.2g} within the first {steps} steps, in which a decoder learns to listen if it is no more than {BEARABLE_BETA:g}. "
        f"{remedy}."
    )


def early_beta(objective: SettledObjective, total_steps: int) -> float:
    """The highest weight of the KL term in the steps in which a decoder learns to listen."""
    return max(scheduled_beta(objective, step, total_steps) for step in range(min(LEAST_BETA_WARMUP, total_steps)))
