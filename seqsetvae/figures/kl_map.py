"""KL per dimension over time, as a map: which dimensions carry something, which died, and when."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from seqsetvae.collapse.diagnosis import Diagnosis
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.figures import style
from seqsetvae.figures.collapse_panels import HUGE
from seqsetvae.figures.level_strip import draw_alert_lines, draw_strip, step_range, verdict

EPSILON = 0.01
"""Nats: a dimension below this counts as collapsed (Lucas et al. 2019)."""
COLOR_LOW, COLOR_HIGH = 1e-4, 10.0
"""Nats: the same colors in all runs, unless a dimension is above them."""
N_COLORS = 2000
"""Enough for the break to be within 1 % of epsilon."""
NAMED_UP_TO = 40
"""Dimensions up to which each row says which it is."""


def kl_map_figure(updates: Sequence[CollapseStatistics], alerts: Sequence[Diagnosis], title: str) -> Figure | None:
    """The level on top, below it a row for each dimension, the one with the largest last KL first. None without data."""
    updates = [update for update in updates if len(update.kl_Z) and len(update.kl_Z) == len(updates[-1].kl_Z)]
    if not updates:
        return None
    kl_TZ = np.stack([update.kl_Z for update in updates])
    order_Z = sort_dimensions(kl_TZ)
    edges_T = step_edges([update.step for update in updates])
    first, last = step_range(updates, alerts)
    figure = style.new_figure(title, verdict(alerts, updates[-1].step))
    right = 0.91
    strip = figure.add_axes((style.LEFT, style.STRIP[0], right - style.LEFT, style.STRIP[1]))
    axes = figure.add_axes((style.LEFT, style.BOTTOM, right - style.LEFT, style.TOP - style.BOTTOM))
    bar = figure.add_axes((right + 0.01, style.BOTTOM, 0.015, style.TOP - style.BOTTOM))
    draw_strip(strip, alerts, first, last)
    draw_map(axes, bar, kl_TZ[:, order_Z].T, edges_T, order_Z)
    draw_alert_lines(axes, alerts)
    for one in (strip, axes):
        one.set_xlim(min(first, edges_T[0]), max(last, edges_T[-1]))
    return figure


def sort_dimensions(kl_TZ: NDArray[np.float32]) -> NDArray[np.intp]:
    """Indices by falling last KL; equal ones by their index. Those that end in NaN or inf come last, by what they were before.

    >>> sort_dimensions(np.array([[0.3, np.nan, 2.0, 0.1], [0.1, np.nan, np.nan, 0.1]], np.float32)).tolist()
    [0, 3, 2, 1]
    """
    finite_TZ = np.isfinite(kl_TZ)
    last_Z = len(kl_TZ) - 1 - np.argmax(finite_TZ[::-1], axis=0)
    return np.lexsort((-kl_TZ[last_Z, np.arange(kl_TZ.shape[1])], ~finite_TZ[-1]))


def step_edges(steps: Sequence[int]) -> NDArray[np.float64]:
    """Where the columns of rising steps meet: half way between two.

    >>> step_edges([100, 200, 400]).tolist()
    [50.0, 150.0, 300.0, 500.0]
    """
    at_T = np.asarray(steps, np.float64)
    if len(at_T) == 1:
        return np.array([at_T[0] - 1, at_T[0] + 1])
    inner = (at_T[1:] + at_T[:-1]) / 2
    return np.concatenate([[2 * at_T[0] - inner[0]], inner, [2 * at_T[-1] - inner[-1]]])


def color_scale(highest: float) -> tuple[LogNorm, Colormap]:
    """More ink for more information, and a break at epsilon: grays below it, where a dimension is collapsed, colors above."""
    norm = LogNorm(COLOR_LOW, max(COLOR_HIGH, highest))
    grays = round(N_COLORS * float(norm(EPSILON)))
    colors = [
        *[(shade, shade, shade, 1.0) for shade in np.linspace(0.97, 0.8, grays)],
        *colormaps["viridis_r"](np.linspace(0.0, 1.0, N_COLORS - grays)),
    ]
    return norm, ListedColormap(colors).with_extremes(bad=style.PURPLE, under=colors[0])


def draw_map(
    axes: Axes, bar_axes: Axes, kl_ZT: NDArray[np.float32], edges_T: NDArray[np.float64], order_Z: NDArray[np.intp]
) -> None:
    """Rows as given, from the top; a line below the last one that is alive at the end."""
    dims = len(kl_ZT)
    finite_ZT = np.isfinite(kl_ZT) & (np.abs(kl_ZT) < HUGE)
    style.dress(axes, "KL per dimension" + ("" if finite_ZT.all() else "   (pink: NaN or inf)"), "")
    axes.grid(False)
    norm, colors = color_scale(float(kl_ZT[finite_ZT].max(initial=0.0)))
    # Zero has no logarithm, but a color: the lowest one.
    shown_ZT = np.ma.masked_where(~finite_ZT, np.maximum(kl_ZT, COLOR_LOW))
    mesh = axes.pcolormesh(edges_T, np.arange(dims + 1) - 0.5, shown_ZT, norm=norm, cmap=colors)
    axes.set_ylim(dims - 0.5, -0.5)
    style.label_steps(axes)
    if dims <= NAMED_UP_TO:
        axes.yaxis.set_major_locator(FixedLocator(range(dims)))
        axes.yaxis.set_major_formatter(FixedFormatter([f"z{index}" for index in order_Z]))
        axes.set_ylabel("latent dimensions, sorted by their last KL", **style.font(style.SMALL))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.set_ylabel("latent dimensions, sorted by their last KL", **style.font(style.SMALL))
    alive = int((kl_ZT[:, -1] >= EPSILON).sum())
    if 0 < alive < dims:
        axes.axhline(alive - 0.5, color=style.BLACK, linewidth=1.2, linestyle=(0, (5, 2)))
    found = f"{alive} of {dims} dimensions have a KL of at least ε = {EPSILON:g} at the end"
    axes.set_title(found, loc="right", y=1.0, pad=5, **style.font(style.SMALL))
    bar = axes.figure.colorbar(mesh, cax=bar_axes)
    bar.ax.yaxis.set_major_locator(LogLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(_nats))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=style.SMALL, labelfontfamily=style.font_families())
    bar.ax.axhline(EPSILON, color=style.BLACK, linewidth=2)
    bar.set_label("KL, nats per set (gray: collapsed, below ε)", **style.font(style.SMALL))


def _nats(value: float, _: int | None = None) -> str:
    return f"ε = {value:g}" if np.isclose(value, EPSILON) else f"{value:g}"
