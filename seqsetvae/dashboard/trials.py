"""The trials of a study beside each other, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from seqsetvae import names
from seqsetvae.analysis.text_table import text_table
from seqsetvae.collapse.alert_texts import CIRCLES
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.dashboard.view import level_now
from seqsetvae.tracking.read.recorded_run import RecordedRun

COLUMNS = ("trial", "state", "light", "step", "validation NLL", "mutual information", "KL")


def trials_table(trials: Sequence[RecordedRun]) -> str:
    """The rows as text."""
    return text_table(COLUMNS, trials_rows(trials, CIRCLES))


def trials_rows(trials: Sequence[RecordedRun], symbols: Mapping[Level, str]) -> list[tuple[str, ...]]:
    """A row for each trial, the best first: those without a validation yet come last; `symbols` of the levels."""
    ordered = sorted(trials, key=lambda one: (_last(one, names.VAL_RECON, math.inf), one.start_time))
    return [_row(trial, symbols) for trial in ordered]


def _row(trial: RecordedRun, symbols: Mapping[Level, str]) -> tuple[str, ...]:
    running = trial.status.lower()
    known = level_now(trial, ())
    level = Level.UNKNOWN if known is None else known
    return (
        f"{trial.tags[names.TAG_TRIAL]} ({trial.run_id[:8]})",
        trial.tags.get(names.TAG_TRIAL_STATE, running),
        f"{symbols[level]} {level.word}",
        *(_shown(trial, key, digits) for key, digits in ((names.COLLAPSE_KL, None), (names.VAL_RECON, 2))),
        *(_shown(trial, key, 2) for key in (names.COLLAPSE_MUTUAL_INFORMATION, names.COLLAPSE_KL)),
    )


def _last(trial: RecordedRun, key: str, missing: float) -> float:
    series = trial.metrics.get(key)
    return float(series.value_T[-1]) if series is not None and len(series) else missing


def _shown(trial: RecordedRun, key: str, digits: int | None) -> str:
    """The newest value, or with `digits` None the step at which it was recorded."""
    series = trial.metrics.get(key)
    if series is None or not len(series):
        return "-"
    return f"{series.step_T[-1]:,}" if digits is None else f"{series.value_T[-1]:.{digits}f}"
