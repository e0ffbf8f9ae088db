"""One stay, variable by variable: what a model expects of the hours to come, or says of values that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from numpy.typing import NDArray

from seqsetvae.data.units import with_unit
from seqsetvae.figures import style
from seqsetvae.figures.latent.arrays import VariableTrace
from seqsetvae.figures.latent.stay_figure import RECORDED, draw_trace

Floats = NDArray[np.float64]

COLUMNS = 2
TITLE = 40
"""Letters of a panel's title, beside which something else is said."""


@dataclass(frozen=True)
class ExpectedTrace:
    """One variable of a stay, in its unit."""

    name: str
    unit: str
    hour_T: Floats
    """Of its recorded values, before and after the forecast was made."""
    recorded_T: Floats
    chance: float
    """That it is measured within the horizon."""
    quantile_Q: Floats
    """Of 5, 25, 50, 75 and 95 %: of the mean of its values within the horizon."""


def draw_stay_forecast(traces: Sequence[ExpectedTrace], now: float, horizon: float, title: str, subtitle: str) -> bytes:
    """A PNG with a panel for each variable: what was recorded, and behind `now` (hours) the bands over `horizon` hours."""
    return draw_panels([partial(draw_expected, trace=one, now=now, horizon=horizon) for one in traces], title, subtitle)


def draw_stay_imputed(traces: Sequence[VariableTrace], title: str, subtitle: str) -> bytes:
    """A PNG with a panel for each variable: what was recorded, on the median and band of what was said without it."""

    def draw(axes: Axes, trace: VariableTrace) -> list[Artist]:
        handles = draw_trace(axes, trace)
        last = 1.01 * max(float(trace.hour_S[-1]), 0.1)
        axes.set_xlim(-0.01 * last, last)
        return handles

    return draw_panels([partial(draw, trace=one) for one in traces], title, subtitle)


def draw_panels(panels: Sequence[Callable[[Axes], list[Artist]]], title: str, subtitle: str) -> bytes:
    """A PNG with two columns of panels over hours; each returns what the one legend names."""
    with style.DRAWING:
        rows = -(-len(panels) // COLUMNS)
        height = 1.4 + 2.6 * rows
        figure = style.new_figure(title, subtitle, height)
        top = 1 - (style.HEADING + 0.35) / height
        grid = figure.add_gridspec(
            rows, COLUMNS, left=style.LEFT, right=style.RIGHT, top=top, bottom=0.6 / height, hspace=0.42, wspace=0.17
        )
        handles: list[Artist] = []
        for place, draw in enumerate(panels):
            axes = figure.add_subplot(grid[place // COLUMNS, place % COLUMNS])
            handles = draw(axes)
            if place >= len(panels) - COLUMNS:
                style.label_below(axes, "hours since the start of the stay")
        figure.legend(
            handles=handles,
            loc="lower right",
            bbox_to_anchor=(style.RIGHT + 0.005, 1 - (style.HEADING + 0.12) / height),
            ncols=len(handles),
            prop={"family": style.font_families(), "size": style.SMALL},
            frameon=False,
        )
        return style.png(figure)


def draw_expected(axes: Axes, trace: ExpectedTrace, now: float, horizon: float) -> list[Artist]:
    """One variable; returns what a legend of all panels names."""
    style.dress(axes, style.short(with_unit(trace.name, trace.unit), TITLE), "")
    window, low_90, low_50, median, high_50, high_90 = np.array([now, now + horizon]), *trace.quantile_Q
    wide = axes.fill_between(window, low_90, high_90, color=style.SKY, alpha=0.35, lw=0, zorder=2, label="90 % band")
    near = axes.fill_between(window, low_50, high_50, color=style.SKY, alpha=0.75, lw=0, zorder=2, label="50 % band")
    [line] = axes.plot(window, [median, median], color=style.BLUE, linewidth=1.6, zorder=3, label="expected mean")
    axes.axvline(now, color=style.GRAY, linewidth=1.0, linestyle="--", zorder=1)
    before_T = trace.hour_T <= now
    [dots] = axes.plot(trace.hour_T[before_T], trace.recorded_T[before_T], label="recorded", zorder=4)
    dots.set(color=RECORDED, marker="o", markersize=3, linestyle="none")
    [after] = axes.plot(trace.hour_T[~before_T], trace.recorded_T[~before_T], label="recorded later", zorder=4)
    after.set(color=RECORDED, marker="o", markersize=4, markerfacecolor="white", linestyle="none")
    shown = np.concatenate([trace.recorded_T, trace.quantile_Q])
    margin = max(0.08 * float(np.ptp(shown)), 0.02 * float(np.abs(shown).max()), 1e-3)
    axes.set_ylim(float(shown.min()) - margin, float(shown.max()) + margin)
    axes.set_xlim(min(0.0, float(trace.hour_T.min(initial=now))) - 0.2, now + 1.02 * horizon)
    axes.set_title(
        f"measured with a chance of {100 * trace.chance:.0f} %", loc="right", y=1.0, pad=5, **style.font(style.SMALL)
    )
    return [dots, after, line, near, wide]
