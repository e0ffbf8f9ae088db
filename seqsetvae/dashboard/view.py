"""`View`: everything that the dashboard says of a run at one moment, in words and numbers. Pure; the shells only lay it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seqsetvae import names, palette
from seqsetvae.collapse.alerts import from_row
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.dashboard.charts import Chart, of_training
from seqsetvae.dashboard.progress import TrainingProgress, ago, progress
from seqsetvae.figures.level_strip import MEANINGS, own, verdict
from seqsetvae.tracking.read.recorded_run import RecordedRun

FOLLOWED = (
    *(names.TRAIN_LOSS, names.TRAIN_RECON, names.TRAIN_KL, names.VAL_LOSS, names.VAL_RECON, names.VAL_KL),
    *(names.BETA, names.GRADIENT_NORM, names.PATIENTS_PER_SECOND, names.FINETUNE_AUC, names.FINETUNE_AUPRC),
    *(
        names.COLLAPSE_LEVEL,
        names.COLLAPSE_FINAL_LEVEL,
        names.COLLAPSE_PROBABILITY,
        names.COLLAPSE_KL,
        names.COLLAPSE_ACTIVE_UNITS,
        names.COLLAPSE_ACTIVE_RATIO,
    ),
    *(names.COLLAPSE_MUTUAL_INFORMATION, names.COLLAPSE_MUTUAL_INFORMATION_CEILING, names.COLLAPSE_DECODER_USE),
    *(names.COLLAPSE_DECODER_INFORMATION, names.COLLAPSE_DECODER_INFORMATION_ERROR),
    *(names.COLLAPSE_DEAD_RATIO, names.COLLAPSE_VARIANCE, names.COLLAPSE_VARIANCE_RATIO),
    *(names.COLLAPSE_VARIANCE_RATIO_BY_MEAN, names.COLLAPSE_BETA, names.COLLAPSE_RECON, names.COLLAPSE_RECON_SLOPE),
)
"""The metrics that a dashboard needs."""
SYMBOLS = {Level.UNKNOWN: "○", Level.GREEN: "●", Level.YELLOW: "▲", Level.ORANGE: "◆", Level.RED: "✖"}
"""As in the figures: the level is told by a shape as well as by a color."""
UNKNOWN = ("○", "#999999")
"""Shape and color where nobody watches."""


@dataclass(frozen=True)
class View:
    """What there is to see."""

    run_id: str
    title: str
    experiment: str
    store: str
    state: str
    """What the run is doing, or how it has ended."""
    live: bool
    """Whether it should be training at this moment."""
    progress: TrainingProgress
    level: Level | None
    """The traffic light; None where nobody watches."""
    verdict: str
    reasons: tuple[str, ...]
    """Why the light is not green, and what to try."""
    charts: tuple[Chart, ...]
    alerts: tuple[Diagnosis, ...]
    """Newest first."""
    notes: tuple[str, ...]
    """What is missing, and why; and how likely a run that is training is to end collapsed."""
    trouble: str = ""
    """Why the store could not be read just now: then all else is as it was."""

    @property
    def light(self) -> tuple[str, str]:
        """Shape and color of the traffic light."""
        return UNKNOWN if self.level is None else (SYMBOLS[self.level], palette.LEVELS[self.level.word])

    @property
    def worrying(self) -> bool:
        """Whether a run that should be training seems not to be."""
        return self.progress.silent or (self.progress.running and not self.live)

    @property
    def freshness(self) -> str:
        """How old the newest point is."""
        return f"{'newest' if self.live else 'last'} point {ago(self.progress.age)} ago"


def make_view(
    run: RecordedRun,
    measured: Sequence[Chart],
    now: float,
    *,
    vanished: bool = False,
    notes: tuple[str, ...] = (),
    trouble: str = "",
) -> View:
    """What the dashboard shows of a run.

    Args:
        run: as it was recorded, with the last points of :data:`FOLLOWED`.
        measured: the charts of its monitor; none where nobody watched, or nothing was measured yet.
        now: seconds since the epoch.
        vanished: whether the process that should be training is gone.
        notes: what else there is to say.
        trouble: why the store could not be read just now.
    """
    alerts = [from_row(row).diagnosis for row in run.alerts]
    level = level_now(run, alerts)
    where = progress(run, now)
    return View(
        run_id=run.run_id,
        title=run.title,
        experiment=run.experiment,
        store=run.store,
        state=state_of(run, where, vanished),
        live=run.status == "RUNNING" and not vanished,
        progress=where,
        level=level,
        verdict=verdict_of(level, alerts, where.step or 0),
        reasons=reasons_of(level, alerts),
        charts=(*measured, *of_training(run, watched=bool(measured))),
        alerts=tuple(reversed(alerts)),
        notes=(*chance_of(run), *notes, *missing(run, bool(measured))),
        trouble=trouble,
    )


def level_now(run: RecordedRun, alerts: Sequence[Diagnosis]) -> Level | None:
    """By the newest check; alerts may come a moment later, or be out of reach."""
    recorded = [run.metrics.get(key) for key in (names.COLLAPSE_LEVEL, names.COLLAPSE_FINAL_LEVEL)]
    ends = [
        (int(one.step_T[-1]), number, int(one.value_T[-1]))
        for number, one in enumerate(recorded)
        if one is not None and len(one)
    ]
    if ends:
        return Level(min(max(max(ends)[2], -1), 3))  # of one step the verdict
    said = own(alerts)
    return said[-1].level if said else None


def verdict_of(level: Level | None, alerts: Sequence[Diagnosis], step: int) -> str:
    """The level in words, with the step of the alert that said so where it is known."""
    if level is None:
        return "not watched for collapse"
    said = own(alerts)
    if level == (said[-1].level if said else Level.GREEN):
        return verdict(alerts, step)
    return f"{level.word}: {MEANINGS[level]}"


def reasons_of(level: Level | None, alerts: Sequence[Diagnosis]) -> tuple[str, ...]:
    """Of the alert that set the present level."""
    said = own(alerts)
    if not said or not level or said[-1].level != level:
        return ()
    alert = said[-1]
    held_back = (f"not called a collapse yet: {alert.held_back}",) if alert.held_back else ()
    return (*alert.reasons, *held_back, *((f"to try: {alert.advice}",) if alert.advice else ()))


def chance_of(run: RecordedRun) -> tuple[str, ...]:
    """Of a run that is training: how likely it is to end collapsed, beside what the thresholds say."""
    said = run.metrics.get(names.COLLAPSE_PROBABILITY)
    if run.status != "RUNNING" or said is None or not len(said):
        return ()
    return (f"Probability that the run ends collapsed: {float(said.value_T[-1]):.0%}.",)


def state_of(run: RecordedRun, where: TrainingProgress, vanished: bool) -> str:
    """What the run is doing, or how it has ended."""
    if run.status != "RUNNING":
        ended_by = run.tags.get(names.TAG_ENDED_BY, "finished")
        reason = "" if ended_by == "finished" else f": {ended_by}"
        return f"{run.status.lower()}{reason}"
    if vanished:
        return "recorded as running, but its process has vanished"
    return f"running, but silent for {ago(where.age)}" if where.silent else "running"


def missing(run: RecordedRun, watched: bool) -> tuple[str, ...]:
    """What one may look for in vain, and why."""
    said = []
    kind = run.tags.get(names.TAG_KIND, "pretrain")
    if kind == "tune":
        said.append("A study measures nothing itself: its trials do.")
    elif not run.metrics:
        said.append("Nothing recorded yet: the first points come with the first steps.")
    elif run.imported:
        said.append(
            "Imported from event files: no monitor of ours has judged it. `seqsetvae analyze` judges it by its KL."
        )
    elif kind != "pretrain" and not watched:
        said.append(f"This is a run of kind {kind}: it has no posterior to watch.")
    elif run.params.get("monitor/disable_metrics_monitoring") == "True":
        said.append("Monitoring was off (--disable_metrics_monitoring): there are no collapse metrics, only losses.")
    elif not watched:
        every = run.params.get("monitor/update_frequency")
        first = f": the first comes at step {every}" if every and every.isdecimal() and run.status == "RUNNING" else ""
        said.append(f"No collapse metrics{first or ': this run was not watched'}.")
    if rescued_by := run.tags.get(names.TAG_RESCUED_BY):
        said.append(f"Continued with a milder objective by run {rescued_by}.")
    return tuple(said)
