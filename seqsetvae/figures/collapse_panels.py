"""What each small panel of the collapse figure shows: lines, thresholds, units. Numbers only; nothing is drawn here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsetvae.collapse.rules import RULES
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config.settled import SettledMonitor

HUGE = 1e30
"""Beyond this a value counts as infinite: the limits of an axis around it could overflow."""
LOG_FROM = 30.0
"""Largest over smallest value from which an axis is logarithmic."""


@dataclass(frozen=True)
class Line:
    """One curve; NaN where there is no value, or none that could be drawn."""

    label: str
    """For the legend; empty where the panel's title says it all."""
    values_T: NDArray[np.float64]
    broken_T: NDArray[np.bool_]
    """Where the value is NaN or infinite, unlike one that was not measured."""


@dataclass(frozen=True)
class Reference:
    """A horizontal line to hold the curves against."""

    label: str
    value: float
    threshold: bool = False
    fires_below: bool = True


@dataclass(frozen=True)
class Panel:
    """One small panel."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    references: tuple[Reference, ...] = ()
    linear_below: float | None = None
    """The axis may be logarithmic down to here; None: never."""
    share: bool = False
    """The axis shows all of 0 to 1."""
    count_of: int | None = None
    """A second axis shows the share as a number out of this many."""

    @property
    def measured(self) -> bool:
        return any(np.isfinite(line.values_T).any() or line.broken_T.any() for line in self.lines)

    @property
    def span(self) -> tuple[float, float]:
        """The least and the greatest of values and references; of a share at least 0 and 1."""
        values = np.concatenate([line.values_T for line in self.lines] + [[one.value for one in self.references]])
        values = values[np.isfinite(values)]
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
        return (min(low, 0.0), max(high, 1.0)) if self.share else (low, high)

    @property
    def logarithmic(self) -> bool:
        """Whether the span demands a logarithmic axis, and the panel may have one."""
        low, high = self.span
        return self.linear_below is not None and high > LOG_FROM * max(low, self.linear_below)


class Course:
    """The updates of a run, as lines and as the thresholds that its rules hold them against.

    Args:
        updates: oldest first, at least one.
        config: thresholds and rules.
    """

    def __init__(self, updates: Sequence[CollapseStatistics], config: SettledMonitor) -> None:
        self.updates, self.config, self.last = updates, config, updates[-1]
        self._judged = {one.name: one for update in updates for one in RULES[config.rules](update, config)}

    def line(self, label: str, value: Callable[[CollapseStatistics], float | None]) -> Line:
        raw = [value(update) for update in self.updates]
        values_T = np.array([np.nan if one is None else one for one in raw], np.float64)
        drawable_T = np.abs(values_T) < HUGE
        measured_T = np.array([one is not None for one in raw])
        return Line(label, np.where(drawable_T, values_T, np.nan), measured_T & ~drawable_T)

    def threshold(self, name: str) -> tuple[Reference, ...]:
        """That of the rules in force; none where they do not look at this."""
        one = self._judged.get(name)
        return () if one is None else (Reference(f"threshold {one.threshold:g}", one.threshold, True, one.fires_below),)


def collapse_panels(updates: Sequence[CollapseStatistics], config: SettledMonitor) -> list[Panel]:
    """The panels that have data. Thresholds are those of the rules in force, and no others: they explain the alerts.

    Args:
        updates: those of a run, oldest first, at least one.
        config: thresholds and rules.
    """
    course = Course(updates, config)
    line, threshold, last = course.line, course.threshold, course.last
    ceiling = last.mutual_information_ceiling
    at_most = f"ceiling ln {round(np.exp(min(ceiling, 50.0))):,} = {ceiling:.2f}" if abs(ceiling) < HUGE else ""
    slope = "" if last.recon_slope is None else f"slope {last.recon_slope:+.2g} nats per update"
    window = f", last {last.updates} updates" if slope and last.updates else ""
    panels = [
        Panel(
            "KL divergence",
            "nats per set",
            (line("", lambda update: update.kl),),
            threshold("kl"),
            linear_below=(config.kl_threshold or 0.01) / 100,
        ),
        Panel(
            "Mutual information",
            "nats",
            (line("", lambda update: update.mutual_information),),
            (*threshold("mutual_information"), *([Reference(at_most, ceiling)] if at_most else [])),
            linear_below=config.mutual_information_threshold,
        ),
        Panel(
            "Active units",
            "share of dimensions",
            (line("Var(μ) > 0.01", lambda update: update.active_units_ratio),),
            threshold("active_units"),
            share=True,
            count_of=last.latent_dim,
        ),
        Panel(
            "Decoder information",
            "nats per set",
            (line("lower bound, at most 2.08", lambda update: update.decoder_information),),
            threshold("decoder_information"),
            linear_below=config.decoder_use_threshold,
        ),
        Panel(
            "Decoder use",
            "nats per set",
            (line("loss when z is exchanged", lambda update: update.decoder_use),),
            threshold("decoder_use"),
            linear_below=config.decoder_use_threshold,
        ),
        *variance_panels(course),
        Panel("Reconstruction loss", "nats per set", (line(slope + window, lambda update: update.recon),)),
        Panel("Weight of the KL term", "β", (line("", lambda update: update.beta),)),
    ]
    return [panel for panel in panels if panel.measured]


def variance_panels(course: Course) -> list[Panel]:
    """The posterior's variance, and how many dimensions are active by it."""
    line, threshold, unit = course.line, course.threshold, "σ² (prior: 1)"
    mean = line("mean σ²", lambda update: update.mean_variance)
    if course.config.rules == "principled":
        active = line("share of σ² > 0.01", lambda update: update.active_ratio_by_variance)
        return [Panel("Posterior variance", unit, (mean, active), share=True)]
    # The source's rules hold both against thresholds, and take the ratio from the dimensions' mean variance.
    active = line("of σ² > 0.01", lambda update: update.active_ratio_by_variance)
    by_mean = line(f"of mean σ² > {course.config.var_threshold:g}", lambda update: update.active_ratio_by_mean_variance)
    return [
        Panel("Posterior variance", unit, (mean,), threshold("mean_variance"), share=True),
        Panel("Active by variance", "share", (active, by_mean), threshold("active_ratio_by_variance"), share=True),
    ]
