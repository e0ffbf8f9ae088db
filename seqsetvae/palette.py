"""Colors of Okabe & Ito (2008), which color-blind readers can tell apart: for figures, and for runs in MLflow's charts."""

from __future__ import annotations

from collections.abc import Collection

BLACK, BLUE, SKY, GREEN = "#000000", "#0072B2", "#56B4E9", "#009E73"
YELLOW, ORANGE, VERMILION, PURPLE = "#F0E442", "#E69F00", "#D55E00", "#CC79A7"

LEVELS = {"unknown": "#999999", "green": GREEN, "yellow": YELLOW, "orange": ORANGE, "red": VERMILION}
"""Of the collapse levels, by their word: "red" is vermilion, which red-green-blind readers tell from the green."""
COOL, WARM = (BLUE, GREEN, SKY, BLACK), (VERMILION, ORANGE, PURPLE)
"""Of runs that nothing is wrong with, and of the others: more than one, so that they can be told apart in one chart."""
RUNS = (
    *(BLUE, SKY, GREEN, BLACK, "#332288", "#AA4499", "#8FBC1F", "#7F7F7F", "#7A4B1A", "#7B61FF", "#9AE6C8", "#F2A6D0"),
)
"""Of runs on MLflow's pages: twelve that are far apart (a distance of 26 or more in CIELAB), from those of an alarm and from white, too."""
ALARMING = ("orange", "red")


def next_color(taken: Collection[str | None]) -> str:
    """The color of a new run: the first of the twelve that the runs before it have left.

    >>> next_color([]), next_color([BLUE, None]), next_color(RUNS)
    ('#0072B2', '#56B4E9', '#0072B2')
    """
    return next((color for color in RUNS if color not in taken), RUNS[0])


def run_color(own: str, level: str) -> str:
    """Of a run in a chart: warm where it collapsed or is about to, else its own.

    >>> run_color(BLUE, "red"), run_color(BLUE, "green")
    ('#D55E00', '#0072B2')
    """
    return LEVELS[level] if level in ALARMING else own
