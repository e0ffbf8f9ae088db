"""Runs of one chart can be told apart, and from those that have collapsed."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from seqsetvae import palette


def lab(color: str) -> NDArray[np.float64]:
    """CIELAB of an sRGB color, white point D65."""
    coded = np.array([int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(coded > 0.04045, ((coded + 0.055) / 1.055) ** 2.4, coded / 12.92)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ linear / np.array([0.9505, 1.0, 1.089]))  # black, far from all, is not exact
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_twelve_colors_of_runs_are_far_apart():
    assert len(set(palette.RUNS)) == 12
    others = [palette.LEVELS[level] for level in palette.ALARMING] + ["#FFFFFF"]
    pairs = combinations([*palette.RUNS, *others], 2)
    assert [pair for pair in pairs if np.linalg.norm(lab(pair[0]) - lab(pair[1])) < 25] == []


def test_runs_get_all_of_them():
    given = {palette.run_color(f"{number:032x}", "green") for number in range(200)}
    assert given == set(palette.RUNS)
