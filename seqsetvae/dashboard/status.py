"""A view as plain text, for scripts and for whoever has no terminal."""

from __future__ import annotations

from seqsetvae.collapse.diagnosis import Diagnosis
from seqsetvae.dashboard.view import View
from seqsetvae.figures.level_strip import own

LISTED = 5
"""Alerts that are named."""


def status_text(view: View) -> str:
    """Everything but the curves, in lines."""
    lines = [
        f"{view.title} in {view.experiment or 'an unknown experiment'}, {view.store}",
        f"  light       {view.verdict}",
        *(f"              {reason}" for reason in view.reasons),
        f"  state       {view.state}; {view.freshness}",
        f"  progress    {', '.join(filter(None, (view.progress.place, view.progress.speed, view.progress.left)))}",
    ]
    for chart in view.charts:
        limits = "; ".join(reference.label for reference in chart.references)
        for row, references in zip(
            chart.rows, [f" [{limits}]" if limits else "", *[""] * len(chart.rows)], strict=False
        ):
            mark = "!" if row.out_of_range else " "
            lines.append(f"{mark} {row.title:<22} {row.value} {row.unit}".rstrip() + references)
    lines += [f"  alert       {alert_line(alert)}" for alert in view.alerts[:LISTED]]
    if len(view.alerts) > LISTED:
        lines.append(f"              and {len(view.alerts) - LISTED} earlier ones")
    lines += [f"  note        {note}" for note in view.notes]
    lines += [f"  trouble     {view.trouble}"] if view.trouble else []
    return "\n".join(lines)


def alert_line(alert: Diagnosis) -> str:
    """One alert on one line.

    >>> from seqsetvae.collapse.diagnosis import Level
    >>> alert_line(Diagnosis(600, Level.RED, (), ("KL divergence too low: 0.001000 < 0.01",), ""))
    'step 600 red: KL divergence too low: 0.001000 < 0.01'
    """
    who = "" if own([alert]) else f" ({alert.detector})"
    said = "; ".join(alert.reasons) or "back in range"
    return f"step {alert.step:,} {alert.level.word}{who}: {said}"
