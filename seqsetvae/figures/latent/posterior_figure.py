"""`posterior_collapse_analysis.png`: which dimensions carry something, and whether that is enough."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from seqsetvae.collapse.diagnosis import Indicator, Level
from seqsetvae.figures import style
from seqsetvae.figures.latent.arrays import Floats
from seqsetvae.figures.latent.summary import LatentSummary
from seqsetvae.posterior import ACTIVE_UNIT_VARIANCE, COLLAPSE_EPSILON

NAMED_UP_TO = 40
"""Dimensions up to which each bar says which it is."""
UNITS = {
    "kl": "nats per set",
    "active_units": "of the dimensions",
    "mutual_information": "nats",
    "decoder_use": "nats per set",
    "decoder_information": "nats per set",
    "sets_at_prior": "of the sets",
    "collapsed_parts": "of the layers and groups",
}
THRESHOLD_DASHES = (0, (5, 2))


def posterior_figure(summary: LatentSummary, title: str, subtitle: str) -> Figure:
    """KL and activity of each dimension, where its variance has gone, and the monitor's figures against their thresholds."""
    figure = style.new_figure(title, subtitle)
    top = 1 - (style.HEADING + 0.3) / style.SIZE[1]
    grid = figure.add_gridspec(
        2, 2, left=style.LEFT, right=style.RIGHT, top=top, bottom=0.075, hspace=0.32, wspace=0.23
    )
    draw_bars(
        figure.add_subplot(grid[0, 0]),
        "KL per dimension",
        "nats per set",
        summary.kl_Z,
        COLLAPSE_EPSILON,
        f"collapsed below ε = {COLLAPSE_EPSILON:g}",
    )
    draw_bars(
        figure.add_subplot(grid[0, 1]),
        "Activity: variance of the means",
        "Var(μ) over sets",
        summary.signal_Z,
        ACTIVE_UNIT_VARIANCE,
        f"active above {ACTIVE_UNIT_VARIANCE:g}",
    )
    draw_variances(figure.add_subplot(grid[1, 0]), summary)
    draw_indicators(figure.add_subplot(grid[1, 1]), summary)
    return figure


def draw_bars(axes: Axes, title: str, unit: str, value_Z: Floats, threshold: float, label: str) -> None:
    """A bar for each dimension, falling; the threshold, and what lies below it in gray."""
    style.dress(axes, title, unit)
    order_Z = np.argsort(-value_Z, kind="stable")
    value_Z = value_Z[order_Z]
    above_Z = value_Z >= threshold
    colors = np.where(above_Z, style.BLUE, style.GRAY)
    axes.bar(np.arange(len(value_Z)), value_Z, color=list(colors), width=0.8, zorder=3)
    style.log_ticks(axes, threshold / 10)
    axes.set_ylim(0.0, 1.6 * max(float(value_Z.max()), 2 * threshold))
    axes.set_xlim(-0.8, len(value_Z) - 0.2)
    axes.grid(False, axis="x")
    name_dimensions(axes, order_Z)
    line = axes.axhline(threshold, color=style.BLACK, linewidth=1.2, linestyle=THRESHOLD_DASHES, zorder=4)
    line.set_label(f"{label}: {int(above_Z.sum())} of {len(value_Z)} above")
    style.legend_above(axes, [line])


def name_dimensions(axes: Axes, order_Z: np.ndarray[tuple[int], np.dtype[np.intp]]) -> None:
    """Which dimension each place on the x axis is; with many of them, only how many there are."""
    if len(order_Z) <= NAMED_UP_TO:
        axes.xaxis.set_major_locator(FixedLocator(range(len(order_Z))))
        axes.xaxis.set_major_formatter(FixedFormatter([f"z{one}" for one in order_Z]))
        axes.tick_params(axis="x", labelrotation=90, length=0, pad=2)
    axes.set_xlabel("latent dimensions, sorted", **style.font(style.SMALL))
    axes.xaxis.set_label_coords(0.5, -0.135)


