"""Settings of a run that is about to start: of the same names as those that were given, but nothing is left to be decided.

They are made by :mod:`seqsetvae.config.settling` alone. What works with the numbers of a run takes these and no others, so that a gap can
never be read as a value.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from seqsetvae.config.monitor import MonitorConfig
from seqsetvae.config.pretrain import DataConfig, ObjectiveConfig, OptimizerConfig, PretrainConfig, TrainerConfig


class _WithoutGaps:
    """Refuses None where a settled class asks for a value."""

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]
        for one in fields(self):  # type: ignore[arg-type]
            if one.default is MISSING and getattr(self, one.name) in (None, "auto"):
                raise TypeError(
                    f"{type(self).__name__}.{one.name} is {getattr(self, one.name)!r}, but must be settled."
                )


@dataclass(frozen=True, kw_only=True)
class SettledData(_WithoutGaps, DataConfig):
    """Data and batches, for the device that is trained on."""

    batch_size: int = field()
    num_workers: int = field()
    pin_memory: bool = field()


@dataclass(frozen=True, kw_only=True)
class SettledObjective(_WithoutGaps, ObjectiveConfig):
    """The course of beta in a run of known length."""

    beta: None = None
    """Said by `beta_schedule` and `max_beta`."""
    beta_warmup_steps: int = field()
    """Optimizer steps; looked at where the schedule is `linear`."""
    beta_warmup_power: float = field()
    hide_values: float = field()


@dataclass(frozen=True, kw_only=True)
class SettledOptimizer(_WithoutGaps, OptimizerConfig):
    """The course of the learning rate in a run of known length."""

    lr_warmup_steps: int = field()


@dataclass(frozen=True, kw_only=True)
class SettledTrainer(_WithoutGaps, TrainerConfig):
    """A device that is there, and a precision that it has."""

    accelerator: Literal["cpu", "gpu"] = field()
    precision: Literal["32", "16-mixed", "bf16-mixed"] = field()


@dataclass(frozen=True, kw_only=True)
class SettledMonitor(_WithoutGaps, MonitorConfig):
    """Thresholds and frequencies, from the preset and the length of the run."""

    update_frequency: int = field()
    check_frequency: int = field()
    plot_frequency: int = field()
    window_size: int = field()
    kl_threshold: float = field()
    active_units_threshold: float = field()
    var_threshold: float = field()
    grace_steps: int = field()
    early_stop_patience: int = field()

    def check_every(self, step: int) -> int:
        """Optimizer steps between two checks at this step; the guides' staged frequency with `adaptive`."""
        if self.adaptive:
            return 100 if step < 1000 else 50 if step < 5000 else 20
        return self.check_frequency


@dataclass(frozen=True, kw_only=True)
class SettledConfig(PretrainConfig):
    """All settings of a run, as recorded with it. A model settles its own two gaps, from the number of its variables."""

    data: SettledData = field()
    objective: SettledObjective = field()
    optimizer: SettledOptimizer = field()
    trainer: SettledTrainer = field()
    monitor: SettledMonitor = field()


def require_settled(config: object, kind: type[Any], how: str) -> None:
    """Refuse settings that may have gaps where settled ones are needed.

    Raises:
        TypeError: `config` is not of the settled class `kind`; `how` is the function that makes one.
    """
    if not isinstance(config, kind):
        raise TypeError(
            f"{type(config).__name__} may leave things to be decided, and {kind.__name__} is needed: make it with "
            f"seqsetvae.config.settling.{how}."
        )
