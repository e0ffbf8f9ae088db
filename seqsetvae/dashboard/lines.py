"""The pieces of the terminal's dashboard as lines of text.

Plain lines, not tables: these are written anew at each look, and a table is measured before it is drawn.
"""

from __future__ import annotations

import re

import numpy as np
from textual.content import Content
from textual.renderables.sparkline import Sparkline

from seqsetvae import palette
from seqsetvae.dashboard.charts import Chart, StepCurve
from seqsetvae.dashboard.status import alert_line
from seqsetvae.dashboard.view import SYMBOLS, View

WIDE_TABLE = 86
"""Letters from which units are spelt out."""
BAR = 24
"""Letters of the bar that shows how far a run is."""


def state(view: View, place: str) -> Content:
    """Which run this is, and whether it and its store still answer."""
    said = [view.state, *([view.freshness] if view.charts else []), view.progress.speed]
    lines = [
        Content.assemble((view.title, "bold"), (f"  {place}" if place else "", "dim")),
        Content.styled("; ".join(filter(None, said)), f"bold {palette.ORANGE}" if view.worrying else ""),
        *([Content.styled(view.trouble, f"bold {palette.ORANGE}")] if view.trouble else []),
    ]
    return Content("\n").join(lines)


def progress(view: View) -> Content:
    """How far it is."""
    where = view.progress
    words = ", ".join(filter(None, [where.place, where.left]))
    if where.share is None:
        return Content(words)
    done = round(BAR * where.share)
    return Content.assemble(("━" * done, palette.SKY), ("━" * (BAR - done), "dim"), f" {words}")


def indicators(view: View, width: int) -> Content:
    """The newest values beside what they should be, in so many letters."""
    wide = width >= WIDE_TABLE
    unit_room = 18 if wide else 4
    room = max(8, width - 53 - unit_room)
    head = f"  {'indicator':<21} {'now':>10} {'':<{unit_room}} {'should be':<15} last points"
    lines = [Content.styled(head, "dim")]
    for chart in view.charts:
        for row, trace in zip(chart.rows, chart.traces, strict=True):
            look = f"bold {palette.ORANGE}" if row.out_of_range else "bold"
            unit = row.unit if wide else re.split("[ ,]", row.unit)[0]
            line = Content.assemble(
                ("! " if row.out_of_range else "  ", look),
                f"{row.title:<21.21} ",
                (f"{row.value:>10}", look),
                (f" {unit:<{unit_room}.{unit_room}} ", "dim"),
                f"{row.range:<15} ",
                (sparkline(chart, trace, room), palette.SKY),
            )
            lines.append(line)
    lines += [Content.styled(note, "italic dim") for note in view.notes]
    return Content("\n").join(lines)


def sparkline(chart: Chart, trace: StepCurve, room: int) -> str:
    """A curve on one line: the mean of each stretch, from the lowest to the highest.

    >>> series = StepCurve("", np.arange(4), np.array([0.0, 1.0, 2.0, 7.0]))
    >>> sparkline(Chart("", "", (series,)), series, 4)
    '▁▂▃█'
    """
    value_T = chart.drawn(trace.value_T)
    value_T = value_T[np.isfinite(value_T)]
    if not len(value_T):
        return ""
    value_T = np.log10(value_T) if chart.log_below is not None else value_T
    mean_R = np.array([part.mean() for part in np.array_split(value_T, min(room, len(value_T)))])
    low, high = mean_R.min(), mean_R.max()
    height_R = np.rint((mean_R - low) / ((high - low) or 1.0) * (len(Sparkline.BARS) - 1)).astype(int)
    return "".join(Sparkline.BARS[height] for height in height_R)


def alerts(view: View) -> Content:
    """What to try, and the alerts, newest first."""
    lines = [Content.styled(reason, "italic") for reason in view.reasons[-1:] if reason.startswith("to try")]
    for alert in view.alerts:
        mark = (f"{SYMBOLS[alert.level]} ", f"bold {palette.LEVELS[alert.level.word]}")
        lines.append(Content.assemble(mark, alert_line(alert)))
    return Content("\n").join(lines or [Content.styled("No alerts.", "dim")])
