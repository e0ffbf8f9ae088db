"""A small panel as axes: curves, thresholds with the range that they forbid, a scale that shows both."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray

from seqsetvae.figures import style
from seqsetvae.figures.collapse_panels import Panel

LINE_COLORS = (style.BLUE, style.PURPLE, style.SKY)
DOTS_UP_TO = 40
"""Updates up to which each one has a dot: later the dots would merge into the line."""


def draw_panel(axes: Axes, panel: Panel, steps_T: NDArray[np.float64]) -> None:
    """Curves, thresholds with the range they forbid, and crosses where a value is NaN or infinite."""
    style.dress(axes, panel.title, panel.unit)
    handles: list[Line2D] = []
    for line, color in zip(panel.lines, LINE_COLORS, strict=False):
        [curve] = axes.plot(
            steps_T, line.values_T, color=color, linewidth=1.6, label=line.label or panel.title, zorder=3
        )
        if marked := dots(line.values_T):
            curve.set(marker="o", markersize=3.5, markevery=marked)
        if line.label:
            handles.append(curve)
        if line.broken_T.any():
            broken = steps_T[line.broken_T]
            [crosses] = axes.plot(broken, np.ones(len(broken)), transform=axes.get_xaxis_transform())
            crosses.set(
                linestyle="none", marker="x", color=style.BLACK, markersize=5, label="NaN, inf", zorder=4, clip_on=False
            )
            handles.append(crosses)
    low, high = set_limits(axes, panel)
    for reference in panel.references:
        dashes = (0, (5, 2)) if reference.threshold else (0, (1, 2))
        color = style.BLACK if reference.threshold else style.GRAY
        handles.append(axes.axhline(reference.value, color=color, linewidth=1.2, linestyle=dashes, zorder=2))
        handles[-1].set_label(reference.label)
        if reference.threshold:
            edge = low if reference.fires_below else high
            axes.axhspan(min(edge, reference.value), max(edge, reference.value), color=style.SHADE, zorder=0, lw=0)
    axes.set_ylim(low, high)
    if panel.share and high < 2:
        style.share_ticks(axes.yaxis)
    if panel.count_of:
        label_count(axes, panel.count_of)
    style.legend_above(axes, handles)


def dots(values_T: NDArray[np.float64]) -> list[int]:
    """Indices to mark: each of a short curve; of a long one those without neighbors, which a line would not show.

    >>> dots(np.array([1.0] * 50 + [np.nan, 2.0, np.nan]))
    [51]
    """
    there = np.isfinite(values_T)
    if len(values_T) <= DOTS_UP_TO:
        return [int(index) for index in np.flatnonzero(there)]
    around = np.concatenate([[False], there, [False]])
    return [int(index) for index in np.flatnonzero(there & ~around[:-2] & ~around[2:])]


def set_limits(axes: Axes, panel: Panel) -> tuple[float, float]:
    """Make the y axis logarithmic where the span of values and thresholds demands it; returns its limits."""
    low, high = panel.span
    linear = panel.linear_below
    if linear is not None and panel.logarithmic:
        style.log_ticks(axes, linear)
        return (low / 1.6 if low > linear else min(1.6 * low, -0.12 * linear)), high * 1.6
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def label_count(axes: Axes, count: int) -> None:
    """A second y axis that says the share as a number."""

    def number_of(share: Any) -> Any:
        return share * count

    def share_of(number: Any) -> Any:
        return number / count

    right = axes.secondary_yaxis("right", functions=(number_of, share_of))
    style.plain_ticks(right.yaxis)
    right.yaxis.set_major_locator(FixedLocator(sorted({0, count // 2, count})))
    right.set_ylabel(f"number of {count}", **style.font(style.SMALL))
    right.spines["right"].set_visible(False)
