"""`RunAnalysis`: everything that `analyze` makes of one run, before it is written anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from seqsetvae import names
from seqsetvae.analysis.diagnosis import Evidence, diagnose, unjudged
from seqsetvae.analysis.findings import Finding
from seqsetvae.analysis.replay import Replay, replay
from seqsetvae.collapse.alerts import from_row
from seqsetvae.collapse.diagnosis import Diagnosis
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.figures import style
from seqsetvae.figures.collapse import collapse_figure
from seqsetvae.figures.run import loss_curves, performance_metrics, scores, training_dynamics
from seqsetvae.tracking.read.recorded_run import RecordedRun

LOSS_CURVES, PERFORMANCE, DYNAMICS = "loss_curves.png", "performance_metrics.png", "training_dynamics.png"
COLLAPSE_METRICS = "collapse_metrics.png"
NAMED = 6
"""Differences between a run and its replay that are named."""
OF_A_VAE = frozenset({names.TRAIN_KL, names.VAL_KL, names.COLLAPSE_KL})
"""Metrics of which a run has one that can be judged."""


@dataclass(frozen=True)
class RunAnalysis:
    """What is known of one run."""

    run: RecordedRun
    replay: Replay | None
    """None where the run was not watched."""
    alerts: tuple[Diagnosis, ...]
    """Changes of level: the run's own table, or the replay's where that cannot be read."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """What could not be judged or drawn, and why."""
    drawings: Mapping[str, style.Drawing]
    """By the file name of their PNG."""

    @cached_property
    def figures(self) -> Mapping[str, bytes]:
        """The drawings as PNG."""
        with style.DRAWING:
            return {name: style.png(drawing) for name, drawing in self.drawings.items()}

    @property
    def judged(self) -> bool:
        """Whether there was anything to judge."""
        return bool(self.findings) or not OF_A_VAE.isdisjoint(self.run.metrics)

    @property
    def summary(self) -> str:
        """A few words."""
        return ", ".join(one.name for one in self.findings) or ("nothing found" if self.judged else "not judged")

    @property
    def verdict(self) -> str:
        """One line."""
        if not self.judged:
            return "Not judged: this run has no KL and no reconstruction, so it is no training of a VAE."
        if not self.findings:
            return "Nothing found: no sign of collapse, over-fitting, instability or too strong regularization."
        return "Found: " + ", ".join(f"{one.name} ({one.level.word})" for one in self.findings) + "."

    @property
    def agreement(self) -> str:
        """Whether the rules say the same of what is recorded as they said while the run trained."""
        if self.replay is None:
            return "Rules replayed: not possible, the run has no collapse metrics or not our settings."
        differences = self.replay.differences(self.run.alerts)
        guessed = (
            f" Not recorded by this run, and so inferred: {', '.join(self.replay.guessed)}."
            if self.replay.guessed
            else ""
        )
        checks = len(self.replay.statistics)
        if not differences:
            count = len(self.replay.alerts)
            said = f"the same {count} alert{'s' * (count > 1)}" if count else "no alert, just"
            return f"Rules replayed on {checks} updates: {said} as while it trained.{guessed}"
        more = f"; and {len(differences) - NAMED} more" if len(differences) > NAMED else ""
        commit = self.run.tags.get("mlflow.source.git.commit", "")[:10]
        return (
            f"Rules replayed on {checks} updates: not the same alerts. {'; '.join(differences[:NAMED])}{more}.{guessed} "
            f"The rules may have changed since the run was trained{f' (at commit {commit})' if commit else ''}."
        )


def analyze_run(run: RecordedRun, before: Sequence[CollapseStatistics] = ()) -> RunAnalysis:
    """Judge and draw one run.

    Args:
        run: as it was recorded.
        before: of a rescue, the updates of the run that it continues.
    """
    again = replay(run, before)
    alerts = tuple(from_row(row).diagnosis for row in run.alerts) or (again.alerts if again else ())
    evidence = Evidence(run.metrics, alerts, run.params, run.imported)
    findings = tuple(diagnose(evidence))
    notes = [] if OF_A_VAE.isdisjoint(run.metrics) else unjudged(evidence)
    subtitle = "; ".join([run.status.lower(), ", ".join(one.name for one in findings)]).removesuffix("; ")
    drawings = {}
    with style.DRAWING:
        for name, draw in (
            (LOSS_CURVES, loss_curves),
            (PERFORMANCE, performance_metrics),
            (DYNAMICS, training_dynamics),
        ):
            if (drawing := draw(run, alerts, subtitle)) is not None:
                drawings[name] = drawing
        if again is not None:
            drawings[COLLAPSE_METRICS] = collapse_figure(again.statistics, alerts, again.config, run.title)
    once = ", ".join(f"{key} {series.value_T[-1]:.4g}" for key, series in scores(run).items())
    if PERFORMANCE not in drawings and once:
        notes.append(f"No {PERFORMANCE}: each score was recorded once: {once}.")
    elif PERFORMANCE not in drawings:
        notes.append(
            f"No {PERFORMANCE}: the run has no AUC, AUPRC or accuracy (val_auc, val_auprc, val_accuracy), as pretraining has none."
        )
    return RunAnalysis(run, again, alerts, findings, tuple(notes), drawings)


INDICATORS = (
    (names.COLLAPSE_KL, "KL divergence", "nats per set", "kl_threshold"),
    (names.COLLAPSE_MUTUAL_INFORMATION, "Mutual information", "nats", "mutual_information_threshold"),
    (names.COLLAPSE_ACTIVE_RATIO, "Active units", "share of dimensions", "active_units_threshold"),
    (names.COLLAPSE_DECODER_INFORMATION, "Decoder information", "nats per set", "decoder_use_threshold"),
    (names.COLLAPSE_DECODER_USE, "Decoder use", "nats per set", ""),
    (names.COLLAPSE_VARIANCE, "Mean posterior variance", "1 at the prior", ""),
    (names.COLLAPSE_VARIANCE_RATIO, "Active ratio by variance", "1 at the prior", ""),
    (names.COLLAPSE_RECON, "Reconstruction", "nats per set", ""),
)
"""Metric, words, unit, and the setting with its threshold."""
