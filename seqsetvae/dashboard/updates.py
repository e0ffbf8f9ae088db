"""The updates of a run's monitor, put together again from its metrics, the newest ones only.

A look must not cost the more, the longer the run.
"""

from __future__ import annotations

from dataclasses import replace

from seqsetvae import names
from seqsetvae.analysis.replay import count_windows, settings, statistics_of
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.config.settling import settle_monitor
from seqsetvae.tracking.read.recorded_run import RecordedRun, Series

UNSETTLED = 3
"""Newest updates that are put together again at each look: their metrics may have arrived in two deliveries."""
UNPLANNED_STEPS = 10_000
"""Length for which the standard thresholds are settled where a run has recorded neither."""


class Updates:
    """Those of one run, as far back as its points go."""

    def __init__(self) -> None:
        self._known: dict[int, CollapseStatistics] = {}
        self._counted: list[CollapseStatistics] = []

    def of(self, run: RecordedRun, config: SettledMonitor) -> list[CollapseStatistics]:
        """All of them, oldest first; none where nobody watches. The list is the same object as long as nothing has changed."""
        kl = run.metrics.get(names.COLLAPSE_KL)
        if kl is None or not len(kl) or run.imported:
            return []
        settled = sorted(self._known)[:-UNSETTLED]
        first = settled[-1] + 1 if settled else int(kl.step_T[0])
        oldest = int(kl.step_T[0])
        if settled and len([step for step in settled if step >= oldest]) + int((kl.step_T >= first).sum()) < len(kl):
            first = oldest  # one was delivered late
        metrics = {key: _since(series, first) for key, series in run.metrics.items()}
        fresh = statistics_of(replace(run, metrics=metrics), BetaOutlook(UNPLANNED_STEPS), config)
        known = {step: one for step, one in self._known.items() if oldest <= step < first}
        known |= {one.step: one for one in fresh}
        if known != self._known:
            self._known = known
            self._counted = count_windows([known[step] for step in sorted(known)], config)
        return self._counted


def _since(series: Series, step: int) -> Series:
    kept_T = series.step_T >= step
    return Series(series.step_T[kept_T], series.time_T[kept_T], series.value_T[kept_T])


def thresholds(run: RecordedRun) -> tuple[SettledMonitor, str]:
    """The monitor's settings as the run has recorded them, and what to say where it has not."""
    config = settings(SettledMonitor, run.params, "monitor/")
    if config is not None:
        return config, ""
    planned = run.tags.get(names.TAG_TOTAL_STEPS, "")
    steps = max(UNPLANNED_STEPS, int(planned) if planned.isdecimal() else 0)
    missing = "" if not run.watched else "The thresholds shown are the standard ones: the run has not recorded its own."
    return settle_monitor(MonitorConfig(), steps), missing
