"""Colors of Okabe & Ito (2008), which color-blind readers can tell apart: for figures, and for runs in MLflow's charts."""

from __future__ import annotations

from zlib import crc32

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


def run_color(run_id: str, level: str) -> str:
    """Of a run in a chart: warm where it collapsed or is about to, else one of twelve, by its id.

    >>> run_color("0c" * 16, "red"), run_color("0c" * 16, "green"), run_color("0d" * 16, "yellow")
    ('#D55E00', '#AA4499', '#7F7F7F')
    """
    return LEVELS[level] if level in ALARMING else RUNS[crc32(run_id.encode()) % len(RUNS)]
