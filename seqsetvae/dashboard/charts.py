"""What is drawn of a run, as numbers: the panels of the collapse figure, and the losses beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray

from seqsetvae import names
from seqsetvae.analysis.diagnosis import KL_DEAD
from seqsetvae.figures.collapse_panels import HUGE, Panel, Reference
from seqsetvae.tracking.read.recorded_run import RecordedRun, Series


@dataclass(frozen=True)
class StepCurve:
    """One curve over optimizer steps; NaN where there is nothing to draw."""

    label: str
    step_T: NDArray[np.int64]
    value_T: NDArray[np.float64]
    broken: bool = False
    """Whether the newest value is NaN or infinite."""

    @classmethod
    def of(cls, series: Series, label: str) -> StepCurve:
        drawable_T = np.abs(series.value_T) < HUGE
        return cls(label, series.step_T, np.where(drawable_T, series.value_T, np.nan), not drawable_T[-1])

    @property
    def newest(self) -> float:
        """The last value; NaN where that is none, or was never measured."""
        known = self.value_T[np.isfinite(self.value_T)]
        return float(known[-1]) if len(known) and not self.broken else nan


@dataclass(frozen=True)
class Row:
    """A line of the table of indicators."""

    title: str
    value: str
    unit: str
    range: str
    """What the value should keep to."""
    out_of_range: bool


@dataclass(frozen=True)
class Chart:
    """Curves on the same axes."""

    title: str
    unit: str
    traces: tuple[StepCurve, ...]
    references: tuple[Reference, ...] = ()
    share: bool = False
    """The axis shows all of 0 to 1."""
    log_below: float | None = None
    """The axis is logarithmic; what lies below this is drawn there. None: it is linear."""
    count_of: int | None = None
    """The share is one of so many."""

    @property
    def threshold(self) -> Reference | None:
        """The one that the rules hold the first curve against."""
        return next((one for one in self.references if one.threshold), None)

    @property
    def out_of_range(self) -> bool:
        """Whether the newest value is on the wrong side of the threshold, or no number."""
        value, limit = self.traces[0].newest, self.threshold
        if self.traces[0].broken or limit is None:
            return self.traces[0].broken
        return value < limit.value if limit.fires_below else value > limit.value

    @property
    def rows(self) -> tuple[Row, ...]:
        """The newest value of each curve in words; the first one has the chart's title and its range.

        >>> trace = StepCurve("", np.array([1]), np.array([0.00345678]))
        >>> Chart("KL", "nats", (trace,), (Reference("threshold 0.01", 0.01, True),)).rows[0]
        Row(title='KL', value='0.003457', unit='nats', range='above 0.01', out_of_range=True)
        """
        unit = "" if self.count_of else self.unit
        first = Row(self.title, self._words(self.traces[0]), unit, self.range, self.out_of_range)
        unit = "" if self.share else unit  # beside a variance stands a share of variances
        others = (Row(f"  {one.label}", self._words(one), unit, "", one.broken) for one in self.traces[1:])
        return (first, *others)

    def _words(self, trace: StepCurve) -> str:
        if not isfinite(trace.newest):
            return "NaN or inf" if trace.broken else "not measured"
        if self.count_of:
            return f"{round(trace.newest * self.count_of)} of {self.count_of}"
        return f"{trace.newest:.4g}"

    @property
    def range(self) -> str:
        """What the first curve should keep to; empty where no rule says so."""
        limit = self.threshold
        if limit is None:
            return ""
        value = f"{limit.value * self.count_of:g} of {self.count_of}" if self.count_of else f"{limit.value:g}"
        return f"{'above' if limit.fires_below else 'below'} {value}"

    def same_as(self, other: Chart) -> bool:
        """Whether both show the same."""
        pairs = zip(self.traces, other.traces, strict=False)
        return (
            self.title == other.title
            and len(self.traces) == len(other.traces)
            and all(len(mine.step_T) == len(its.step_T) and mine.step_T[-1] == its.step_T[-1] for mine, its in pairs)
            and (self.references, self.log_below) == (other.references, other.log_below)
        )

    @property
    def limits(self) -> tuple[float, float]:
        """Of the axis: curves and references, with a margin."""
        seen = np.concatenate([one.value_T for one in self.traces] + [[one.value for one in self.references]])
        seen = self.drawn(seen[np.isfinite(seen)])
        low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
        if self.log_below is not None:
            return low / 1.6, high * 1.6
        if self.share:
            return min(low, 0.0), max(high, 1.0)
        margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        return low - margin, high + margin

    def drawn(self, value_T: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values where the axis can show them."""
        return value_T if self.log_below is None else np.maximum(value_T, self.log_below)


def of_panels(panels: Sequence[Panel], steps: Sequence[int]) -> list[Chart]:
    """The panels of the collapse figure, so that both show the same against the same thresholds.

    Args:
        panels: see :func:`seqsetvae.figures.collapse_panels.collapse_panels`.
        steps: optimizer steps of the updates.
    """
    step_T = np.asarray(steps, np.int64)
    return [
        Chart(
            panel.title,
            panel.unit,
            tuple(StepCurve(line.label, step_T, line.values_T, bool(line.broken_T[-1])) for line in panel.lines),
            panel.references,
            panel.share,
            _log_below(panel),
            panel.count_of,
        )
        for panel in panels
    ]


def _log_below(panel: Panel) -> float | None:
    """Well below the threshold, so that it can be seen which values are; these axes have nothing like zero."""
    if not panel.logarithmic or panel.linear_below is None:
        return None
    return min([panel.linear_below, *(0.1 * one.value for one in panel.references if one.threshold)])


def of_training(run: RecordedRun, watched: bool) -> list[Chart]:
    """Losses and gradient, as far as recorded; where nobody watched the posterior also the KL and the reconstruction."""
    dead = Reference(f"collapse below {KL_DEAD:g}", KL_DEAD, threshold=True)
    clip = run.params.get("trainer/gradient_clip_val", "")
    clipped = (Reference(f"clipped to {clip}", float(clip)),) if clip not in ("", "None", "0.0") else ()
    wanted: list[tuple[str, str, dict[str, str], tuple[Reference, ...], bool]] = [
        ("Loss", "nats per set", {"train": names.TRAIN_LOSS, "validation": names.VAL_LOSS}, (), False),
        ("Gradient norm", "L2, before clipping", {"": names.GRADIENT_NORM}, clipped, False),
        ("AUC and AUPRC", "share", {"AUC": names.FINETUNE_AUC, "AUPRC": names.FINETUNE_AUPRC}, (), True),
    ]
    if not watched:
        kl = ("KL divergence", "nats per set", {"train": names.TRAIN_KL, "validation": names.VAL_KL}, (dead,), False)
        recon = {"train": names.TRAIN_RECON, "validation": names.VAL_RECON}
        wanted = [kl, ("Reconstruction loss", "nats per set", recon, (), False), *wanted]
        wanted.append(("Weight of the KL term", "β", {"": names.BETA}, (), False))
    charts = []
    for title, unit, keys, references, share in wanted:
        found = {label: run.metrics[key] for label, key in keys.items() if key in run.metrics}
        if traces := tuple(StepCurve.of(series, label) for label, series in found.items() if len(series)):
            charts.append(Chart(title, unit, traces, references, share))
    return charts
