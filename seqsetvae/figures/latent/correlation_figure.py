"""`latent_correlation.png`: which of the active dimensions say the same."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from seqsetvae.figures import style
from seqsetvae.figures.latent.posterior_figure import NAMED_UP_TO
from seqsetvae.figures.latent.summary import Correlation

STRONGEST = 16
SIDE = 0.58
HEIGHT = SIDE * style.SIZE[0] / style.SIZE[1]
"""Of the square matrix, as shares of the figure."""
COLORS = "PuOr_r"
"""Orange and purple: told apart by color-blind readers too."""


def correlation_figure(correlation: Correlation | None, title: str, subtitle: str) -> Figure:
    """The matrix in clustered order, and its strongest pairs by name. Without a matrix, the figure says why."""
    figure = style.new_figure(title, subtitle)
    if correlation is None:
        said = "Fewer than two latent dimensions are active: there is nothing to correlate."
        figure.text(style.LEFT, 0.8, said, **style.font(style.TEXT))
        return figure
    matrix = figure.add_axes((style.LEFT, 0.06, SIDE, HEIGHT))
    bar = figure.add_axes((style.LEFT + SIDE + 0.008, 0.06, 0.012, HEIGHT))
    draw_matrix(matrix, bar, correlation)
    draw_strongest(figure.add_axes((0.79, 0.06, 0.18, HEIGHT)), correlation)
    return figure


def draw_matrix(axes: Axes, bar_axes: Axes, correlation: Correlation) -> None:
    """Pearson's r from -1 to 1, always with the same colors."""
    style.dress(axes, "Correlation of posterior means, clustered", "")
    axes.grid(False)
    active = len(correlation.dimension_A)
    edges = np.arange(active + 1) - 0.5
    mesh = axes.pcolormesh(edges, edges, correlation.r_AA, cmap=COLORS, vmin=-1.0, vmax=1.0)
    axes.set_xlim(-0.5, active - 0.5)
    axes.set_ylim(active - 0.5, -0.5)
    if active <= NAMED_UP_TO:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator(range(active)))
            axis.set_major_formatter(FixedFormatter([f"z{one}" for one in correlation.dimension_A]))
        axes.tick_params(axis="x", labelrotation=90)
        axes.tick_params(length=0, pad=3)
    bar = axes.figure.colorbar(mesh, cax=bar_axes)
    bar.ax.yaxis.set_major_locator(FixedLocator([-1, -0.5, 0, 0.5, 1]))
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    bar.ax.tick_params(labelsize=style.SMALL, labelfontfamily=style.font_families())
    bar.set_label("Pearson's r over sets", **style.font(style.SMALL))


def draw_strongest(axes: Axes, correlation: Correlation) -> None:
    """A bar for each of the strongest pairs."""
    pairs = correlation.strongest(STRONGEST)
    style.dress(axes, "Strongest pairs", "")
    colors = [colormaps[COLORS](0.9 if r > 0 else 0.1) for _, _, r in pairs]
    axes.barh(range(len(pairs)), [r for _, _, r in pairs], color=colors, height=0.6, zorder=3)
    axes.set_yticks(range(len(pairs)), [f"z{a} – z{b}" for a, b, _ in pairs], **style.font(style.SMALL))
    axes.set_ylim(STRONGEST - 0.5, -0.5)
    axes.set_xlim(-1.0, 1.0)
    axes.axvline(0.0, color=style.BLACK, linewidth=0.8, zorder=4)
    axes.xaxis.set_major_locator(FixedLocator([-1, -0.5, 0, 0.5, 1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    style.label_below(axes, "r")