def draw_variances(axes: Axes, summary: LatentSummary) -> None:
    """Variance of the means against posterior variance.

    An unused dimension lies at the prior, (0, 1); a used one moves to the right and down.
    """
    style.dress(axes, "Means against variance", "mean σ² over sets")
    active_Z = summary.signal_Z > ACTIVE_UNIT_VARIANCE
    handles = []
    for label, mask_Z, color, marker in (
        ("active", active_Z, style.BLUE, "o"),
        ("inactive", ~active_Z, style.GRAY, "v"),
    ):
        if mask_Z.any():
            [points] = axes.plot(summary.signal_Z[mask_Z], summary.variance_Z[mask_Z], label=label, zorder=3)
            points.set(color=color, marker=marker, markersize=6, linestyle="none", alpha=0.8, clip_on=False)
            handles.append(points)
    [prior] = axes.plot([0.0], [1.0], label="prior", zorder=4, clip_on=False)
    prior.set(color=style.LEVEL_COLORS[Level.RED], marker="X", markersize=9, linestyle="none")
    [sum_line] = axes.plot([0.0, 1.0], [1.0, 0.0], label="sum 1", zorder=2)
    sum_line.set(color=style.BLACK, linewidth=1.2, linestyle=(0, (1, 2)))
    axes.set_xlim(0.0, 1.08 * max(1.0, float(summary.signal_Z.max())))
    axes.set_ylim(0.0, 1.08 * max(1.0, float(summary.variance_Z.max())))
    style.plain_ticks(axes.xaxis, most=6)
    style.label_below(axes, "Var(μ) over sets")
    style.legend_above(axes, [*handles, prior, sum_line])


def draw_indicators(axes: Axes, summary: LatentSummary) -> None:
    """The monitor's figures as multiples of their thresholds; below 1 the monitor would fire."""
    style.dress(axes, "Against the monitor's thresholds", "")
    indicators = [one for one in summary.indicators if one.fires_below]
    ratios = [max(one.value / one.threshold, 0.0) for one in indicators]
    low, high = 0.1, 4.0 * max(500.0, *ratios)
    for place, (one, ratio) in enumerate(zip(indicators, ratios, strict=True)):
        color = style.LEVEL_COLORS[Level.RED] if one.out_of_range else style.BLUE
        axes.barh(place, max(ratio, low) - low, left=low, color=color, height=0.32, zorder=3)
        text = axes.text(1.15, place - 0.32, described(one, summary), va="center", zorder=4)
        text.set(fontsize=style.TEXT, fontfamily=style.font_families())
        if one.out_of_range:  # the bar of a figure near 0 cannot be seen
            text.set(color=color, fontweight="bold", fontsize=style.SMALL)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(len(indicators) - 0.5, -0.6)
    axes.axvspan(low, 1.0, color=style.SHADE, zorder=0, lw=0)
    line = axes.axvline(1.0, color=style.BLACK, linewidth=1.2, linestyle=THRESHOLD_DASHES, zorder=4)
    line.set_label("threshold")
    axes.yaxis.set_major_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator([10.0**power for power in range(-1, math.floor(math.log10(high)) + 1)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.grid(False, axis="y")
    style.label_below(axes, "times the threshold")
    fired = Line2D([], [], color=style.LEVEL_COLORS[Level.RED], linewidth=6, label="out of range")
    style.legend_above(axes, [line, *([fired] if any(one.out_of_range for one in indicators) else [])])


def described(one: Indicator, summary: LatentSummary) -> str:
    """A figure in words, with its unit and threshold."""
    ceiling = ""
    if one.name == "mutual_information":
        ceiling = f", at most {summary.statistics.mutual_information_ceiling:.2f}"
    label = one.label[0].upper() + one.label[1:]
    # Of a collapsed posterior the estimates are 0 up to rounding.
    value = one.value if abs(one.value) > 1e-9 else 0.0
    return f"{label}: {value:.3g} {UNITS[one.name]}{ceiling} (threshold {one.threshold:g})"
