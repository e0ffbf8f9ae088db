"""Scaling is linear at the center, logarithmic in the tails and can be undone; statistics are numpy's, whatever the sharding."""

from __future__ import annotations

import numpy as np
import pytest

from seqsetvae.data.statistics import Statistics, order_statistics, statistics
from seqsetvae.data.vocabulary import Vocabulary, robust_spread

N_VARIABLES = 7


def wild_events(n: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Values over many orders of magnitude and both signs, with ties, a constant variable and one single event."""
    rng = np.random.default_rng(5)
    variable = rng.integers(0, N_VARIABLES - 1, n).astype(np.int32)
    value = (rng.standard_t(1.2, n) * 10.0 ** rng.integers(-6, 7, n)).astype(np.float32)
    value[variable == 1] = np.round(value[variable == 1] % 5)
    value[variable == 2] = 1.0
    value[variable == 3] *= 0.0
    variable[-1], value[-1] = N_VARIABLES - 1, -17.8
    return variable, value


@pytest.mark.parametrize("cuts", [[], [1, 2, 700, 701, 4000]])
def test_statistics_equal_numpy_in_float64(cuts: list[int]) -> None:
    variable, value = wild_events()
    shards = list(zip(np.split(variable, cuts), np.split(value, cuts), strict=True))
    found = statistics(lambda: shards, N_VARIABLES)
    for v in range(N_VARIABLES):
        x = value[variable == v].astype(np.float64)
        q1, q3 = np.quantile(x, [0.25, 0.75])
        assert found.count_V[v] == len(x)
        assert (found.min_V[v], found.max_V[v]) == (x.min(), x.max())
        assert found.median_V[v] == pytest.approx(np.median(x), rel=1e-12)
        assert found.iqr_V[v] == pytest.approx(q3 - q1, rel=1e-9)
        assert found.mean_V[v] == pytest.approx(x.mean(), rel=1e-9)
        assert found.std_V[v] == pytest.approx(x.std(), rel=1e-9)


def test_every_rank_is_found_exactly() -> None:
    variable, value = wild_events(600)
    mine = value[variable == 0]
    ranks = np.tile(np.arange(len(mine)), (N_VARIABLES, 1)) % np.bincount(variable)[:, None]
    found = order_statistics(lambda: [(variable, value)], ranks)
    np.testing.assert_array_equal(found[0], np.sort(mine))


def test_spread_is_never_zero() -> None:
    variable, value = wild_events()
    spread = robust_spread(statistics(lambda: [(variable, value)], N_VARIABLES))
    assert (spread > 0).all()
    assert spread[2] == spread[3] == spread[6] == 1.0


def test_unscale_undoes_scale_far_beyond_any_plausible_value() -> None:
    center = np.array([7.38, 37.0, 0.0, 1.0])
    spread = np.array([0.07, 0.8, 1e3, 1.0])
    vocabulary = Vocabulary(tuple("abcd"), Statistics.empty(4), center, spread)
    rng = np.random.default_rng(0)
    variable = rng.integers(0, 4, 10_000)
    raw = center[variable] + spread[variable] * rng.standard_normal(10_000) * 10.0 ** rng.integers(-2, 6, 10_000)
    scaled = vocabulary.scale(variable, raw.astype(np.float32))
    assert scaled.dtype == np.float32
    expected = np.arcsinh((raw - center[variable]) / spread[variable])
    # float32 resolves 7.38 to 2e-7, which is 4e-6 of its spread.
    np.testing.assert_allclose(scaled, expected, atol=2e-5)
    np.testing.assert_allclose(vocabulary.unscale(variable, scaled), raw, rtol=3e-6, atol=1e-5 * spread.max())
    assert np.all(np.diff(vocabulary.scale(np.zeros(100, int), np.linspace(-900, 900, 100, dtype=np.float32))) > 0)


def test_table_round_trip_keeps_everything() -> None:
    variable, value = wild_events()
    of_train = statistics(lambda: [(variable, value)], N_VARIABLES)
    embedding = np.arange(N_VARIABLES * 4, dtype=np.float32).reshape(N_VARIABLES, 4)
    names = tuple("abcdefg")
    before = Vocabulary(names, of_train, of_train.median_V, robust_spread(of_train), embedding)
    after = Vocabulary.from_table(before.to_table())
    assert after.names == names
    assert after.embedding is not None
    np.testing.assert_array_equal(after.embedding, embedding)
    np.testing.assert_array_equal(after.spread_V, before.spread_V)
    np.testing.assert_array_equal(after.statistics.max_V, of_train.max_V)
