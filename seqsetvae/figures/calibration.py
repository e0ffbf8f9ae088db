"""Calibration curves: how often the outcome came, against the risk that was predicted. A panel per model, its predictions below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from seqsetvae.figures import style

Floats = NDArray[np.float64]
COLUMNS = 4
"""Of panels, at most."""
PANEL = 3.1
"""Inches of a panel's height."""
HISTOGRAM, GAP = 0.55, 0.32
"""Inches of the histogram below a panel, and between the two."""
MARGINS = (0.95, 0.75 + HISTOGRAM + GAP)
"""Inches above the first row of panels, and below each."""
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Of the predictions, above their histogram: most risks lie close together at its lower end."""
BINS = 30
NORMAL = 1.959964
"""The 97.5 % quantile of the standard normal distribution."""

TITLE, VALUE_TITLE = (f"Calibration: observed against predicted {what}" for what in ("risk", "values"))
VALUE_READING = "A point is a group of stays of like prediction; on the dotted line predictions are as observed."
READING = "A point is a group of stays of like risk, with its 95 % interval; on the dotted line risks are as observed."


def draw_calibration(
    curves: Mapping[str, Sequence[tuple[float, float, int]]],
    subtitle: str,
    is_share: bool = True,
    predicted: Mapping[str, Floats] | None = None,
    reading: str = "",
) -> bytes:
    """As PNG.

    Args:
        curves: by model, (mean predicted risk, observed share, stays) of groups of stays, as :func:`seqsetvae.scores.calibration` gives
            it; at least one model.
        subtitle: what was predicted.
        predicted: by model, all predictions, of which a histogram and some quantiles are drawn.
        is_share: False: of values, without intervals, whose observed mean takes the place of the share.
        reading: what a point is, where it is no group of stays.
    """
    columns = min(COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    height = MARGINS[0] + rows * (PANEL + MARGINS[1])
    mean_G, share_G, stays_G = np.array([point for curve in curves.values() for point in curve], dtype=float).T
    if is_share:
        limits = 0.0, min(1.0, 1.05 * float(np.maximum(mean_G, interval(share_G, stays_G)[1]).max()))
    else:
        least, greatest = float(np.minimum(mean_G, share_G).min()), float(np.maximum(mean_G, share_G).max())
        margin = 0.05 * (greatest - least) or 1.0
        limits = least - margin, greatest + margin
    title, usual = (TITLE, READING) if is_share else (VALUE_TITLE, VALUE_READING)
    reading = reading or usual
    with style.DRAWING:
        figure = style.new_figure(title, f"{subtitle}. {reading}", height)
        width = (style.RIGHT - style.LEFT) / max(2, columns)  # one alone is no strip along the page
        for number, (name, curve) in enumerate(curves.items()):
            row, column = divmod(number, columns)
            bottom = 1 - (MARGINS[0] + (row + 1) * PANEL + row * MARGINS[1]) / height
            axes = figure.add_axes((style.LEFT + column * width, bottom, width - 0.04, PANEL / height))
            _draw(axes, name, curve, limits, is_share)
            if predicted is not None:
                below = (HISTOGRAM + GAP) / height
                low = figure.add_axes(
                    (axes.get_position().x0, bottom - below, axes.get_position().width, HISTOGRAM / height)
                )
                _draw_predictions(axes, low, predicted[name], limits)
        return style.png(figure)


def _draw(
    axes: Axes, name: str, curve: Sequence[tuple[float, float, int]], limits: tuple[float, float], is_share: bool
) -> None:
    observed, predicted = (
        ("observed share", "mean predicted risk") if is_share else ("observed mean", "mean prediction")
    )
    style.dress(axes, name, observed if axes.get_position().x0 < style.LEFT + 0.01 else "")
    style.plain_ticks(axes.xaxis)
    style.label_below(axes, predicted)
    axes.set(xlim=limits, ylim=limits)
    axes.plot(
        *([0, 1], [0, 1]) if is_share else (limits, limits), color=style.GRAY, linewidth=1.2, linestyle=(0, (1, 2))
    )
    mean_G, share_G, stays_G = np.array(curve, dtype=float).T
    if is_share:
        axes.vlines(mean_G, *interval(share_G, stays_G), color=style.BLUE, linewidth=1.2, alpha=0.6)
    axes.plot(mean_G, share_G, color=style.BLUE, linewidth=1.2, marker="o", markersize=4)


def _draw_predictions(axes: Axes, below: Axes, predicted_B: Floats, limits: tuple[float, float]) -> None:
    """A histogram of all predictions below a panel, with some of their quantiles above it."""
    style.dress(below, "", "stays" if axes.get_ylabel() else "")
    style.label_below(below, axes.get_xlabel())
    axes.set_xlabel("")
    axes.tick_params(labelbottom=False)
    count_K, edge_K = np.histogram(predicted_B, BINS, limits)
    below.stairs(count_K, edge_K, fill=True, color=style.SKY)
    below.set(xlim=limits, ylim=(0.0, 1.1 * max(1, count_K.max())))
    style.plain_ticks(below.xaxis)
    style.plain_ticks(below.yaxis, most=2, number_format=",.0f")
    place_Q, last = np.quantile(predicted_B, QUANTILES), -np.inf
    below.vlines(place_Q, 1.0, 1.08, color=style.GRAY, transform=below.get_xaxis_transform(), clip_on=False)
    for place, share in zip(place_Q, QUANTILES, strict=True):
        if place - last > 0.11 * (limits[1] - limits[0]):  # room for its number
            last = place
            below.annotate(
                f"{share:.0%}", (place, 1.08), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points",
                ha="center", color=style.GRAY, **style.font(style.SMALL - 1),
            )  # fmt: skip


def interval(share_G: Floats, stays_G: Floats) -> tuple[Floats, Floats]:
    """Wilson's 95 % intervals of the shares of G groups (Wilson 1927), which also hold for 0 and 1 of few stays.

    >>> low, high = interval(np.array([0.1, 0.5]), np.array([10.0, 1000.0]))
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.018, 0.469], [0.404, 0.531])
    """
    centre_G = share_G + NORMAL**2 / (2 * stays_G)
    half_G = NORMAL * np.sqrt(share_G * (1 - share_G) / stays_G + (NORMAL / (2 * stays_G)) ** 2)
    scale_G = 1 + NORMAL**2 / stays_G
    return (centre_G - half_G) / scale_G, (centre_G + half_G) / scale_G
