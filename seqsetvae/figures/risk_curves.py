"""ROC, precision-recall and decision curves of several models with their bands, a panel each."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from seqsetvae import palette
from seqsetvae.curves import THRESHOLDS, Band
from seqsetvae.figures import style
from seqsetvae.figures.curve_panels import Dashes
from seqsetvae.scores import Floats

HEIGHT = 6.2
COLORS = (
    *(palette.BLUE, palette.VERMILION, palette.GREEN, palette.PURPLE),
    *(palette.SKY, palette.ORANGE, palette.BLACK),
)
DASHES: tuple[Dashes, ...] = ("-", "--", "-.", (0, (8, 2, 1, 2, 1, 2)))
GAP = 0.065
"""Between two panels, as a share of the figure: numbers and label of an axis."""
PANELS = {
    "roc": ("ROC", "false positive rate", "true positive rate"),
    "precision_recall": ("Precision and recall", "recall", "precision"),
    "net_benefit": ("Decision curve", "risk from which on someone would act", "net benefit"),
}


def draw_risk_curves(found: Mapping[str, Mapping[str, Band]], of_all_T: Floats, share: float, subtitle: str) -> bytes:
    """:func:`risk_curves` as PNG."""
    with style.DRAWING:
        return style.png(risk_curves(found, of_all_T, share, subtitle))


def risk_curves(found: Mapping[str, Mapping[str, Band]], of_all_T: Floats, share: float, subtitle: str) -> Figure:
    """A panel for each kind of curve, each model's in its own color; beyond as many as there are colors in other dashes.

    Args:
        found: by model, then by the name of the curve.
        of_all_T: net benefit of acting on everyone.
        share: of positive stays.
        subtitle: what was predicted.
    """
    figure = style.new_figure(
        "What each threshold offers", f"{subtitle}. Bands: 95 % intervals over resampled stays", HEIGHT
    )
    looks = [look for look, _ in zip(product(DASHES, COLORS), found, strict=False)]
    width = (style.RIGHT - style.LEFT) / len(PANELS)
    for place, (key, (title, below, left)) in enumerate(PANELS.items()):
        axes = figure.add_axes((style.LEFT + place * width, 0.2, width - GAP, 0.62))
        style.dress(axes, title, left)
        style.plain_ticks(axes.xaxis)
        style.label_below(axes, below)
        for (dashes, color), curves in zip(looks, found.values(), strict=True):
            band = curves[key]
            axes.fill_between(band.x_T, band.low_T, band.high_T, color=color, alpha=0.15, lw=0, zorder=2)
            axes.plot(band.x_T, band.y_T, color=color, linestyle=dashes, linewidth=1.5, zorder=3)
        _reference(axes, key, of_all_T, share)
    handles = [
        Line2D([], [], color=color, ls=dashes, label=style.legible(name))
        for (dashes, color), name in zip(looks, found, strict=True)
    ]
    figure.legend(
        handles=[*handles, Line2D([], [], color=style.GRAY, linestyle=":", label="without a model")],
        loc="lower left",
        bbox_to_anchor=(style.LEFT - 0.01, 0.01),
        ncols=4,
        prop={"family": style.font_families(), "size": style.SMALL},
        frameon=False,
    )
    return figure


def _reference(axes: Axes, key: str, of_all_T: Floats, share: float) -> None:
    """What is had without a model, and the limits."""
    dotted: dict[str, Any] = {"color": style.GRAY, "linewidth": 1.2, "linestyle": (0, (1, 2))}
    if key == "net_benefit":
        axes.plot(THRESHOLDS, of_all_T, **dotted)
        axes.axhline(0.0, **dotted)
        top = 1.05 * max(share, 1e-3)
        axes.set(xlim=(0.0, THRESHOLDS[-1]), ylim=(-0.3 * top, top))
        return
    axes.plot(*([0, 1], [0, 1]) if key == "roc" else ([0, 1], [share, share]), **dotted)
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        style.share_ticks(axis)
