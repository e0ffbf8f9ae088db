"""The figures of a sweep: history, importance, parallel coordinates, Pareto front. From plain rows; who made them does not matter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from seqsetvae.collapse.diagnosis import Level
from seqsetvae.figures import style
from seqsetvae.figures.study_rows import TrialRow, compute_saved

Place = Callable[[TrialRow], tuple[float | None, float | None]]
"""x and y of a trial."""
LEFT, BOTTOM, WIDTH, HEIGHT = 0.09, 0.08, 0.87, 0.78
KINDS: dict[str, tuple[str, str, float]] = {
    "complete": ("o", style.LEVEL_COLORS[Level.GREEN], 55.0),
    "complete, latents not in use": ("s", style.LEVEL_COLORS[Level.ORANGE], 45.0),
    "pruned: collapse": ("X", style.LEVEL_COLORS[Level.RED], 60.0),
    "pruned: behind": ("v", style.GRAY, 40.0),
}
"""Marker, color and size by what became of a trial; red and green differ in shape too."""
LOGARITHMIC = {"max_beta", "lr"}
DASHES = (0, (4, 2))
SECOND = {
    "mutual_information": ("mutual information", "nats", "mutual_information"),
    "active_units": ("active units", "share of dimensions", "active_units_ratio"),
    "history": ("what the history misses", "loss of its heads", "history_missed"),
}
"""Of the second objective what it is called, its unit, and where a row has it."""


def kind(row: TrialRow) -> str:
    """One of :data:`KINDS`, or "failed"."""
    if row.state == "complete":
        return "complete" if row.feasible else "complete, latents not in use"
    if row.state == "pruned":
        return "pruned: collapse" if row.level == Level.RED.word else "pruned: behind"
    return "failed"


def subtitle(rows: Sequence[TrialRow]) -> str:
    """What all figures of a study say below their title."""
    states = {state: sum(row.state == state for row in rows) for state in ("complete", "pruned", "failed")}
    counts = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    return f"{counts}; pruning saved {100 * compute_saved(rows):.0f} % of the planned steps"


def draw_history(rows: Sequence[TrialRow], title: str) -> bytes:
    """Validation NLL of each trial, and the best so far among those whose latents are in use."""
    with style.DRAWING:
        figure = style.new_figure(title, subtitle(rows))
        axes = one_panel(figure, "Validation NLL of the trials", "nats per set", "trial")
        scatter(axes, rows, by_number)
        top = highest(rows)
        fit_limits(axes, ((float(row.number), min(nll(row), top)) for row in rows if row.val_recon is not None))
        edge = axes.get_ylim()[1]
        beyond(axes, [(float(row.number), edge) for row in rows if top < nll(row) < math.inf], "^")
        best, steps = math.inf, []
        for row in sorted(rows, key=lambda one: one.number):
            if row.candidate and row.val_recon is not None:
                best = min(best, row.val_recon)
            if math.isfinite(best):
                steps.append((row.number, best))
        if steps:
            axes.step(*zip(*steps, strict=True), where="post", color=style.BLUE, linewidth=1.6, label="best so far")
        finish(axes)
        return style.png(figure)


def draw_pareto(rows: Sequence[TrialRow], front: Sequence[int], title: str, against: str) -> bytes:
    """Validation NLL against the second objective; `front` holds the numbers of the winners."""
    label, unit, attribute = SECOND[against]

    def place(row: TrialRow) -> tuple[float | None, float | None]:
        return row.val_recon, getattr(row, attribute)

    with style.DRAWING:
        figure = style.new_figure(title, subtitle(rows))
        axes = one_panel(figure, f"Validation NLL and {label}", f"{label}, {unit}", "validation NLL, nats per set")
        style.plain_ticks(axes.xaxis, most=6)
        scatter(axes, rows, place)
        right = highest(rows)
        fit_limits(axes, ((None if x is None else min(x, right), y) for x, y in map(place, rows)))
        edge = axes.get_xlim()[1]
        beyond(axes, [(edge, y) for x, y in map(place, rows) if y is not None and x is not None and x > right], ">")
        corners = sorted(place(row) for row in rows if row.number in front)
        if corners:
            axes.plot(
                *zip(*corners, strict=True),
                color=style.BLUE,
                linewidth=1.6,
                label="best" if len(corners) == 1 else "Pareto front",
                marker="o",
                markersize=12,
                markerfacecolor="none",
            )
        finish(axes)
        return style.png(figure)


def draw_importance(importance: Mapping[str, float], title: str) -> bytes:
    """One bar for each setting."""
    with style.DRAWING:
        figure = style.new_figure(
            title, "which settings decide whether a trial is among the best by validation NLL (PED-ANOVA)"
        )
        axes = figure.add_axes((0.16, BOTTOM, WIDTH - 0.07, HEIGHT))
        style.dress(axes, "Importance of the settings", "")
        shares = sorted(importance.items(), key=lambda item: item[1])
        axes.barh(range(len(shares)), [share for _, share in shares], color=style.SKY, height=0.6)
        for place, (_, share) in enumerate(shares):
            axes.text(share, place, f" {share:.2f}", va="center", **style.font(style.TEXT))
        axes.set_yticks(range(len(shares)), [style.legible(name) for name, _ in shares], **style.font(style.TEXT))
        axes.set_xlim(0.0, 1.1 * max(importance.values()))
        axes.set_ylim(-0.6, len(shares) - 0.4)
        style.plain_ticks(axes.xaxis, most=6)
        axes.set_xlabel("share of the whole", **style.font(style.SMALL))
        return style.png(figure)


def draw_parallel_coordinates(rows: Sequence[TrialRow], title: str) -> bytes:
    """One line for each trial over all settings, to its validation NLL and colored by it, the best one on top.

    Gray are those without NLL; dashed those that cannot win.
    """
    names = sorted({name for row in rows for name in row.params})
    scales = {name: Scale(name, [row.params[name] for row in rows if name in row.params]) for name in names}
    top = highest(rows)
    measured = [min(row.val_recon, top) for row in rows if row.val_recon is not None]
    scales["validation NLL"] = Scale("validation NLL", measured or [0.0])
    best = min((row for row in rows if row.candidate and row.val_recon is not None), key=nll, default=None)
    shades = ScalarMappable(Normalize(min(measured, default=0.0), max(measured, default=1.0)), "viridis_r")
    with style.DRAWING:
        figure = style.new_figure(title, subtitle(rows))
        axes = figure.add_axes((LEFT, BOTTOM, WIDTH - 0.07, HEIGHT))
        axes.set_xlim(-0.1, len(scales) - 0.7)
        axes.set_ylim(-0.03, 1.03)
        for row in rows:
            points_P2 = np.array(polyline(row, scales)).reshape(-1, 2)
            color = style.GRAY if row.val_recon is None else shades.to_rgba(np.array(row.val_recon))
            look: dict[str, Any] = (
                {"linewidth": 1.6} if row.candidate else {"linewidth": 1.2, "linestyle": DASHES, "alpha": 0.5}
            )
            if row is best:
                axes.plot(
                    *points_P2.T,
                    color=style.BLACK,
                    linewidth=5.0,
                    zorder=3,
                    label=f"best: trial {row.number}, {nll(row):.4g}",
                )
                look = {"linewidth": 2.2, "zorder": 3}
            axes.plot(*points_P2.T, color=color, **look)
        axes.plot([], [], color=style.GRAY, label="can win")
        axes.plot([], [], color=style.GRAY, linestyle=DASHES, label="cannot win")
        bar = figure.colorbar(shades, cax=figure.add_axes((LEFT + WIDTH - 0.05, BOTTOM, 0.012, HEIGHT)))
        bar.set_label("validation NLL, nats per set", **style.font(style.SMALL))
        bar.ax.tick_params(labelsize=style.SMALL, labelfontfamily=style.font_families())
        for place, scale in enumerate(scales.values()):
            axes.axvline(place, color=style.BLACK, linewidth=0.8)
            for height, text in scale.ticks():
                axes.text(place + 0.015, height, style.legible(text), va="center", **style.font(style.SMALL))
        axes.set_xticks(range(len(scales)), [style.legible(name) for name in scales], **style.font(style.TEXT))
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_visible(False)
        finish(axes)
        return style.png(figure)


class Scale:
    """One of several parallel axes: from a value to a height between 0 and 1.

    >>> [round(Scale("max_beta", [0.01, 100.0]).height(value), 2) for value in (0.01, 1.0, 100.0)]
    [0.0, 0.5, 1.0]
    >>> Scale("beta_schedule", ["linear", "constant"]).ticks()
    [(0.0, 'constant'), (1.0, 'linear')]
    """

    def __init__(self, name: str, values: Sequence[float | int | str]) -> None:
        self.choices = (
            sorted({str(value) for value in values}) if any(isinstance(value, str) for value in values) else []
        )
        self.logarithmic = name in LOGARITHMIC
        numbers = [0.0] if self.choices else [self._number(value) for value in values]
        self.low, self.high = min(numbers), max(numbers)

    def _number(self, value: float | int | str) -> float:
        return math.log10(float(value)) if self.logarithmic else float(value)

    def height(self, value: float | int | str) -> float:
        if self.choices:
            return self.choices.index(str(value)) / max(1, len(self.choices) - 1)
        height = (self._number(value) - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return min(height, 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Heights and labels."""
        if self.choices:
            return [(self.height(choice), choice) for choice in self.choices]
        if self.high == self.low:
            return [(0.5, f"{10**self.low if self.logarithmic else self.low:.3g}")]
        places = np.linspace(self.low, self.high, 5)
        return [
            (float(height), f"{10**place if self.logarithmic else place:.3g}")
            for height, place in zip(np.linspace(0, 1, 5), places, strict=True)
        ]


