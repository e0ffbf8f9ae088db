"""The benchmark of forecasts: its linear model and its coverage are right on values that are known, and it runs whole, in small."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import forecast
from benchmarks.forecast import Later, coverage, forecast_row, least_absolute, share, stretched
from seqsetvae.evaluation.forecast_bands import stretch_for


def made(stays: int, seed: int) -> Later:
    """Of two variables, 0.5 last + 0.2 mean + noise; the quantiles are those of the truth."""
    dice = np.random.default_rng(seed)
    size = stays * 40
    past = np.column_stack([np.ones(size), dice.normal(size=(size, 2)), np.zeros(size)])
    middle = 0.5 * past[:, 1] + 0.2 * past[:, 2]
    reach = np.array([-1.6449, -0.6745, 0.0, 0.6745, 1.6449])[:, None] * 0.3
    value = middle + 0.3 * dice.normal(size=size)
    return Later(np.repeat(np.arange(stays), 40), np.tile([0, 1], size // 2), value, past, middle + reach, 0.1, 0.2)


def test_the_true_bands_hold_what_they_promise_and_the_linear_model_is_found():
    train, test = made(100, 0), made(200, 1)
    outlying = train.value_E.copy()
    outlying[::10] = 50.0
    np.testing.assert_allclose(least_absolute(train.past_EF[:, :3], outlying, 50), [0.0, 0.5, 0.2], atol=0.08)
    (values, error, of_last, of_linear, better, than_linear), farther = forecast_row(
        train, test, ["first", "second", "third"]
    )
    assert values == "8,000"
    assert farther[0] == ""
    assert set(farther[1].split(", ")) <= {"first", "second", ""}
    assert [float(one.split()[0]) for one in coverage(test, test.quantile_QE)] == pytest.approx([50.0, 90.0], abs=1.5)
    twice = replace(test, quantile_QE=test.quantile_QE[2] + 2 * (test.quantile_QE - test.quantile_QE[2]))
    wide = replace(train, quantile_QE=train.quantile_QE[2] + 2 * (train.quantile_QE - train.quantile_QE[2]))
    right_QE = stretched(stretch_for(wide.value_E, wide.variable_E, wide.quantile_QE, 2), twice)
    assert [float(one.split()[0]) for one in coverage(twice, right_QE)] == pytest.approx([50.0, 90.0], abs=2.0)
    assert float(error.split()[0]) == pytest.approx(0.3 * np.sqrt(2 / np.pi), abs=0.01)
    assert float(of_linear.split()[0]) == pytest.approx(0.3 * np.sqrt(2 / np.pi), abs=0.01)
    assert float(of_last.split()[0]) == pytest.approx(np.abs(test.past_EF[:, 1] - test.value_E).mean(), abs=0.001)
    assert better == "2 of 2 variables"
    assert than_linear.endswith("of 2 variables")


def test_an_interval_is_over_stays_and_not_over_values():
    """Of a stay all values are alike: 40 of them say no more than one."""
    value = np.repeat(np.random.default_rng(0).normal(size=100), 40)
    _, interval = share(value, np.repeat(np.arange(100), 40), 1.0, 3).split(" ", 1)
    low, high = (float(one) for one in interval.strip("()").replace("--", " -").replace("-", " -").split())
    assert abs(high) + abs(low) > 0.2


@pytest.mark.nightly
@pytest.mark.usefixtures("empty_store")
def test_it_runs_whole_in_small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values, bands, where, told, imputed = forecast.measure(quick=True)
    assert (
        [row[0] for row in values.rows]
        == [row[0] for row in bands.rows]
        == [row[0] for row in where.rows]
        == [row[0] for row in told.rows]
        == ["1 h", "6 h", "24 h"]
    )
    assert [row[1] for row in imputed.rows] == ["200"] * 4
    assert [str(row[0]).split(",")[0] for row in imputed.rows] == ["head", "head", "decoder", "decoder"]
