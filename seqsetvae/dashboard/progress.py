"""How far a run is, how fast, how long it will take, and whether it still says anything. Pure: the present time is handed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import isfinite

import numpy as np

from seqsetvae import names
from seqsetvae.tracking.read.recorded_run import RecordedRun, Series

RECENT = 20
"""Points that the present speed is taken from."""
PAUSE_SECONDS = 3600.0
"""Between two points: a run that was stopped and resumed; the time left is told from the pace since then, validations included."""
SILENT_AFTER = 60.0
"""Seconds without a point after which a run may count as silent."""
SILENT_FACTOR = 3.0
"""And so many times the longest time between two points so far, which a validation or a slow step may have taken."""
START_SECONDS = 300.0
"""Seconds that a run has to record its first points."""


@dataclass(frozen=True)
class TrainingProgress:
    """Times in seconds; None where nothing is known."""

    step: int | None
    total: int | None
    """Optimizer steps that the run was planned for."""
    steps_per_second: float | None
    patients_per_second: float | None
    seconds_left: float | None
    running: bool
    """By what the store says."""
    age: float
    """Since the newest point; since the start of a run that has none."""
    silent: bool
    """Whether a run that should be training has said nothing for too long."""

    @property
    def share(self) -> float | None:
        """Of the planned steps, 0..1."""
        return None if self.step is None or not self.total else min(1.0, self.step / self.total)

    @property
    def place(self) -> str:
        """Where it is: steps, share."""
        if self.step is None:
            return "no step yet" if self.total is None else f"step 0 of {self.total:,}"
        share = "" if self.share is None else f" of {self.total:,} ({self.share:.0%})"
        return f"step {self.step:,}{share}"

    @property
    def speed(self) -> str:
        """Patients and steps per second; empty where nothing is known."""
        parts = []
        if self.patients_per_second is not None:
            parts.append(f"{self.patients_per_second:,.1f} patients/s")
        if self.steps_per_second is not None:
            parts.append(f"{self.steps_per_second:.3g} steps/s")
        return ", ".join(parts)

    @property
    def left(self) -> str:
        """The time left; empty where it is not known."""
        return "" if self.seconds_left is None else f"{timedelta(seconds=round(self.seconds_left))} left"


def progress(run: RecordedRun, now: float) -> TrainingProgress:
    """Where a run is.

    Args:
        run: as it was recorded, with the last points of each metric at least.
        now: seconds since the epoch.
    """
    running = run.status == "RUNNING"
    filled = [series for series in run.metrics.values() if len(series)]
    step = max((int(series.step_T[-1]) for series in filled), default=None)
    newest = max((float(series.time_T.max()) for series in filled), default=run.start_time)
    planned = run.tags.get(names.TAG_TOTAL_STEPS, "")
    total = int(planned) if planned.isdecimal() else None
    anchor = _anchor(run)
    left = None
    if running and anchor is not None and step is not None and total is not None:
        pace = steps_per_second(since_last_pause(anchor))
        left = max(0, total - step) / pace if pace else None
    age = max(0.0, now - newest)  # another machine's clock may run ahead
    silent = running and age > patience_with(anchor)
    if silent:
        return TrainingProgress(step, total, None, None, None, running, age, silent)
    return TrainingProgress(
        step=step,
        total=total,
        steps_per_second=None if anchor is None else steps_per_second(anchor.tail(RECENT)),
        patients_per_second=_recent_mean(run.metrics.get(names.PATIENTS_PER_SECOND)),
        seconds_left=left,
        running=running,
        age=age,
        silent=False,
    )


def _anchor(run: RecordedRun) -> Series | None:
    """The metric by which the pace is told."""
    for key in (names.TRAIN_LOSS, names.COLLAPSE_KL):
        if key in run.metrics and len(run.metrics[key]):
            return run.metrics[key]
    return max(run.metrics.values(), key=len, default=None)


def steps_per_second(series: Series) -> float | None:
    """From the first to the last point; None where they are one, or the clock was set back.

    >>> steps_per_second(Series.of([10, 20, 40], [0, 5_000, 15_000], [0, 0, 0]))
    2.0
    """
    if len(series) < 2 or series.time_T[-1] <= series.time_T[0]:
        return None
    return float((series.step_T[-1] - series.step_T[0]) / (series.time_T[-1] - series.time_T[0]))


def since_last_pause(series: Series) -> Series:
    """The points after the last gap of more than :data:`PAUSE_SECONDS`.

    >>> since_last_pause(Series.of([1, 2, 3], [0, 10_000_000, 10_001_000], [0, 0, 0])).step_T.tolist()
    [2, 3]
    """
    pauses = np.flatnonzero(np.diff(series.time_T) > PAUSE_SECONDS)
    return series.tail(len(series) - int(pauses[-1]) - 1) if len(pauses) else series


def patience_with(series: Series | None) -> float:
    """Seconds without a point after which something is wrong."""
    if series is None or len(series) < 2:
        return START_SECONDS
    longest = float(np.diff(np.sort(since_last_pause(series).time_T)).max(initial=0.0))
    return max(SILENT_AFTER, SILENT_FACTOR * longest)


def _recent_mean(series: Series | None) -> float | None:
    if series is None or not len(series):
        return None
    mean = float(np.mean(series.value_T[-RECENT:]))
    return mean if isfinite(mean) else None


def ago(seconds: float) -> str:
    """In the largest unit of which there are two.

    >>> ago(3), ago(700), ago(9000), ago(400_000)
    ('3 s', '11 min', '2 h', '4 days')
    """
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"
