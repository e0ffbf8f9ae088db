"""Sets that are made up: their values are distributed as the planted model says, and follow what is known of a stay."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from seqsetvae.batch import EventBatch
from seqsetvae.errors import InputError
from seqsetvae.posterior import DiagonalGaussian
from seqsetvae.training.pretrained.exported import Pretrained
from tests.evaluation.planted_model import SOURCE, UNLEARNED, planted_model, planted_store


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return planted_model(planted_store(tmp_path_factory.mktemp("planted") / "store"))


class LatentBefore(nn.Module):
    """h_t = z_{t-1} of the same subject."""

    def forward(self, z_SZ: Tensor, batch: EventBatch) -> Tensor:
        before_SZ = z_SZ.roll(1, dims=0)
        return torch.where((batch.position_S > 0)[:, None], before_SZ, 0.0)


def test_for_nobody_values_are_those_of_prior_and_decoder(planted: Pretrained) -> None:
    names = planted.vocabulary.names
    said = planted.sample(3000, minutes=[60.0], size=len(names))
    assert list(said) == ["subject", "draw", "minute", "variable", "value"]
    assert (said["minute"] == 60.0).all()
    wide = said.pivot(index="draw", columns="variable", values="value")[list(names)].to_numpy()
    assert wide.shape == (3000, len(names))
    level_V, unit_V = SOURCE.units()
    loading_V = SOURCE.loadings()[:, 0]
    learned = [v for v in range(len(names)) if v != UNLEARNED]
    middle, spread = np.median(wide, 0), np.subtract(*np.quantile(wide, (0.75, 0.25), axis=0)) / 1.349
    np.testing.assert_allclose((middle - level_V)[learned] / unit_V[learned], 0.0, atol=0.1)
    right = np.sqrt(loading_V**2 + SOURCE.noise**2) * unit_V
    np.testing.assert_allclose(spread[learned], right[learned], rtol=0.1)
    first, second = learned[:2]
    shared = loading_V[first] * loading_V[second] * unit_V[first] * unit_V[second] / (right[first] * right[second])
    found = pd.DataFrame(wide[:, [first, second]]).corr("spearman").to_numpy()[0, 1]
    assert found == pytest.approx(shared, abs=0.08)


def test_variables_are_drawn_without_putting_back(planted: Pretrained) -> None:
    said = planted.sample(2000, minutes=[1.0], size=2)
    assert said.groupby("draw").size().eq(2).all()
    assert not said.duplicated(["draw", "variable"]).any()
    np.testing.assert_allclose(said["variable"].value_counts(normalize=True), 1 / 6, atol=0.02)


def test_what_follows_a_stay_follows_its_history(planted: Pretrained) -> None:
    """With h_t = z_{t-1} the next set has the severity of the last known one, and the one after that any."""
    planted = deepcopy(planted)
    planted.vae.history = LatentBefore()
    level_V, unit_V = SOURCE.units()
    loading_V, names = SOURCE.loadings()[:, 0], planted.vocabulary.names
    rows = [
        (who, minute, name, level_V[v] + unit_V[v] * loading_V[v] * severity)
        for who, severity in (("ill", 2.5), ("well", -2.5))
        for minute in (1000.0, 1005.0)
        for v, name in enumerate(names[:2])
    ]
    events = pd.DataFrame(rows, columns=["subject", "minute", "variable", "value"])
    said = planted.sample(400, events, minutes=[30.0, 60.0])
    assert sorted(said["minute"].unique()) == [1035.0, 1065.0]
    assert said.groupby(["subject", "draw", "minute"]).size().eq(2).all(), "as many as the stay's own sets have"
    said["scaled"] = [
        (x - level_V[names.index(v)]) / (unit_V[names.index(v)] * loading_V[names.index(v)])
        for v, x in zip(said["variable"], said["value"], strict=True)
    ]
    learned = said[said["variable"] != names[UNLEARNED]]
    middle = learned.groupby(["minute", "subject"])["scaled"].median()
    assert middle[1035.0]["ill"] == pytest.approx(2.5, abs=0.3)
    assert middle[1035.0]["well"] == pytest.approx(-2.5, abs=0.3)
    assert abs(middle[1065.0]["ill"]) < 0.4
    pd.testing.assert_frame_equal(planted.sample(5, events, seed=1), planted.sample(5, events, seed=1))


def test_what_cannot_be_is_named(planted: Pretrained) -> None:
    for given, said in (
        ({"n": 0, "size": 1}, "0 draws were asked for"),
        ({"n": 1}, "nothing says how many a set has"),
        ({"n": 1, "size": 7}, "A set of 7 events was asked for, but it must have 1 to 6"),
        ({"n": 1, "size": 1, "minutes": [5.0, 5.0]}, "must be above 0 and ascend"),
    ):
        with pytest.raises(InputError, match=said):
            planted.sample(**given)  # type: ignore[arg-type]


class Stays(nn.Module):
    """A prior that expects what was there before, nearly for certain; of the first set nothing but a severity of 2."""

    def forward(self, history_SD: Tensor, batch: EventBatch) -> DiagonalGaussian:
        before_SZ = torch.where((batch.position_S > 0)[:, None], history_SD.roll(1, dims=0), 2.0)
        return DiagonalGaussian(before_SZ, torch.full_like(before_SZ, -12.0))


@pytest.mark.parametrize("known", [True, False])
def test_under_a_learned_prior_each_new_set_follows_the_one_before(planted: Pretrained, known: bool) -> None:
    planted = deepcopy(planted)
    planted.vae.prior = Stays()
    level_V, unit_V = SOURCE.units()
    loading_V, names = SOURCE.loadings()[:, 0], planted.vocabulary.names
    severity = -1.5 if known else 2.0
    values = level_V + unit_V * loading_V * severity
    events = pd.DataFrame({"subject": "a", "minute": 5.0, "variable": names, "value": values}) if known else None
    said = planted.sample(400, events, minutes=[30.0, 60.0, 600.0], size=len(names))
    middle = said.groupby(["minute", "variable"])["value"].median().unstack()[list(names)].to_numpy()
    learned = [v for v in range(len(names)) if v != UNLEARNED]
    assert middle.shape == (3, len(names))
    for of_set in middle:  # not of the first new set alone
        np.testing.assert_allclose(
            (of_set - level_V)[learned] / unit_V[learned], (loading_V * severity)[learned], atol=0.12
        )
