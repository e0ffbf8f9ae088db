"""The traffic light over time, and the marks of the alerts in all panels below it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.figures import style

MEANINGS = {
    Level.UNKNOWN: "the decoder was not asked",
    Level.GREEN: "in range",
    Level.YELLOW: "one indicator out of range",
    Level.ORANGE: "two or more",
    Level.RED: "confirmed",
}
CROWDED = 12
"""Alerts from which marks are smaller and lines thinner."""
NAMED_FROM = 0.07
"""Share of the strip's width from which a stretch of one level has room for its name."""


def stretches(alerts: Sequence[Diagnosis], first: int, last: int) -> list[tuple[int, int, Level]]:
    """(from step, to step, level): green until the first alert, then as each alert says until the next one.

    >>> red = Diagnosis(600, Level.RED, (), (), "")
    >>> [(start, end, level.word) for start, end, level in stretches([red], 50, 1000)]
    [(50, 600, 'green'), (600, 1000, 'red')]
    """
    starts = [(first, Level.GREEN), *((alert.step, alert.level) for alert in own(alerts))]
    ends = [start for start, _ in starts[1:]] + [last]
    return [(start, end, level) for (start, level), end in zip(starts, ends, strict=True) if end > start]


def own(alerts: Sequence[Diagnosis]) -> list[Diagnosis]:
    """The alerts of the detector that decides; an early warning beside it has marks, but no say in the level."""
    return [alert for alert in alerts if alert.detector == "primary"]


def verdict(alerts: Sequence[Diagnosis], last: int) -> str:
    """The level at the end, in words.

    >>> verdict([], 2000)
    'green up to step 2,000: no alert'
    >>> verdict([Diagnosis(600, Level.RED, (), ("KL divergence too low: 0.001000 < 0.01",), "")], 2000)
    'RED since step 600: posterior collapse'
    """
    alerts = own(alerts)
    if not alerts:
        return f"green up to step {last:,}: no alert"
    now = alerts[-1]
    worst = max(alert.level for alert in alerts)
    if now.level == Level.RED:
        return f"RED since step {now.step:,}: posterior collapse"
    before = "" if worst == now.level else f" (worst so far: {worst.word})"
    return f"{now.level.word} since step {now.step:,}: {MEANINGS[now.level]}{before}"


def step_range(updates: Sequence[CollapseStatistics], alerts: Sequence[Diagnosis]) -> tuple[int, int]:
    """First and last step of either; two steps apart at least, so that an axis has a length.

    >>> step_range([], [Diagnosis(600, Level.RED, (), (), "")])
    (599, 601)
    """
    steps = [*(update.step for update in updates), *(alert.step for alert in alerts)]
    first, last = min(steps), max(steps)
    return (first, last) if last > first else (first - 1, first + 1)


def draw_strip(axes: Axes, alerts: Sequence[Diagnosis], first: int, last: int) -> None:
    """The level at each step as a colored strip, with each alert's mark at its step."""
    style.dress(axes, "Level", "")
    axes.grid(False)
    axes.set(xlim=(first, last), ylim=(0, 1))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for start, end, level in stretches(alerts, first, last):
        axes.broken_barh([(start, end - start)], (0.15, 0.7), facecolors=style.LEVEL_COLORS[level], linewidth=0)
        if end - start >= NAMED_FROM * (last - first):
            axes.text((start + end) / 2, 0.5, level.word, ha="center", va="center", **style.font(style.TEXT))
    size = 9.0 if len(alerts) < CROWDED else 6.0
    for alert in alerts:
        early = alert.detector != "primary"
        axes.add_line(_mark(alert.level, size, [alert.step], [1.0 if early else 0.5], early))
    handles = [_mark(level, 9.0, label=f"{level.word}: {meaning}") for level, meaning in MEANINGS.items()]
    if len(own(alerts)) < len(alerts):
        handles.append(_mark(Level.ORANGE, 9.0, early=True, label="early warning"))
    style.legend_above(axes, handles)


def _mark(
    level: Level, size: float, x: Sequence[int] = (), y: Sequence[float] = (), early: bool = False, label: str = ""
) -> Line2D:
    return Line2D(
        x,
        y,
        linestyle="none",
        marker=style.LEVEL_MARKERS[level],
        markersize=size,
        markerfacecolor="white" if early else style.LEVEL_COLORS[level],
        markeredgecolor=style.BLACK,
        markeredgewidth=0.9,
        label=label,
        clip_on=False,
        zorder=5,
    )


def draw_alert_lines(axes: Axes, alerts: Sequence[Diagnosis]) -> None:
    """A vertical line in the level's color at the step of each alert, behind the data."""
    for level in Level:
        steps = [alert.step for alert in own(alerts) if alert.level == level]
        if steps:
            axes.vlines(
                steps,
                0,
                1,
                transform=axes.get_xaxis_transform(),
                colors=style.LEVEL_COLORS[level],
                linewidth=1.6 if len(alerts) < CROWDED else 0.8,
                zorder=1.5,
                label=f"{level.word} alert",
            )
