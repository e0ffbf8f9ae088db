"""The run's own rules on what it recorded: what the monitor must have said, said again without training.

Under the rules of the run a replay gives the alerts that the run raised; under others it says what those would have said.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from dataclasses import replace as changed
from typing import Any, TypeVar

import numpy as np

from seqsetvae import names
from seqsetvae.collapse.diagnosis import Diagnosis
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.collapse.watch import Watch
from seqsetvae.config import ObjectiveConfig
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.config.settling import settle_objective
from seqsetvae.tracking.read.recorded_run import RecordedRun, Series

Config = TypeVar("Config", SettledMonitor, ObjectiveConfig)
INFINITE = 1e300
"""MLflow stores inf as the largest float there is."""


@dataclass(frozen=True)
class Replay:
    """What came out."""

    statistics: tuple[CollapseStatistics, ...]
    """The updates, oldest first; of a rescue also those of the run that it continues, up to where it branched off."""
    alerts: tuple[Diagnosis, ...]
    """Changes of level, as a run raises them."""
    config: SettledMonitor
    """The rules that were applied."""
    guessed: tuple[str, ...] = ()
    """What the rules needed and an older run has not recorded."""

    def differences(self, recorded: Sequence[Mapping[str, Any]]) -> list[str]:
        """In which alerts the replay and the run's own table differ: none, if all is well."""
        mine = [(alert.step, alert.level.word, alert.detector) for alert in self.alerts]
        theirs = [(int(row["step"]), str(row["level"]), str(row["detector"])) for row in recorded]
        return [
            *(
                f"step {step}: {level} ({who}) only in the replay"
                for step, level, who in mine
                if (step, level, who) not in theirs
            ),
            *(
                f"step {step}: {level} ({who}) only in the run"
                for step, level, who in theirs
                if (step, level, who) not in mine
            ),
        ]


def replay(run: RecordedRun, before: Sequence[CollapseStatistics] = ()) -> Replay | None:
    """Apply the rules of a run to what it recorded; None where it was not watched, or its settings are not ours.

    Args:
        run: as it was recorded.
        before: of a rescue, the updates of the run that it continues: those from before its own first one count.
    """
    config = settings(SettledMonitor, run.params, "monitor/")
    if config is None or names.COLLAPSE_KL not in run.metrics:
        return None
    outlook, guessed = outlook_of(run)
    own = statistics_of(run, outlook, config)
    first = own[0].step
    updates = count_windows([*(one for one in before if one.step < first), *own], config)
    watch = Watch(config, outlook)
    alerts = [check.diagnosis for update in updates for check in watch.update(update) if check.is_alert]
    if final := statistics_at_the_end(run, outlook, config):
        # What was measured last stands for all measurements at the end: they go on only while each looks collapsed.
        check, _ = watch.verdict([final] * config.confirm_checks)
        alerts += [check.diagnosis] if check.is_alert else []
    if config.rules == "source" and names.COLLAPSE_VARIANCE_RATIO_BY_MEAN not in run.metrics:
        guessed = (*guessed, names.COLLAPSE_VARIANCE_RATIO_BY_MEAN)
    return Replay(tuple(updates), tuple(alerts), config, guessed)


def settings(kind: type[Config], params: Mapping[str, str], prefix: str) -> Config | None:
    """A group of settings from the params of a run; None where it lacks one that is needed, or has one that is not valid.

    >>> settings(ObjectiveConfig, {"objective/max_beta": "0.5", "objective/beta": "None"}, "objective/").max_beta
    0.5
    """
    given = {one.name: _value(params[prefix + one.name]) for one in fields(kind) if prefix + one.name in params}
    try:
        return kind(**given) if given else None
    except (TypeError, ValueError):
        return None


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def outlook_of(run: RecordedRun) -> tuple[BetaOutlook, tuple[str, ...]]:
    """What the detector knew beforehand, and which of it an older run has not recorded."""
    from seqsetvae.objective import scheduled_beta  # and torch, which nothing else here needs

    objective = settings(ObjectiveConfig, run.params, "objective/")
    planned = run.tags.get(names.TAG_TOTAL_STEPS)
    last_step = int(max(series.step_T[-1] for key, series in run.metrics.items() if not key.startswith("system/")))
    total_steps = int(planned) if planned else last_step
    if objective is None or objective.beta_schedule == "controller":
        recorded = objective is None or names.COLLAPSE_BETA in run.metrics
        return BetaOutlook(total_steps), () if recorded else (names.COLLAPSE_BETA,)
    depends = objective.beta_schedule == "cyclical" and not planned and run.status != "FINISHED"
    settled = settle_objective(objective, max(total_steps, objective.beta_warmup_steps or 0))
    outlook = BetaOutlook(total_steps, beta_at=lambda step: scheduled_beta(settled, step, total_steps))
    return outlook, (names.TAG_TOTAL_STEPS,) if depends else ()


