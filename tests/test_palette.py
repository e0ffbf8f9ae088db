"""Runs of one chart can be told apart, and from those that have collapsed."""

from __future__ import annotations

import os
from itertools import combinations

import numpy as np
import pytest
from mlflow import MlflowClient
from numpy.typing import NDArray

from seqsetvae import palette
from seqsetvae.config import TrackingConfig
from seqsetvae.tracking.write.start import start_run


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


@pytest.mark.usefixtures("empty_store")
def test_a_new_run_has_a_color_that_the_eleven_before_it_have_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.create_experiment("colored", str(tmp_path / "artifacts"))
    for age, color in enumerate(reversed(palette.RUNS[1:])):  # the first of these is the newest
        client.create_run(experiment, start_time=1000 + age, tags={"mlflow.runColor": color})
    given = []
    for name in ("one", "two"):
        config = TrackingConfig(experiment="colored", log_system_metrics=False, run_name=name)
        with start_run(config, kind="pretrain", run_name=None, params={}, config_yaml="", tags={}) as run:
            given.append(client.get_run(run.run_id).data.tags["mlflow.runColor"])
    assert given == [palette.RUNS[0], palette.RUNS[-1]], "the one that is left, then the one that was used longest ago"
