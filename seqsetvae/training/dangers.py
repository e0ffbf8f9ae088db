"""What is likely to end in a collapse, said before the first step."""

from __future__ import annotations

from seqsetvae.collapse.forecast import Forecast
from seqsetvae.config.settling import BEARABLE_BETA, LEAST_BETA_WARMUP, gentle_warmup
from seqsetvae.training.beta_forecast import forecast_for
from seqsetvae.training.outlook import beta_outlook
from seqsetvae.training.plan import Plan

TOO_FAST = 1.5
"""Times the beta that is borne after so many steps, from which on a run is warned of."""


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
    beta_at = beta_outlook(objective, total).beta_at
    steps = min(LEAST_BETA_WARMUP, total)
    if beta_at is None or objective.free_bits > 0.0:  # a controller lowers it, and free bits cost nothing
        return ""
    beta = max(beta_at(step) for step in range(steps))
    if beta <= TOO_FAST * BEARABLE_BETA:
        return ""
    needed = gentle_warmup(objective.max_beta)
    remedy = (
        f"give --objective.beta_warmup_steps {needed}"
        if needed <= total
        else f"a run of {total} steps is too short for it: lower --objective.max_beta, or train {needed} steps and more"
    )
    return (
        f"beta is {beta:.2g} within the first {steps} steps, in which a decoder learns to listen if it is no more than {BEARABLE_BETA:g}; "
        f"{remedy}."
    )