def statistics_of(run: RecordedRun, outlook: BetaOutlook, config: SettledMonitor) -> list[CollapseStatistics]:
    """The updates of a run as the monitor had them, oldest first, without the KL of each dimension, which is no metric."""
    columns = {key: _by_step(series) for key, series in run.metrics.items() if key.startswith("collapse/")}
    betas = run.metrics.get(names.BETA)
    latent_dim = _latent_dim(run)

    def value(key: str, step: int, missing: float = math.nan) -> float:
        return columns.get(key, {}).get(step, missing)

    def optional(key: str, step: int) -> float | None:
        return columns.get(key, {}).get(step)

    found = []
    for step in run.metrics[names.COLLAPSE_KL].step_T.tolist():
        by_variance = value(names.COLLAPSE_VARIANCE_RATIO, step)
        figures = [value(key, step) for key in (names.COLLAPSE_KL, names.COLLAPSE_MUTUAL_INFORMATION)]
        ceiling = value(names.COLLAPSE_MUTUAL_INFORMATION_CEILING, step, math.log(config.pool_sets))
        beta = optional(names.COLLAPSE_BETA, step)
        if beta is None:
            # Of a run from before it was recorded with each update.
            beta = outlook.beta_at(step - 1) if outlook.beta_at else _latest(betas, step)
        found.append(
            CollapseStatistics(
                step=step,
                sets=round(math.exp(ceiling)) if math.isfinite(ceiling) else config.pool_sets,
                kl=figures[0],
                active_units=round(value(names.COLLAPSE_ACTIVE_UNITS, step, 0.0)),
                latent_dim=latent_dim,
                mutual_information=figures[1],
                mutual_information_ceiling=ceiling,
                collapsed_dimensions_ratio=value(names.COLLAPSE_DEAD_RATIO, step),
                mean_variance=value(names.COLLAPSE_VARIANCE, step),
                active_ratio_by_variance=by_variance,
                active_ratio_by_mean_variance=value(names.COLLAPSE_VARIANCE_RATIO_BY_MEAN, step, by_variance),
                finite=all(math.isfinite(one) and abs(one) < INFINITE for one in figures),
                decoder_use=optional(names.COLLAPSE_DECODER_USE, step),
                decoder_information=optional(names.COLLAPSE_DECODER_INFORMATION, step),
                decoder_information_error=optional(names.COLLAPSE_DECODER_INFORMATION_ERROR, step),
                sets_at_prior=optional(names.COLLAPSE_SETS_AT_PRIOR, step),
                collapsed_parts=_parts(optional(names.COLLAPSE_PARTS, step)),
                recon=optional(names.COLLAPSE_RECON, step),
                recon_slope=optional(names.COLLAPSE_RECON_SLOPE, step),
                beta=beta,
                hours=optional(names.COLLAPSE_HOURS, step),
            )
        )
    return found


def _parts(count: float | None) -> tuple[str, ...] | None:
    """A run has recorded how many collapsed; which, its alerts tell."""
    return None if count is None else tuple(f"part {number + 1}" for number in range(round(count)))


def statistics_at_the_end(run: RecordedRun, outlook: BetaOutlook, config: SettledMonitor) -> CollapseStatistics | None:
    """What the verdict of a finished run rests on; None where it has none, as a run that was ended or is of an older version."""
    final = {
        key.replace(names.COLLAPSE_FINAL, "collapse/"): series
        for key, series in run.metrics.items()
        if key.startswith(names.COLLAPSE_FINAL)
    }
    if names.COLLAPSE_KL not in final:
        return None
    return statistics_of(changed(run, metrics=final), outlook, config)[-1]


def count_windows(updates: Sequence[CollapseStatistics], config: SettledMonitor) -> list[CollapseStatistics]:
    """The same updates, each knowing how many the slope of its reconstruction loss looks back on."""
    counted, measured = [], 0
    for update in updates:
        measured += update.recon is not None
        counted.append(changed(update, updates=min(measured, config.window_size)))
    return counted


def _latent_dim(run: RecordedRun) -> int:
    if known := run.params.get("model/latent_dim"):
        return int(known)
    units, ratio = (run.metrics.get(key) for key in (names.COLLAPSE_ACTIVE_UNITS, names.COLLAPSE_ACTIVE_RATIO))
    if units is None or ratio is None or not ratio.value_T.max() > 0:
        return 1
    best = int(np.nanargmax(ratio.value_T))
    return max(1, round(float(units.value_T[best] / ratio.value_T[best])))


def _by_step(series: Series) -> dict[int, float]:
    return dict(zip(series.step_T.tolist(), series.value_T.tolist(), strict=True))


def _latest(series: Series | None, step: int) -> float | None:
    """The value at a step, or the last one before it."""
    if series is None:
        return None
    place = int(np.searchsorted(series.step_T, step, side="right")) - 1
    return float(series.value_T[place]) if place >= 0 else None
