"""The events that count most for an answer, with what each contributes: bars of two ways of telling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqsetvae.figures import style

SHOWN = 20
"""Events."""
ROW = 0.3
"""Inches."""


@dataclass(frozen=True)
class Contributor:
    """One event of a stay."""

    hour: float
    variable: str
    value: float | None
    by_value: float
    by_deletion: float | None


def draw_contributions(events: Sequence[Contributor], subtitle: str) -> bytes:
    """As PNG: the events of one stay that count most, the greatest on top."""
    most = sorted(events, key=lambda one: -max(abs(one.by_value), abs(one.by_deletion or 0.0)))[:SHOWN]
    height = 1.7 + ROW * len(most)
    with style.DRAWING:
        figure = style.new_figure(
            "Why this answer: what its events contribute", f"{subtitle}. To the right they raise it", height
        )
        bottom, top = 0.55 / height, 1 - 1.05 / height
        axes = figure.add_axes((0.24, bottom, style.RIGHT - 0.24, top - bottom))
        style.dress(axes, f"The {len(most)} of {len(events):,} events that count most", "")
        place = np.arange(len(most))
        ways = {
            "by value (integrated gradients)": (-0.19, style.BLUE, [one.by_value for one in most]),
            "by deletion of the event": (0.19, style.SKY, [one.by_deletion or 0.0 for one in most]),
        }
        bars = [
            axes.barh(place + shift, values, height=0.36, color=color, label=name, zorder=3)
            for name, (shift, color, values) in ways.items()
        ]
        reach = 1.1 * max(1e-6, *(abs(x) for _, _, values in ways.values() for x in values))
        axes.set(xlim=(-reach, reach), ylim=(len(most) - 0.4, -0.6))
        axes.axvline(0.0, color=style.GRAY, linewidth=1.0, zorder=4)
        style.plain_ticks(axes.xaxis)
        names = [
            f"{style.short(one.variable, 26)} {'' if one.value is None else f'{one.value:g} '}at {one.hour:.1f} h"
            for one in most
        ]
        axes.set_yticks(place, [style.legible(name) for name in names], **style.font(style.SMALL))
        style.label_below(axes, "contribution to the head's output, for a risk its logit")
        axes.legend(
            handles=bars,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=2,
            prop={"family": style.font_families(), "size": style.SMALL},
            frameon=False,
        )
        return style.png(figure)