def polyline(row: TrialRow, scales: Mapping[str, Scale]) -> list[tuple[float, float]]:
    """The points of a trial's line; axes for which it has no value are passed over."""
    values: dict[str, Any] = {**row.params, "validation NLL": row.val_recon}
    return [
        (float(place), scale.height(values[name]))
        for place, (name, scale) in enumerate(scales.items())
        if values.get(name) is not None
    ]


def nll(row: TrialRow) -> float:
    """By which trials are compared."""
    return math.inf if row.val_recon is None else row.val_recon


def highest(rows: Sequence[TrialRow]) -> float:
    """The end of an axis of NLLs: what trials that were pruned early have left behind must not press the others flat."""
    complete = [nll(row) for row in rows if row.state == "complete" and row.val_recon is not None]
    return max(complete) + 0.5 * (max(complete) - min(complete)) if len(complete) > 1 else math.inf


def beyond(axes: Axes, points: Sequence[tuple[float, float]], marker: str) -> None:
    """Marks at the edge for those that lie behind it."""
    if points:
        x_T, y_T = zip(*points, strict=True)
        axes.scatter(
            x_T, y_T, marker=marker, s=70, facecolors="none", edgecolors=style.BLACK, clip_on=False, zorder=4,
            label="pruned, further out",
        )  # fmt: skip


