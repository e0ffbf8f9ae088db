"""`reconstruction_errors.png`: how far each variable's reconstruction lies from what was recorded, in the variable's own unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from seqsetvae.data.units import with_unit
from seqsetvae.figures import style
from seqsetvae.figures.latent.arrays import Quartiles, VariableError

COLUMNS = 4
CELL = 0.82
"""Inches of height of one variable."""
MOST = 48
"""Variables that are drawn: those recorded most often."""
MODEL, MEDIAN = "model: median error, quartiles", "training median in its place"


def reconstruction_figure(errors: Sequence[VariableError], title: str, subtitle: str) -> Figure:
    """A cell for each variable, the best reconstructed first, each on an axis in its own unit."""
    shown = ordered(sorted(errors, key=lambda one: -one.events)[:MOST])
    rows = -(-len(shown) // COLUMNS)
    above, below = style.HEADING + 0.35, 0.35
    height = above + rows * CELL + below
    figure = style.new_figure(title, subtitle, height)
    grid = figure.add_gridspec(
        rows,
        COLUMNS,
        left=0.02,
        right=0.985,
        top=1 - above / height,
        bottom=below / height,
        hspace=1.9,
        wspace=0.12,
    )
    for place, one in enumerate(shown):
        draw_cell(figure.add_subplot(grid[place // COLUMNS, place % COLUMNS]), one)
    handles = [
        Line2D([], [], color=color, marker=marker, linewidth=3, label=label)
        for label, color, marker in ((MODEL, style.BLUE, "o"), (MEDIAN, style.GRAY, "s"))
    ]
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(style.RIGHT + 0.013, 1 - 0.12 / height),
        prop={"family": style.font_families(), "size": style.TEXT},
        frameon=False,
    )
    return figure


def ordered(errors: Sequence[VariableError]) -> list[VariableError]:
    """By rising ratio of the model's median error to that of the training median; those without a ratio last."""
    return sorted(errors, key=lambda one: (np.isnan(one.ratio), one.ratio, one.name))


def draw_cell(axes: Axes, error: VariableError) -> None:
    """Median error and quartiles of the model above those of the training median."""
    axes.set_autoscale_on(False)
    for place, found, color, marker, label in (
        (1, error.model, style.BLUE, "o", MODEL),
        (0, error.training_median, style.GRAY, "s", MEDIAN),
    ):
        axes.plot([found.low, found.high], [place, place], color=color, linewidth=3.5, alpha=0.55, zorder=3)
        axes.plot(
            [found.median], [place], color=color, marker=marker, markersize=6, label=label, zorder=4, clip_on=False
        )
    axes.set_ylim(-0.7, 1.7)
    axes.set_xlim(0.0, 1.08 * widest(error.model, error.training_median))
    axes.yaxis.set_major_locator(NullLocator())
    axes.grid(True, axis="x", color=style.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    style.plain_ticks(axes.xaxis, most=4)
    axes.tick_params(axis="x", pad=1, length=2)
    name = style.short(error.name, 26)
    axes.set_title(
        style.legible(with_unit(name, error.unit)),
        loc="left",
        pad=2,
        fontweight="bold",
        parse_math=False,
        **style.font(style.SMALL),
    )
    ratio = "" if np.isnan(error.ratio) else f"{error.ratio:.2f}×, "
    axes.set_title(f"{ratio}n {error.events:,}", loc="right", pad=2, **style.font(style.SMALL))


def widest(*quartiles: Quartiles) -> float:
    """The largest upper quartile, or 1 where all errors are 0."""
    return max(one.high for one in quartiles) or 1.0
