"""`latent_space_umap.png`: the map of the posterior means, colored by outcome, time in the stay and severity."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from seqsetvae.collapse.diagnosis import Level
from seqsetvae.figures import style
from seqsetvae.figures.latent.arrays import Floats, LatentSample
from seqsetvae.figures.latent.embedding import Embedding, Probes

HEIGHT = 6.4
POINT = 6.0
OUTCOMES = {0.0: (style.SKY, "0"), 1.0: (style.LEVEL_COLORS[Level.RED], "1")}
NOT_KNOWN = "#bbbbbb"


def umap_figure(sample: LatentSample, embedding: Embedding | None, probes: Probes, title: str, subtitle: str) -> Figure:
    """Three times the same map. Without a map, the figure says why."""
    figure = style.new_figure(title, subtitle, HEIGHT)
    if embedding is None:
        said = "There is no map: too few sets, or all posterior means are the same."
        figure.text(style.LEFT, 0.8, said, **style.font(style.TEXT))
        return figure
    top, bottom = 1 - (style.HEADING + 0.55) / HEIGHT, 1.05 / HEIGHT
    width, gap = 0.285, 0.03
    panels = []
    for number, name in enumerate(("Outcome (stays)", "Time in the stay", "Severity")):
        axes = figure.add_axes((style.LEFT + number * (width + gap), bottom, width, top - bottom))
        style.dress(axes, name, "")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(NullLocator())
        panels.append(axes)
    for axes in panels:
        low_2, high_2 = embedding.xy_S2.min(0), embedding.xy_S2.max(0)
        margin_2 = 0.04 * (high_2 - low_2)
        axes.set_xlim(low_2[0] - margin_2[0], high_2[0] + margin_2[0])
        axes.set_ylim(low_2[1] - margin_2[1], high_2[1] + margin_2[1])
    draw_outcome(panels[0], sample, embedding)
    draw_number(panels[1], sample.hour_S, embedding, "hours since the start of the stay")
    draw_number(panels[2], sample.severity_S, embedding, sample.severity)
    for axes, text in zip(panels, probe_texts(probes), strict=True):
        axes.text(0.0, -0.205, text, transform=axes.transAxes, va="top", **style.font(style.SMALL))
    return figure


def draw_outcome(axes: Axes, sample: LatentSample, embedding: Embedding) -> None:
    """Points in their random order, so that neither outcome hides the other."""
    colors = [OUTCOMES.get(float(label), (NOT_KNOWN, ""))[0] for label in sample.label_S]
    x_S, y_S = embedding.xy_S2.T
    axes.scatter(x_S, y_S, c=colors, s=POINT, linewidths=0, alpha=0.7)
    shown = {label: (sample.label_S == label) for label in OUTCOMES} | {np.nan: np.isnan(sample.label_S)}
    handles = []
    for label, mask_S in shown.items():
        if mask_S.any():
            color, name = OUTCOMES.get(label, (NOT_KNOWN, "none"))
            stays = len(np.unique(sample.stay_S[mask_S]))
            handles.append(Line2D([], [], color=color, marker="o", linestyle="none", label=f"{name} ({stays:,})"))
    style.legend_above(axes, handles)


def draw_number(axes: Axes, value_S: Floats, embedding: Embedding, label: str) -> None:
    """Points colored by a number; those without one in gray. The colors span the middle 98 %."""
    known_S = np.isfinite(value_S)
    x_S, y_S = embedding.xy_S2.T
    axes.scatter(x_S[~known_S], y_S[~known_S], color=NOT_KNOWN, s=POINT, linewidths=0)
    if not known_S.any():
        return
    low, high = np.quantile(value_S[known_S], (0.01, 0.99))
    points = axes.scatter(
        x_S[known_S],
        y_S[known_S],
        c=value_S[known_S],
        cmap="viridis",
        vmin=low,
        vmax=high,
        s=POINT,
        linewidths=0,
        alpha=0.8,
    )
    box = axes.get_position()
    figure = axes.get_figure(root=True)
    assert figure is not None
    bar_axes = figure.add_axes((box.x0, box.y0 - 0.035, box.width, 0.018))
    bar = figure.colorbar(points, cax=bar_axes, orientation="horizontal", extend="both")
    bar.ax.tick_params(labelsize=style.SMALL, labelfontfamily=style.font_families(), length=2, pad=2)
    bar.set_label(style.legible(label), parse_math=False, **style.font(style.SMALL))
    bar.outline.set_visible(False)


def probe_texts(probes: Probes) -> tuple[str, str, str]:
    """What a linear model reads off the latent space itself, in words."""

    def said(value: float | None, name: str) -> str:
        return "" if value is None else f"Linear probe, on stays it was not fitted on: {name} {value:.2f}"

    return said(probes.outcome_auroc, "AUROC"), said(probes.hour_r2, "R²"), said(probes.severity_r2, "R²")
