"""`collapse_analysis.txt`: the run's posterior, its alerts and its diagnosis, for people with a terminal."""

from __future__ import annotations

from seqsetvae.analysis.run_analysis import INDICATORS, RunAnalysis
from seqsetvae.tracking.read.smoothing import finite


def collapse_text(analysis: RunAnalysis) -> str:
    """The whole file."""
    run = analysis.run
    title = f"Posterior collapse analysis: {run.title}"
    lines = [
        title,
        "=" * len(title),
        f"Run {run.run_id} ({run.status}) in experiment {run.experiment} of {run.store}",
        analysis.verdict,
        "",
        "Diagnosis",
        "---------",
        *(map(str, analysis.findings) if analysis.findings else ["No findings."]),
        *(f"Note: {note}" for note in analysis.notes),
        "",
        "Indicators",
        "----------",
        *indicator_lines(analysis),
        "",
        "Alerts",
        "------",
        *(
            [f"step {alert.step:>7,}  {alert.level.word:<7}{'; '.join(alert.reasons)}" for alert in analysis.alerts]
            or ["none"]
        ),
        "",
        analysis.agreement,
    ]
    return "\n".join(lines) + "\n"


def indicator_lines(analysis: RunAnalysis) -> list[str]:
    """A line for each that was recorded: first, lowest, highest, last, threshold."""
    rows = indicator_rows(analysis)
    if not rows:
        return ["The run has none: it was not watched."]
    head = ("", "first", "lowest", "highest", "last", "threshold")
    return [f"{row[0]:<46}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in (head, *rows)]


def indicator_rows(analysis: RunAnalysis) -> list[tuple[str, ...]]:
    """The same as cells."""
    rows = []
    for key, words, unit, setting in INDICATORS:
        series = finite(analysis.run.metrics.get(key))
        if series is None:
            continue
        threshold = getattr(analysis.replay.config, setting) if setting and analysis.replay else None
        values = series.value_T
        figures = (values[0], values.min(), values.max(), values[-1])
        cells = (f"{words} ({unit})", *(f"{value:.4g}" for value in figures))
        rows.append((*cells, "" if threshold is None else f"< {threshold:g}"))
    return rows
