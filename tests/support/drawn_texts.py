"""The texts of a figure as they are drawn: which lie on one another, and which run out of the picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

TOUCH = 2.0
"""Pixels by which the boxes of two texts may reach into each other: they are a little larger than their letters."""


@contextmanager
def drawn(figure: Figure) -> Iterator[list[tuple[str, Bbox]]]:
    """Every text that drawing the figure puts down, with its box in pixels. A tick that is not in view is none."""
    found: list[tuple[str, Bbox]] = []
    draw = Text.draw

    def kept(text: Text, renderer: Any, *more: Any, **named: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            found.append((text.get_text(), text.get_window_extent(renderer)))
        draw(text, renderer, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", kept)
        FigureCanvasAgg(figure).draw()
    yield found


def unreadable(figure: Figure) -> list[str]:
    """What is wrong with the texts of a figure, in words."""
    with drawn(figure) as texts:
        width, height = figure.bbox.width, figure.bbox.height
        out = [
            f"{text!r} runs out of the picture"
            for text, box in texts
            if box.x0 < -TOUCH or box.y0 < -TOUCH or box.x1 > width + TOUCH or box.y1 > height + TOUCH
        ]
        out += [f"{one!r} lies on a panel" for one in on_panels(figure)]
        return out + [f"{one!r} lies on {other!r}" for (one, a), (other, b) in combinations(texts, 2) if overlap(a, b)]


def on_panels(figure: Figure) -> list[str]:
    """Labels and titles of a panel that reach into another one."""
    found: list[str] = []
    for axes in figure.axes:
        others = [
            one.get_window_extent() for one in figure.axes if one.get_position().bounds != axes.get_position().bounds
        ]
        said = (axes.xaxis.label, axes.yaxis.label, axes.title)
        reach = [one for one in said if one.get_text() and any(overlap(one.get_window_extent(), it) for it in others)]
        found += [one.get_text() for one in reach]
    return found


def overlap(a: Bbox, b: Bbox) -> bool:
    wide = min(a.x1, b.x1) - max(a.x0, b.x0)
    high = min(a.y1, b.y1) - max(a.y0, b.y0)
    return wide > TOUCH and high > TOUCH
