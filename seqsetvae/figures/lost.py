"""What was lost: KL of each dimension at the run's best and at its end, and the layers and subgroups that collapsed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from seqsetvae.collapse.attribution import SILENT, SPOKE, comparable, lost
from seqsetvae.collapse.diagnosis import Diagnosis
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.figures import style
from seqsetvae.figures.level_strip import verdict

SHOWN = 40
"""Dimensions drawn, those that said the most first."""


def lost_figure(
    updates: Sequence[CollapseStatistics], alerts: Sequence[Diagnosis], grace_steps: int, title: str
) -> Figure | None:
    """A pair of bars for each dimension, the greatest at its best first; None where nothing has gone silent."""
    found = lost(updates, grace_steps)
    if found is None or not (found.dimensions or found.parts):
        return None
    measured = comparable(updates)
    best, now = next(one for one in measured if one.step == found.since), measured[-1]
    order_Z = np.argsort(-best.kl_Z, kind="stable")[:SHOWN]
    silent = {place for place, _, _ in found.dimensions}
    figure = style.new_figure(title, verdict(alerts, updates[-1].step))
    bottom = style.BOTTOM + 0.04
    axes = figure.add_axes((style.LEFT, bottom, style.RIGHT - style.LEFT, style.STRIP[0] - bottom))
    parts = f"   ({', '.join(found.parts)} collapsed)" if found.parts else ""
    style.dress(axes, f"KL per dimension, then and now{parts}", "nats")
    at = np.arange(len(order_Z))
    axes.bar(at - 0.2, best.kl_Z[order_Z], 0.38, color=style.SKY, label=f"step {best.step:,}: the most information")
    colors = [style.PURPLE if place in silent else style.BLUE for place in order_Z]
    axes.bar(at + 0.2, np.maximum(now.kl_Z[order_Z], 0.0), 0.38, color=colors, label=f"step {now.step:,}")
    axes.set_yscale("symlog", linthresh=SPOKE)
    for height, says in ((SPOKE, "says something from"), (SILENT, "says nothing below")):
        axes.axhline(height, color=style.GRAY, linewidth=1.0, linestyle=(0, (1, 2)))
        axes.text(
            len(order_Z) - 0.42, height, f"{says} {height:g} ", ha="right", va="bottom", **style.font(style.SMALL)
        )
    axes.set_xlim(-0.6, len(order_Z) - 0.4)
    axes.set_xticks(at, [f"z{place}" for place in order_Z])
    axes.tick_params(axis="x", labelsize=style.SMALL, labelfontfamily=style.font_families())
    handles, _ = axes.get_legend_handles_labels()
    style.legend_above(axes, handles)
    said = f"Gone silent: {len(silent)} of {len(now.kl_Z)} dimensions; {found.still} still speak."
    figure.text(style.LEFT, 0.03, said, **style.font(style.TEXT))
    return figure