def by_number(row: TrialRow) -> tuple[float, float | None]:
    """A trial's place in the order of trials."""
    return float(row.number), row.val_recon


def one_panel(figure: Figure, title: str, unit: str, below: str) -> Axes:
    """The figure's only panel."""
    axes = figure.add_axes((LEFT, BOTTOM, WIDTH, HEIGHT))
    style.dress(axes, title, unit)
    axes.set_xlabel(below, **style.font(style.SMALL))
    return axes


def scatter(axes: Axes, rows: Sequence[TrialRow], place: Place) -> None:
    """One mark for each trial that has both figures; `place` gives x and y of a row."""
    for name, (marker, color, size) in KINDS.items():
        points = [place(row) for row in rows if kind(row) == name]
        known = [point for point in points if None not in point]
        if known:
            x_T, y_T = zip(*known, strict=True)
            axes.scatter(x_T, y_T, marker=marker, color=color, s=size, label=name, zorder=3)


def fit_limits(axes: Axes, points: Iterable[tuple[float | None, float | None]]) -> None:
    """Limits around all points that have both figures, with a margin."""
    known = [(x, y) for x, y in points if x is not None and y is not None]
    if known:
        low_2, high_2 = np.min(known, axis=0), np.max(known, axis=0)
        margin_2 = np.maximum(0.04 * (high_2 - low_2), 1e-3 * np.maximum(1.0, np.abs(high_2)))
        axes.set_xlim(low_2[0] - margin_2[0], high_2[0] + margin_2[0])
        axes.set_ylim(low_2[1] - margin_2[1], high_2[1] + margin_2[1])


def finish(axes: Axes) -> None:
    """The legend above the panel."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        style.legend_above(axes, handles)
