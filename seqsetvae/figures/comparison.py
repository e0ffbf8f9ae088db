"""Several runs on the same axes: by optimizer step on the left, by wall time on the right, the runs' names beside them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import product

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D

from seqsetvae import names, palette
from seqsetvae.figures import style
from seqsetvae.figures.curve_panels import Curve, CurvePanel, Dashes, draw_curves
from seqsetvae.tracking.read.recorded_run import RecordedRun
from seqsetvae.tracking.read.smoothing import finite

DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.", (0, (8, 2, 1, 2, 1, 2)))
Look = tuple[str, Dashes]
"""Color and dashes."""
MOST = 14
"""Runs on one figure: more cannot be told apart."""
ROWS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Validation −ELBO", "nats per set", (names.VAL_LOSS,)),
    ("Reconstruction", "nats per set", (names.VAL_RECON, names.TRAIN_RECON)),
    ("KL divergence", "nats per set", (names.COLLAPSE_KL, names.TRAIN_KL)),
    ("Mutual information", "nats", (names.COLLAPSE_MUTUAL_INFORMATION,)),
)
"""Title, unit, and the metrics that may stand for it, of which all runs have the first that any has."""
UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
"""Of wall time: the longest of which a run has two."""
RIGHT, BOTTOM, TOP, GAP = 0.775, 0.06, 0.885, 0.06
LINE = 34
"""Letters of a name on one line beside the figure."""


def comparison(runs: Sequence[RecordedRun]) -> Figure | None:
    """The figure; None where the runs have nothing to compare."""
    shown = pick(runs)
    rows = [(title, unit, key) for title, unit, keys in ROWS for key in _common(shown, keys)]
    if not rows:
        return None
    left_out = len(runs) - len(shown)
    figure = style.new_figure(
        f"{len(runs)} runs compared",
        "left: by optimizer step; right: by wall time since the start of each run"
        + (f"; without the {left_out} with the highest {names.VAL_LOSS}" if left_out else ""),
    )
    height = (TOP - BOTTOM + GAP) / len(rows) - GAP
    grid = figure.add_gridspec(
        len(rows), 2, left=style.LEFT, right=RIGHT, top=TOP, bottom=BOTTOM, hspace=GAP / height, wspace=0.2
    )
    looks = looks_of(shown)
    seconds = max(float(series.time_T[-1]) - run.start_time for run in shown for series in run.metrics.values())
    unit_seconds, unit_name = next(unit for unit in UNITS if seconds > 2.0 * unit[0] or unit is UNITS[-1])
    # A column has one scale, however far each metric reaches.
    drawn = [[_curves(looks, shown, key, unit) for unit in (0.0, unit_seconds)] for _, _, key in rows]
    x_T = [np.concatenate([one.x_T for row in drawn for one in row[column]]) for column in (0, 1)]
    limits = [(low, max(float(x.max()), low + 1e-6)) for low, x in zip((float(x_T[0].min()), 0.0), x_T, strict=True)]
    for row, (title, unit, key) in enumerate(rows):
        for column in (0, 1):
            axes = figure.add_subplot(grid[row, column])
            logarithmic = key in (names.COLLAPSE_KL, names.TRAIN_KL)
            panel = CurvePanel(f"{title} ({key})", unit, drawn[row][column], logarithmic=logarithmic)
            draw_curves(axes, panel, legend=False)
            axes.set_xlim(limits[column])
            style.plain_ticks(axes.xaxis, most=5, number_format="g" if column else ",.0f")
            axes.tick_params(labelbottom=row == len(rows) - 1)
            if row == len(rows) - 1:
                style.label_steps(axes)
                if column:
                    axes.set_xlabel(f"{unit_name} since the start", **style.font(style.SMALL))
    _legend(figure, shown, looks)
    return figure


def pick(runs: Sequence[RecordedRun]) -> list[RecordedRun]:
    """At most :data:`MOST`: those with the lowest validation loss, in the order given."""
    if len(runs) <= MOST:
        return list(runs)

    def lowest(run: RecordedRun) -> float:
        series = finite(run.metrics.get(names.VAL_LOSS))
        return np.inf if series is None else float(series.value_T.min())

    best = sorted(runs, key=lowest)[:MOST]
    return [run for run in runs if run in best]


def _common(runs: Sequence[RecordedRun], keys: Sequence[str]) -> list[str]:
    """The one of these metrics that most of the runs have; none where no run has any."""
    counts = {key: sum(finite(run.metrics.get(key)) is not None for run in runs) for key in keys}
    best = max(keys, key=lambda key: counts[key])
    return [best] if counts[best] else []


def _curves(looks: Sequence[Look], runs: Sequence[RecordedRun], key: str, unit_seconds: float) -> tuple[Curve, ...]:
    """Of each run that has the metric: by its optimizer steps, or where a unit of time is given, since its start."""
    found = []
    for (color, dashes), run in zip(looks, runs, strict=True):
        if key in run.metrics:
            series = run.metrics[key]
            x_T = (series.time_T - run.start_time) / unit_seconds if unit_seconds else series.step_T.astype(np.float64)
            order_T = np.argsort(x_T, kind="stable")
            found.append(Curve("", x_T[order_T], series.value_T[order_T], color, dashes=dashes))
    return tuple(found)


def looks_of(runs: Sequence[RecordedRun]) -> list[Look]:
    """Color and dashes of each run: warm for those that end orange or red, cool for all others, as in MLflow's charts."""
    warm, cool = (product(DASHES, colors) for colors in (palette.WARM, palette.COOL))
    found = []
    for run in runs:
        dashes, color = next(warm if run.tags.get(names.TAG_COLLAPSE) in palette.ALARMING else cool)
        found.append((color, dashes))
    return found


def _legend(figure: Figure, shown: Sequence[RecordedRun], looks: Sequence[Look]) -> None:
    """To the right of all panels, one line for each run, with how it ended."""
    handles = []
    lines = 3 if len(shown) <= 10 else 2  # so that all of them fit beside the panels
    for (color, dashes), run in zip(looks, shown, strict=True):
        name = textwrap.fill(run.name, LINE, max_lines=lines, placeholder=" …")
        level = run.tags.get(names.TAG_COLLAPSE)
        label = f"{name}\n{run.run_id[:8]}, {run.status.lower()}{f', {level}' if level else ''}"
        handles.append(Line2D([], [], color=color, ls=dashes, linewidth=2.0, label=style.legible(label)))
    legend = figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(RIGHT + 0.012, TOP + 0.01),
        prop=FontProperties(family=style.font_families(), size=style.SMALL),
        frameon=False,
        handlelength=1.8,
        labelspacing=0.9,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
