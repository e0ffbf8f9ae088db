"""P(the run ends collapsed): fitted as scikit-learn fits it, and made of what the closed form says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from seqsetvae.collapse.alert_texts import evidence
from seqsetvae.collapse.alerts import Alert, as_row, from_row
from seqsetvae.collapse.detector import Detector
from seqsetvae.collapse.diagnosis import NOTHING_TO_ENCODE, Level
from seqsetvae.collapse.forecast import forecast
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.probability import Logistic, chance_of_collapse, features, of_certification
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settling import settle_monitor

HEALTHY = CollapseStatistics(
    *(1000, 1024, 4.0, 8, 8, 3.0, 6.9, 0.0, 0.3, 1.0, 1.0),
    **{"kl_Z": np.full(8, 0.5, np.float32), "beta": 1.0, "decoder_information": 1.2, "decoder_information_error": 0.1},
)
DEAD = replace(
    HEALTHY,
    **{"kl": 1e-5, "active_units": 0, "mutual_information": 1e-5, "kl_Z": np.zeros(8, np.float32)},
    **{"decoder_information": 0.0, "decoder_information_error": 0.0},
)
OUTLOOK = BetaOutlook(2000, beta_at=lambda step: 1.0)
MARGIN = 5


def test_the_fit_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    found = random.normal(3.0, 2.0, (4000, 3))
    ended = (random.random(4000) < 1.0 / (1.0 + np.exp(-(found[:, 0] - 3.0)))).astype(float)
    fitted = Logistic.fitted(found, ended, np.full(4000, 1 / 4000), ridge=0.0)
    scaled = (found - found.mean(0)) / found.std(0)
    theirs = LogisticRegression(C=1e8, tol=1e-10).fit(scaled, ended)
    assert fitted.weight == pytest.approx(theirs.coef_[0], abs=1e-3)
    assert fitted.intercept == pytest.approx(theirs.intercept_[0], abs=1e-3)
    written: dict = {}
    exec(fitted.rounded().to_python(), written)
    assert Logistic(**written["COEFFICIENTS"]).weight == pytest.approx(fitted.weight, rel=1e-5)


@pytest.mark.parametrize("at_end", [1.0, 4.0, 8.0, 20.0])
def test_the_margin_is_the_distance_to_the_beta_at_which_the_last_dimension_dies(at_end):
    """Linear decoder, lambda 8, beta 2: KL = 0.5 ln(8 / 2), whatever the variance of the decoder."""
    kl = 0.5 * math.log(8.0 / 2.0)
    update = replace(HEALTHY, beta=2.0, kl_Z=np.array([kl, 0.0], np.float32))
    found = features(update, BetaOutlook(2000, beta_at=lambda step: at_end), [3.0])
    assert found is not None
    assert found[MARGIN] == pytest.approx(math.log(8.0 / at_end), abs=1e-6)


def test_it_is_high_for_the_dead_and_low_for_the_living():
    assert chance_of_collapse(replace(DEAD, step=1800), OUTLOOK, [1e-5] * 3) > 0.9
    assert chance_of_collapse(replace(HEALTHY, step=1800), OUTLOOK, [3.0] * 3) < 0.1
    doomed = BetaOutlook(2000, beta_at=lambda step: 50.0 if step > 1100 else 1.0)
    assert chance_of_collapse(HEALTHY, doomed, [3.0] * 3) > chance_of_collapse(HEALTHY, OUTLOOK, [3.0] * 3) + 0.3


@pytest.mark.parametrize(
    "without", [{"decoder_information": None}, {"finite": False}, {"kl_Z": np.zeros(0, np.float32)}]
)
def test_nobody_can_tell_without_the_decoder_or_with_figures_that_are_no_numbers(without):
    assert chance_of_collapse(replace(HEALTHY, **without), OUTLOOK, [3.0]) is None


def test_every_feature_has_its_coefficient():
    found = features(HEALTHY, OUTLOOK, [3.0])
    model = of_certification()
    assert found is not None
    assert len(model.weight) == len(model.mean) == len(model.deviation) == len(found) == 17


def test_an_alert_carries_it_and_the_rules_of_the_guides_have_none():
    config = settle_monitor(MonitorConfig(), 2000)
    said = Detector(config, OUTLOOK).check(DEAD)
    assert said.probability is not None
    alert = Alert(said, 0.0)
    assert from_row(as_row(alert)) == alert
    assert any(f"{said.probability:.0%}" in line for line in evidence(said))
    assert Detector(settle_monitor(MonitorConfig(rules="source"), 2000), OUTLOOK).check(DEAD).probability is None


def test_nothing_to_encode_is_a_finding_of_its_own_and_not_red():
    config = settle_monitor(MonitorConfig(), 2000)
    detector = Detector(
        config, replace(OUTLOOK, forecast=forecast(torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))))
    )
    said = [detector.check(replace(DEAD, step=step)) for step in range(1000, 1400, 50)]
    assert {(one.level, one.finding) for one in said} == {(Level.ORANGE, NOTHING_TO_ENCODE)}
    assert NOTHING_TO_ENCODE in said[0].headline
    verdict = detector.verdict([DEAD] * 3)
    assert (verdict.level, verdict.finding) == (Level.ORANGE, NOTHING_TO_ENCODE)
    assert "nothing to encode" in verdict.advice.lower()
    alive = detector.verdict([HEALTHY] * 3)
    assert (alive.level, alive.finding) == (Level.GREEN, "")
