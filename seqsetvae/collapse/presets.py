"""The guides' presets, and the settings that a run gets from them and from its length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seqsetvae.config import MonitorConfig
from seqsetvae.errors import InputError

PRESETS: dict[tuple[str, bool], dict[str, int | float]] = {
    ("standard", False): {"update_frequency": 50, "plot_frequency": 500, "window_size": 100},
    ("standard", True): {
        "update_frequency": 20,
        "plot_frequency": 200,
        "window_size": 50,
        "kl_threshold": 0.005,
        "var_threshold": 0.05,
        "active_units_threshold": 0.15,
        "early_stop_patience": 100,
    },
    ("optimized", False): {"update_frequency": 200, "plot_frequency": 2000, "window_size": 50},
    ("optimized", True): {"update_frequency": 100, "plot_frequency": 1000, "window_size": 50},
}
"""The guides' presets: (preset, fast_detection) -> what differs from the standard thresholds."""
LEAST_GRACE = 100
"""Optimizer steps in which no network has learned enough to be judged."""
STANDARD = {"kl_threshold": 0.01, "var_threshold": 0.1, "active_units_threshold": 0.1, "early_stop_patience": 200}


def check_frequency(config: MonitorConfig, step: int) -> int:
    """Optimizer steps between two checks at this step; the guides' staged frequency with `adaptive`.

    >>> [check_frequency(MonitorConfig(adaptive=True), step) for step in (0, 1000, 5000)]
    [100, 50, 20]
    """
    if config.adaptive:
        return 100 if step < 1000 else 50 if step < 5000 else 20
    assert config.check_frequency is not None
    return config.check_frequency


def resolve_monitor(config: MonitorConfig, total_steps: int, warmup_steps: int = 0) -> MonitorConfig:
    """Fill the gaps from the preset and the length of the run: a short run is looked at about 40 times.

    Args:
        config: the settings with gaps.
        total_steps: optimizer steps of the run.
        warmup_steps: optimizer steps until beta is at its height for the first time.

    Raises:
        InputError: a frequency that the run is too short for.

    >>> resolved = resolve_monitor(MonitorConfig(fast_detection=True), total_steps=400, warmup_steps=80)
    >>> resolved.update_frequency, resolved.kl_threshold, resolved.early_stop_patience, resolved.grace_steps
    (10, 0.005, 2, 100)
    """
    preset = STANDARD | PRESETS[config.preset, config.fast_detection]
    given = {key: getattr(config, key) for key in preset if getattr(config, key) is not None}
    for name in ("update_frequency", "check_frequency", "plot_frequency"):
        value = getattr(config, name)
        if value is not None and value > total_steps:
            raise InputError(
                f"--monitor.{name} is {value}, but the whole run has only {total_steps} optimizer steps: nothing would ever be seen. "
                "Lower it, or leave it out."
            )
    settled: dict[str, Any] = preset | given
    if config.update_frequency is None:
        settled["update_frequency"] = max(1, min(int(settled["update_frequency"]), total_steps // 40))
    if config.plot_frequency is None:
        settled["plot_frequency"] = max(1, min(int(settled["plot_frequency"]), total_steps // 4))
    settled["check_frequency"] = config.check_frequency or settled["update_frequency"]
    if config.early_stop_patience is None:
        checks = total_steps // settled["check_frequency"]
        settled["early_stop_patience"] = max(1, min(int(settled["early_stop_patience"]), checks // 20))
    if config.grace_steps is None:
        settled["grace_steps"] = max(warmup_steps, total_steps // 10, LEAST_GRACE)
    return replace(config, **settled)
