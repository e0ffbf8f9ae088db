"""What a trial is judged by. Pure.

Scores hold no beta: the validation NLL is -E log p(set | history), and whether the latents are in use is asked of the posterior itself.
The ELBO would not do. It subtracts the KL, so of two models that reconstruct about equally well it prefers the one whose latents
carry less; a decoder that is strong enough to go without them wins with a KL of 0, which is the collapse that is to be avoided.
The NLL alone would not do either: it is lowest where beta is. Hence NLL under constraints, or the front of both (`pareto`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from seqsetvae import names
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import TuneConfig
from seqsetvae.config.settled import SettledMonitor


@dataclass(frozen=True)
class TrialHealth:
    """What the monitor measured last in a trial, and how bad it ever was; nothing of it depends on beta."""

    worst: Level
    active_units_ratio: float
    mutual_information: float
    decoder_use: float | None

    @classmethod
    def of(cls, last: CollapseStatistics, worst: Level) -> TrialHealth:
        return cls(worst, last.active_units_ratio, last.mutual_information, last.heard)

    def attributes(self) -> dict[str, float | str | None]:
        """As recorded with the trial."""
        return {
            "level": self.worst.word,
            "active_units_ratio": self.active_units_ratio,
            "mutual_information": self.mutual_information,
            "decoder_use": self.decoder_use,
        }


def constraints(evidence: TrialHealth, thresholds: SettledMonitor) -> dict[str, float]:
    """How far each condition is missed: kept where 0 or less.

    Those of latents in use are relative to their threshold, so that none of them outweighs the others.

    >>> from seqsetvae.config import MonitorConfig
    >>> from seqsetvae.config.settling import settle_monitor
    >>> limits = settle_monitor(MonitorConfig(), total_steps=400)
    >>> constraints(TrialHealth(Level.GREEN, 0.05, 2.0, 0.5), limits)["active_units"]
    0.5
    """
    measured = {
        "active_units": (evidence.active_units_ratio, thresholds.active_units_threshold),
        "mutual_information": (evidence.mutual_information, thresholds.mutual_information_threshold),
    }
    if evidence.decoder_use is not None:
        measured["decoder_use"] = (evidence.decoder_use, thresholds.decoder_use_threshold)
    missed = {
        name: (limit - value) / limit if math.isfinite(value) else 1.0 for name, (value, limit) in measured.items()
    }
    return {**missed, "never_red": 1.0 if evidence.worst == Level.RED else 0.0}


def directions(config: TuneConfig) -> list[Literal["minimize", "maximize"]]:
    """Of the values of a trial, in Optuna's words."""
    return ["minimize"] if config.goal == "constrained" else ["minimize", "maximize"]


def values(val_metrics: Mapping[str, float], evidence: TrialHealth, config: TuneConfig) -> list[float]:
    """What Optuna compares: validation NLL, and with `pareto` the information in the latents, or minus what the history misses.

    >>> values({"val_recon": 12.5}, TrialHealth(Level.GREEN, 0.5, 2.0, 0.5), TuneConfig(goal="pareto"))
    [12.5, 2.0]
    """
    nll = val_metrics[names.VAL_RECON]
    if config.goal == "constrained":
        return [nll]
    second = {
        "mutual_information": evidence.mutual_information,
        "active_units": evidence.active_units_ratio,
        "history": -history_missed(val_metrics),
    }
    return [nll, second[config.against]]


def history_missed(val_metrics: Mapping[str, float]) -> float:
    """What the heads on the history miss on the validation split, of the past and of what comes; 0 of a model without them.

    >>> history_missed({"val_remember": 0.25, "val_foresee": 0.5, "val_recon": 12.0})
    0.75
    """
    return sum(val_metrics.get(name, 0.0) for name in names.VAL_HISTORY[:2])
