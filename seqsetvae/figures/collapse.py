"""The figures of the collapse monitor: all metrics over optimizer steps, KL per dimension as a map, and what was lost.

Drawn while training runs, on a background thread: hand :func:`draw_collapse` to the monitor.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from seqsetvae import names
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.figures import style
from seqsetvae.figures.collapse_panels import collapse_panels
from seqsetvae.figures.kl_map import kl_map_figure
from seqsetvae.figures.level_strip import draw_alert_lines, draw_strip, step_range, verdict
from seqsetvae.figures.lost import lost_figure
from seqsetvae.figures.panel_axes import draw_panel

ALERTS_LISTED = 3
GAP = 0.045
"""Between two rows of panels, as a share of the figure: a title and the legend beside it."""


def draw_collapse(
    updates: Sequence[CollapseStatistics], diagnoses: Sequence[Diagnosis], config: SettledMonitor, title: str
) -> dict[str, bytes]:
    """All figures as PNG, by the key of the image; without those that have no data.

    Args:
        updates: those of a run, oldest first.
        diagnoses: its alerts (changes of level), oldest first.
        config: thresholds and rules.
        title: the run's name.
    """
    # Of a step that was gone over twice, after a resume, the later update counts.
    updates = sorted({update.step: update for update in updates}.values(), key=lambda update: update.step)
    if not updates:
        return {}
    with style.DRAWING:
        figures = {
            names.IMAGE_COLLAPSE: collapse_figure(updates, diagnoses, config, title),
            names.IMAGE_KL_MAP: kl_map_figure(updates, diagnoses, title),
            names.IMAGE_LOST: lost_figure(updates, diagnoses, config.grace_steps, title),
        }
        return {key: style.png(figure) for key, figure in figures.items() if figure is not None}


def collapse_figure(
    updates: Sequence[CollapseStatistics], alerts: Sequence[Diagnosis], config: SettledMonitor, title: str
) -> Figure:
    """The level on top, below it one small panel for each metric that has data, and the last alerts in words."""
    panels = collapse_panels(updates, config)
    steps_T = np.array([update.step for update in updates], np.float64)
    first, last = step_range(updates, alerts)
    figure = style.new_figure(title, verdict(alerts, updates[-1].step))
    strip = figure.add_axes((style.LEFT, style.STRIP[0], style.RIGHT - style.LEFT, style.STRIP[1]))
    draw_strip(strip, alerts, first, last)
    # The alerts fill the last cell, or where there is none have a low row of their own.
    rows = (len(panels) + 1) // 2
    own_row = len(panels) % 2 == 0 and len(alerts) > 0
    mean_height = (style.TOP - style.BOTTOM + GAP) / (rows + own_row) - GAP
    grid = figure.add_gridspec(
        rows + own_row,
        2,
        height_ratios=[1.0] * rows + [0.65] * own_row,
        left=style.LEFT,
        right=style.RIGHT,
        top=style.TOP,
        bottom=style.BOTTOM,
        hspace=GAP / mean_height,
        wspace=0.23,
    )
    cells = [(index // 2, index % 2) for index in range(len(panels))]
    for panel, (row, column) in zip(panels, cells, strict=True):
        axes = figure.add_subplot(grid[row, column])
        draw_panel(axes, panel, steps_T)
        draw_alert_lines(axes, alerts)
        axes.set_xlim(first, last)
        if (row + 1, column) in cells:
            axes.tick_params(labelbottom=False)
        else:
            style.label_steps(axes)
    if own_row:
        draw_alert_list(figure, grid[rows, :].get_position(figure), alerts, 175)
    elif len(panels) % 2:
        draw_alert_list(figure, grid[rows - 1, 1].get_position(figure), alerts, 82)
    return figure


def draw_alert_list(figure: Figure, cell: Bbox, alerts: Sequence[Diagnosis], letters: int) -> None:
    """The last alerts and their reasons in words, newest first, with the advice of the newest."""
    listed = list(alerts)[: -ALERTS_LISTED - 1 : -1]
    more = f" (last {len(listed)} of {len(alerts)})" if len(alerts) > len(listed) else ""
    # Lower than the top of the cell, where the labels of the panel above it are.
    top = cell.y1 - 0.015
    heading = style.font(style.TEXT + 1)
    figure.text(cell.x0, top, f"Alerts{more}", va="top", fontweight="bold", **heading)
    wrap = textwrap.TextWrapper(letters, subsequent_indent="    ", placeholder=" …", break_on_hyphens=False)
    blocks = []
    for alert in listed:
        who = "" if alert.detector == "primary" else f" ({alert.detector})"
        said = f"step {alert.step:,} {alert.level.word}{who}: {'; '.join(alert.reasons) or 'back in range'}"
        wrap.initial_indent, wrap.max_lines = "", 2
        blocks.append(wrap.fill(said))
        if alert is listed[0] and alert.level > Level.GREEN:
            wrap.initial_indent, wrap.max_lines = "    ", 3
            blocks.append(wrap.fill(f"To try: {alert.advice}"))
    text = style.legible("\n".join(blocks) or "none")
    figure.text(cell.x0, top - 0.024, text, va="top", linespacing=1.3, parse_math=False, **style.font(style.SMALL))
