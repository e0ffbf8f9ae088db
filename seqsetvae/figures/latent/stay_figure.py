"""`patient_view.png`: one stay as the model sees it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from seqsetvae.collapse.diagnosis import Level
from seqsetvae.data.units import with_unit
from seqsetvae.figures import style
from seqsetvae.figures.latent.arrays import StayView, VariableTrace

DIMENSIONS = 5
TITLE = 34
"""Letters of a panel's title, beside which something else is said."""
RECORDED = style.LEVEL_COLORS[Level.RED]


def stay_figure(view: StayView, most_active: Sequence[int] | NDArray[np.intp], title: str, subtitle: str) -> Figure:
    """Left: the sets, and the posterior of the most active dimensions over time. Right: recorded values and their reconstruction.

    Args:
        view: the stay.
        most_active: dimensions, the most active first.
        title: of the model and data.
        subtitle: of the stay.
    """
    figure = style.new_figure(title, subtitle)
    rows = 1 + DIMENSIONS
    top = 1 - (style.HEADING + 0.35) / style.SIZE[1]
    grid = figure.add_gridspec(
        rows, 2, left=style.LEFT + 0.005, right=style.RIGHT, top=top, bottom=0.055, hspace=0.42, wspace=0.17
    )
    last = 1.01 * max(float(view.hour_S[-1]), 0.1)
    columns: list[list[Axes]] = [[], []]

    def panel(column: int) -> Axes:
        axes = figure.add_subplot(grid[len(columns[column]), column])
        columns[column].append(axes)
        return axes

    draw_sets(panel(0), view)
    for place, dimension in enumerate(most_active[:DIMENSIONS]):
        draw_dimension(panel(0), view, int(dimension), first=place == 0)
    handles: list[Artist] = []
    for trace in view.traces:
        handles = draw_trace(panel(1), trace)
    figure.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(style.RIGHT + 0.005, top + 0.022),
        ncols=len(handles),
        prop={"family": style.font_families(), "size": style.SMALL},
        frameon=False,
    )
    for column in columns:
        for axes in column:
            axes.set_xlim(min(0.0, float(view.hour_S[0])) - 0.01 * last, last)
            axes.tick_params(labelbottom=axes is column[-1])
        style.label_below(column[-1], "hours since the start of the stay")
    return figure


def draw_sets(axes: Axes, view: StayView) -> None:
    """A line for each set, as high as it has events."""
    style.dress(axes, f"Sets: {len(view.hour_S):,}, as high as they have events", "")
    axes.vlines(view.hour_S, 0.0, view.events_S, color=style.BLUE, linewidth=1.2, zorder=3)
    axes.set_ylim(0.0, 1.1 * float(view.events_S.max()))


def draw_dimension(axes: Axes, view: StayView, dimension: int, first: bool) -> None:
    """Posterior mean over time with one standard deviation to both sides; the prior's range in gray."""
    style.dress(axes, f"z{dimension}", "")
    mu_S, sd_S = view.mu_SZ[:, dimension], view.sd_SZ[:, dimension]
    band = axes.fill_between(view.hour_S, mu_S - sd_S, mu_S + sd_S, color=style.SKY, alpha=0.45, lw=0, zorder=2)
    band.set_label("± 1 sd")
    [line] = axes.plot(view.hour_S, mu_S, color=style.BLUE, linewidth=1.3, zorder=3, label="posterior mean")
    prior = axes.axhspan(-1.0, 1.0, color=style.SHADE, zorder=0, lw=0, label="prior ± 1 sd")
    low, high = min(-1.2, float((mu_S - sd_S).min())), max(1.2, float((mu_S + sd_S).max()))
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    if len(view.hour_S) == 1:
        line.set(marker="o", markersize=4)
    if first:
        style.legend_above(axes, [line, band, prior])


def draw_trace(axes: Axes, trace: VariableTrace) -> list[Artist]:
    """Recorded values on the decoder's median and its 90 % band; returns what a legend of all traces names."""
    style.dress(axes, style.short(with_unit(trace.name, trace.unit), TITLE), "")
    band = axes.fill_between(trace.hour_S, trace.low_S, trace.high_S, color=style.SKY, alpha=0.45, lw=0, zorder=2)
    band.set_label("90 % band")
    [line] = axes.plot(trace.hour_S, trace.middle_S, color=style.BLUE, linewidth=1.3, zorder=3, label="reconstruction")
    if len(trace.hour_S) == 1:
        line.set(marker="o", markersize=4)
    [dots] = axes.plot(trace.hour_T, trace.recorded_T, label="recorded", zorder=4)
    dots.set(color=RECORDED, marker="o", markersize=3, linestyle="none")
    low, high = limits(trace)
    axes.set_ylim(low, high)
    inside = f"{100 * trace.covered:.0f} % of {len(trace.recorded_T):,} values inside the band"
    axes.set_title(inside, loc="right", y=1.0, pad=5, **style.font(style.SMALL))
    return [dots, line, band]


def limits(trace: VariableTrace) -> tuple[float, float]:
    """Around what was recorded and the reconstruction.

    The band adds at most a third: where it is very wide it runs out of the picture.
    """
    shown = np.concatenate([trace.recorded_T, trace.middle_S])
    low, high = float(shown.min()), float(shown.max())
    reach = max(0.35 * (high - low), 0.02 * abs(high), 1e-3)
    below, above = float(np.quantile(trace.low_S, 0.05)), float(np.quantile(trace.high_S, 0.95))
    return min(low, max(below, low - reach)) - 0.1 * reach, max(high, min(above, high + reach)) + 0.1 * reach
