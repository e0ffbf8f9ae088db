"""What comes after a collapse: a milder objective, from the last healthy checkpoint on."""

from __future__ import annotations

from dataclasses import replace

from seqsetvae.config import PretrainConfig
from seqsetvae.config.settled import SettledConfig, SettledObjective


def milder(config: SettledObjective, how: str, healthy_beta: float | None) -> SettledObjective:
    """An objective under which a posterior that collapsed has a better chance.

    Args:
        config: the objective that it collapsed under.
        how: `lower_beta`: half of the beta at which it was last healthy, or a tenth of max_beta where it never was; `free_bits`: twice as
            many, at least 0.05 nats per dimension, at half the beta; `controller`: hold the KL at kl_target (Shao et al. 2020), at
            twice that where it was held already.
        healthy_beta: weight of the KL term when the posterior was last healthy; None if it never was.

    >>> from seqsetvae.config import ObjectiveConfig
    >>> from seqsetvae.config.settling import settle_objective
    >>> collapsed = settle_objective(ObjectiveConfig(max_beta=50.0), total_steps=400)
    >>> milder(collapsed, "lower_beta", healthy_beta=0.4).max_beta
    0.2
    >>> milder(collapsed, "controller", None).beta_schedule
    'controller'
    """
    if how == "controller":
        held = config.beta_schedule == "controller"
        return replace(config, beta_schedule="controller", kl_target=config.kl_target * (2.0 if held else 1.0))
    if how == "free_bits":
        return replace(config, max_beta=0.5 * config.max_beta, free_bits=max(0.05, 2.0 * config.free_bits))
    bearable = 0.2 * config.max_beta if healthy_beta is None else min(healthy_beta, config.max_beta)
    return replace(config, max_beta=0.5 * bearable)


def rescue_config(config: SettledConfig, attempt: int, healthy_beta: float | None) -> PretrainConfig:
    """Settings of the child run that continues a collapsed one.

    Args:
        config: settings of the run that collapsed.
        attempt: 1 for the first rescue.
        healthy_beta: weight of the KL term when it was last healthy; None if it never was: then nothing is known about which beta the
            posterior can bear, and `auto` leaves finding it to the controller at once.
    """
    how: str = config.monitor.rescue_by
    if how == "auto":
        how = "lower_beta" if attempt == 1 and healthy_beta else "controller"
    left = replace(config.monitor, max_rescues=config.monitor.max_rescues - 1)
    return replace(config, objective=milder(config.objective, how, healthy_beta), monitor=left)
