"""`told_of_variables.png`: of which variables the latents tell the decoder anything, beside an earlier model where there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from seqsetvae.collapse.information import CANDIDATES
from seqsetvae.figures import style
from seqsetvae.figures.latent.arrays import VariableTold

MOST = 60
"""Variables that are drawn."""
ROW = 0.26
"""Inches of height of one variable."""
TELLS = 0.05
"""Nats per value from which something is told."""
CEILING = math.log(CANDIDATES)


def by_loss(told: Sequence[VariableTold]) -> list[VariableTold]:
    """The greatest loss first; without an earlier model the most that is told."""
    return sorted(told, key=lambda one: (one.bound - one.before if one.before is not None else -one.bound, one.name))


def is_lost(one: VariableTold) -> bool:
    """Whether something was told of the variable, and of that less than a quarter is."""
    return one.before is not None and one.before >= TELLS and one.bound < one.before / 4.0


def reach_of(told: Sequence[VariableTold]) -> float:
    """Where the axis ends: behind the longest bar, so that little is seen as well as much."""
    longest = max((max(one.bound + 2.0 * one.error, one.before or 0.0) for one in told), default=0.0)
    return min(1.04 * CEILING, max(2.0 * TELLS, 1.15 * longest))


def told_figure(told: Sequence[VariableTold], title: str) -> Figure:
    """A bar for each variable, and a mark at what the earlier model told."""
    compared = any(one.before is not None for one in told)
    said = "information about each recorded value that reaches the decoder through the latents"
    said += ": by how much it fell since the earlier model" if compared else ""
    shown = by_loss(told)[:MOST]
    above, below = style.HEADING + 0.45, 0.75
    height = max(4.0, above + ROW * len(shown) + below)
    figure = style.new_figure(title, said, height)
    axes = figure.add_axes((0.2, below / height, style.RIGHT - 0.2, 1 - (above + below) / height))
    style.dress(axes, "", "")
    at = np.arange(len(shown))[::-1]
    now = np.array([one.bound for one in shown])
    colors = [style.PURPLE if is_lost(one) else style.BLUE for one in shown]
    axes.barh(at, np.maximum(now, 0.0), 0.62, color=colors, xerr=[2.0 * one.error for one in shown], ecolor=style.GRAY)
    handles: list[Artist] = [Patch(color=style.BLUE, label="this model, ± 2 standard errors")]
    if compared:
        before = np.array([math.nan if one.before is None else one.before for one in shown])
        label = "earlier model"
        handles += [axes.scatter(before, at, marker="|", s=140, linewidths=2.5, color="black", label=label, zorder=4)]
        handles += [Patch(color=style.PURPLE, label="lost: less than a quarter is left")]
    reach = reach_of(told)
    if reach > CEILING:
        axes.axvline(CEILING, color=style.GRAY, linewidth=1.0, linestyle=(0, (1, 2)))
        words = "most that can be shown "
        axes.text(CEILING, len(shown) - 0.4, words, ha="right", va="bottom", **style.font(style.SMALL))
    axes.set_yticks(at, [style.legible(style.short(one.name, 30)) for one in shown])
    axes.tick_params(axis="y", labelsize=style.SMALL, labelfontfamily=style.font_families())
    axes.set_ylim(-0.7, len(shown) + 0.3)
    axes.set_xlim(0.0, reach)
    style.plain_ticks(axes.xaxis)
    axes.set_xlabel(f"nats per recorded value (a lower bound, at most {CEILING:.2f})", **style.font(style.TEXT))
    style.legend_above(axes, handles)
    return figure
