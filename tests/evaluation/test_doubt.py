"""How sure a risk is: members and draws of the posterior spread as they are made to, and groups are scored by the width of that."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqsetvae.evaluation.doubt import GROUPS, group_rows
from seqsetvae.model.classifier import RiskNet
from seqsetvae.scores import auroc, brier
from seqsetvae.tasks.binary import Binary
from seqsetvae.training.finetuning.mortality import RiskModel
from tests.evaluation.planted_model import SEVERITY, SIGMA, planted_model, planted_store


class LastSeverity(torch.nn.Module):
    """A multiple of the history's severity at the last set, and something of its own."""

    def __init__(self, slope: float, own: float):
        super().__init__()
        self.slope, self.own = slope, own

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        return self.slope * x_BF[:, SEVERITY] + self.own


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    store = planted_store(tmp_path_factory.mktemp("planted") / "store")
    return planted_model(store), store.shard("test", 0)


def risk_model(model, heads) -> RiskModel:
    return RiskModel(model, RiskNet([model.vae], heads, "history").eval(), 8, Binary())


def logits(answer: np.ndarray) -> np.ndarray:
    return np.log(answer / (1 - answer))


def test_draws_spread_as_the_posterior_does_and_members_as_they_differ(planted) -> None:
    model, stays = planted
    one = risk_model(model, [LastSeverity(2.0, 0.0)])
    drawn_KB = logits(one.drawn(stays, 400)[:, :, 0])
    np.testing.assert_allclose(drawn_KB.std(0), 2.0 * SIGMA, rtol=0.25)
    np.testing.assert_allclose(drawn_KB.mean(0), logits(one.predict(stays)), atol=0.05)
    several = risk_model(model, [LastSeverity(0.0, own) for own in (-1.0, 0.0, 1.0)])
    drawn_KB = logits(several.drawn(stays, 2)[:, :, 0])
    assert drawn_KB.shape == (6, stays.n_subjects)
    np.testing.assert_allclose(np.sort(drawn_KB, 0), np.repeat([-1.0, 0.0, 1.0], 2)[:, None] + 0 * drawn_KB, atol=1e-5)
    np.testing.assert_array_equal(one.drawn(stays, 3), one.drawn(stays, 3))


def test_stays_of_wide_intervals_are_scored_apart() -> None:
    dice = np.random.default_rng(0)
    width = np.repeat([0.1, 1.0, 3.0], 200)
    truth = dice.normal(size=600) * 2
    said = truth + width * dice.normal(size=600)
    outcome = (dice.random(600) < 1 / (1 + np.exp(-truth))).astype(float)
    risk = 1 / (1 + np.exp(-said))
    drawn = 1 / (1 + np.exp(-(said + width * dice.normal(size=(50, 600)))))
    rows = group_rows("model", outcome, risk, drawn)
    assert [row[1] for row in rows] == list(GROUPS)
    assert [row[2] for row in rows] == [200, 200, 200]
    for row, stays in zip(rows, np.split(np.arange(600), 3), strict=True):
        expected = (2 * 1.645 * width[stays][0], risk[stays].mean(), outcome[stays].mean())
        assert row[3:6] == pytest.approx(expected, rel=0.12)
        assert row[6:] == pytest.approx((brier(outcome[stays], risk[stays]), auroc(outcome[stays], risk[stays])))
    assert rows[0][6] < rows[2][6]
