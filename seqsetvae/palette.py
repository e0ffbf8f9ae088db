"""Colors of Okabe & Ito (2008), which color-blind readers can tell apart: for figures, and for runs in MLflow's charts."""

from __future__ import annotations

from zlib import crc32

BLACK, BLUE, SKY, GREEN = "#000000", "#0072B2", "#56B4E9", "#009E73"
YELLOW, ORANGE, VERMILION, PURPLE = "#F0E442", "#E69F00", "#D55E00", "#CC79A7"

LEVELS = {"unknown": "#999999", "green": GREEN, "yellow": YELLOW, "orange": ORANGE, "red": VERMILION}
"""Of the collapse levels, by their word: "red" is vermilion, which red-green-blind readers tell from the green."""
COOL, WARM = (BLUE, GREEN, SKY, BLACK), (VERMILION, ORANGE, PURPLE)
"""Of runs that nothing is wrong with, and of the others: more than one, so that they can be told apart in one chart."""
ALARMING = ("orange", "red")


def run_color(run_id: str, level: str) -> str:
    """Of a run in a chart: warm where it collapsed or is about to, else one of the cool ones, by its id.

    >>> run_color("0c" * 16, "red"), run_color("0c" * 16, "green"), run_color("0d" * 16, "yellow")
    ('#D55E00', '#009E73', '#000000')
    """
    return LEVELS[level] if level in ALARMING else COOL[crc32(run_id.encode()) % len(COOL)]
