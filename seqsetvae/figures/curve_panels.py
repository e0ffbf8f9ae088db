"""Small panels of curves that need not share their x values: training and validation, several runs, steps or hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from seqsetvae.figures import style
from seqsetvae.figures.collapse_panels import HUGE, LOG_FROM, Reference
from seqsetvae.tracking.read.smoothing import running_mean

DRAWN = 2000
"""Points of one curve that are drawn: more than there are pixels."""
SMOOTH_FROM = 60
"""Points from which a noisy curve gets its running mean, and is itself drawn faint."""
DOTS_UP_TO = 30
OUTLIERS = 0.5
"""Percent of the points at the top that may lie beyond the axis: one spike must not press everything else flat."""
Dashes = str | tuple[int, tuple[int, ...]]
"""As matplotlib names them."""


@dataclass(frozen=True)
class Curve:
    """One line."""

    label: str
    x_T: NDArray[np.float64]
    y_T: NDArray[np.float64]
    color: str
    noisy: bool = False
    """Of single batches: drawn faint under its running mean."""
    dashes: Dashes = "-"

    @property
    def seen_T(self) -> NDArray[np.float64]:
        """The values that can be drawn."""
        return self.y_T[np.abs(self.y_T) < HUGE]


@dataclass(frozen=True)
class CurvePanel:
    """Curves on the same axes. A reference is drawn where it lies within reach of the data."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    references: tuple[Reference, ...] = ()
    share: bool = False
    """The axis shows all of 0 to 1."""
    logarithmic: bool = False
    """The axis may be logarithmic."""

    @property
    def measured(self) -> bool:
        return any(len(curve.seen_T) for curve in self.curves)


def draw_curves(axes: Axes, panel: CurvePanel, legend: bool = True) -> None:
    """Curves, references with their labels, limits that show the data, crosses where a value is NaN or infinite."""
    style.dress(axes, panel.title, panel.unit)
    handles: list[Line2D] = []
    for curve in panel.curves:
        handles += _draw(axes, curve)
    low, high = _limits(axes, panel)
    for reference in panel.references:
        if low <= reference.value <= high:
            dashes = (0, (5, 2)) if reference.threshold else (0, (1, 2))
            color = style.BLACK if reference.threshold else style.GRAY
            handles.append(axes.axhline(reference.value, color=color, linewidth=1.2, linestyle=dashes, zorder=2))
            handles[-1].set_label(reference.label)
    axes.set_ylim(low, high)
    if panel.share:
        style.share_ticks(axes.yaxis)
    if legend:
        # References that stand for one thing, such as the two ends of a range, share a label.
        named = {str(one.get_label()): one for one in handles if not str(one.get_label()).startswith("_")}
        style.legend_above(axes, list(named.values()))


def _draw(axes: Axes, curve: Curve) -> list[Line2D]:
    y_T = np.where(np.abs(curve.y_T) < HUGE, curve.y_T, np.nan)
    smooth = curve.noisy and len(y_T) >= SMOOTH_FROM
    handles = []
    if smooth:
        x, y = thin(curve.x_T, y_T)
        axes.plot(x, y, color=curve.color, linewidth=0.6, alpha=0.35, label="_points", zorder=2.5)
        y_T = running_mean(y_T, max(5, len(y_T) // 40))
    x, y = thin(curve.x_T, y_T)
    label = curve.label or "_only"
    [line] = axes.plot(x, y, color=curve.color, linewidth=1.6, linestyle=curve.dashes, label=label, zorder=3)
    if len(y) <= DOTS_UP_TO:
        line.set(marker="o", markersize=3.5)
    handles.append(line)
    broken_T = ~(np.abs(curve.y_T) < HUGE)
    if broken_T.any():
        x = curve.x_T[broken_T]
        [crosses] = axes.plot(x, np.ones(len(x)), transform=axes.get_xaxis_transform(), label="NaN, inf", zorder=4)
        crosses.set(linestyle="none", marker="x", color=style.BLACK, markersize=5, clip_on=False)
        handles.append(crosses)
    return handles


def thin(
    x_T: NDArray[np.float64], y_T: NDArray[np.float64], most: int = DRAWN
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most about so many points that look like all: of each stretch the lowest and the highest.

    >>> x, y = thin(np.arange(1e5), np.where(np.arange(1e5) == 777, 9.0, 0.0))
    >>> len(x) <= DRAWN, float(y.max())
    (True, 9.0)
    """
    if len(x_T) <= most:
        return x_T, y_T
    width = -(-len(x_T) // (most // 2))
    whole = len(x_T) // width * width
    stretches = y_T[:whole].reshape(-1, width)
    starts = np.arange(0, whole, width)
    lowest = starts + np.where(np.isnan(stretches), np.inf, stretches).argmin(1)
    highest = starts + np.where(np.isnan(stretches), -np.inf, stretches).argmax(1)
    kept = np.unique(np.concatenate([lowest, highest, [len(x_T) - 1]]))
    return x_T[kept], y_T[kept]


def _limits(axes: Axes, panel: CurvePanel) -> tuple[float, float]:
    values = np.concatenate([curve.seen_T for curve in panel.curves])
    values = values if len(values) else np.zeros(1)
    low, high = float(values.min()), float(values.max())
    if panel.share:
        return min(low, 0.0) - 0.03, max(high, 1.0) + 0.03
    if panel.logarithmic and high > LOG_FROM * max(low, 1e-3):
        least = max(1e-4, min(1.0, 10.0 ** np.floor(np.log10(max(float(np.percentile(values, 2)), 1e-4)))))
        style.log_ticks(axes, least)
        return (low / 1.6 if low > least else min(0.0, 1.6 * low) - 0.12 * least), high * 1.6
    usual = float(np.percentile(values, 100.0 - OUTLIERS))
    if high - low > 4.0 * (usual - low) > 0.0:
        high = usual
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin
