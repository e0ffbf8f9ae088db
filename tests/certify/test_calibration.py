"""Reliability, lead times and grades, on runs made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from seqsetvae.certify.calibration import Checks, brier, gap, lead_table, reliability, told_before
from seqsetvae.certify.outcome import grade_table
from seqsetvae.certify.public_logs import log_table, logs, loss_table
from seqsetvae.certify.verdict import score
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.collapse.probability import Logistic
from tests.certify.test_verdict import ALIVE, DEAD, FAINT, trajectory

AS_IT_IS = Logistic([0.0], [1.0], [1.0], 0.0)


def test_a_probability_that_is_kept_has_no_gap_and_one_that_is_not_has_its_own():
    """Of 1000 checks at 80 %, 800 ended collapsed; then 500."""
    found_NK = np.full((1000, 1), np.log(4.0))
    for ended, error in ((800, 0.0), (500, 0.3)):
        seen = Checks(found_NK, (np.arange(1000) < ended) * 1.0, np.full(1000, 1e-3), np.arange(1000))
        [(mean, share, checks, runs)] = reliability(AS_IT_IS, seen)
        assert [mean, share] == pytest.approx([0.8, ended / 1000])
        assert (checks, runs) == (1000, 1000)
        assert gap(AS_IT_IS, seen) == pytest.approx(error, abs=1e-9)
        assert brier(AS_IT_IS, seen) == pytest.approx((ended * 0.04 + (1000 - ended) * 0.64) / 1000)


def test_the_lead_counts_from_the_first_warning_that_stays_to_death():
    run = replace(trajectory([ALIVE] * 5 + [FAINT, DEAD, DEAD, DEAD]), seed=1)
    levels = [Level.GREEN] * 7 + [Level.RED] * 2
    verdict = score(run, levels, 0, [0.1, 0.9, 0.1, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9])
    [(case, runs, likely, orange, red)] = lead_table([verdict]).rows
    # It warns for good at step 40 and is dead at step 70; red comes at step 80.
    assert (case, runs) == ("a case", 1)
    assert str(likely).startswith("30 to 30")
    assert str(orange).startswith("-10")
    assert str(red).startswith("-10")


def test_nobody_knows_of_a_decoder_that_is_going_to_be_unplugged():
    broken = replace(trajectory([ALIVE, DEAD]), sudden_from=15)
    assert [told_before(broken, step) for step in (10, 20)] == [False, True]


def test_grades_are_shares_of_the_checks_in_each_band():
    verdict = score(trajectory([ALIVE, FAINT, FAINT, DEAD]), [Level.GREEN, Level.YELLOW, Level.ORANGE, Level.RED], 0)
    rows = {row[0]: row[1:] for row in grade_table([verdict]).rows}
    assert rows["0 to 0.005"] == (1, "0.0%", "0.0%", "0.0%", "100.0%")
    assert rows["0.03 to 0.1"] == (2, "0.0%", "50.0%", "50.0%", "0.0%")


def test_published_logs_are_as_they_were_published():
    """536 points with mutual information below 0.1 nats, of which KL < 0.01 finds 5."""
    points = [one for log in logs().values() for one in log]
    below = [one for one in points if one.mutual_information < 0.1]
    assert (len(points), len(below), sum(one.kl < 0.01 for one in below)) == (1211, 536, 5)
    levels = {row[0]: row for row in log_table().rows}
    assert levels["he2019-yelp"][-2:] == (0, "unknown"), "it lives, and nobody asked the decoder"
    verdicts = {(row[0], row[2]): str(row[3]).split(" of ") for row in loss_table().rows}
    for (_, truth), (called, of) in verdicts.items():
        assert truth == "faint" or called == (of if truth == "dead" else "0")
