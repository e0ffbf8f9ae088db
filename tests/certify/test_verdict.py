"""Scores on hand-made sequences: '.' green, 'y' yellow, 'o' orange, 'R' red; information in nats."""

from dataclasses import replace

import pytest

from seqsetvae.certify.trajectory import Observation, Trajectory
from seqsetvae.certify.verdict import judge, score, true_onset
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig

ALIVE, FAINT, DEAD = 2.0, 0.05, 0.001
STATISTICS = CollapseStatistics(0, 1024, 5.0, 8, 8, 2.0, 6.9, 0.0, 0.3, 1.0, 1.0, decoder_use=1.0)


def trajectory(information, collapses=True) -> Trajectory:
    """A check every 10 steps."""
    observations = [
        Observation(replace(STATISTICS, step=10 * place), nats) for place, nats in enumerate(information, start=1)
    ]
    steps = 10 * len(observations)
    return Trajectory("a case", 0, steps, lambda step: 1.0, collapses, observations=observations)


def scored(levels: str, information, grace_steps=0):
    return score(trajectory(information), [Level(".yoR".index(one)) for one in levels], grace_steps)


@pytest.mark.parametrize(
    ("information", "grace_steps", "onset"),
    [
        ([ALIVE, ALIVE, DEAD, DEAD], 0, 2),
        ([DEAD, ALIVE, DEAD, ALIVE], 0, None),
        ([DEAD, ALIVE, DEAD, DEAD], 0, 2),
        ([DEAD, DEAD, DEAD, DEAD], 30, 2),
        ([DEAD, DEAD, DEAD, DEAD], 0, 0),
        ([ALIVE, FAINT, FAINT, FAINT], 0, None),
    ],
)
def test_onset_is_the_first_check_that_is_dead_to_the_end_after_the_grace_period(information, grace_steps, onset):
    assert true_onset(trajectory(information).observations, grace_steps) == onset


def test_delay_and_missed_checks_count_from_the_onset():
    verdict = scored("..yooRRR", [ALIVE] * 2 + [DEAD] * 6)
    assert (verdict.onset, verdict.first_red, verdict.delay, verdict.first_red_step) == (2, 5, 3, 60)
    assert (verdict.missed, verdict.checks_after_onset, verdict.false_reds) == (1, 6, 0)


def test_a_red_that_falls_back_too_far_is_missed_again():
    assert scored("RR.yoR", [DEAD] * 6).missed == 2


def test_a_detector_that_sees_it_coming_has_a_negative_delay():
    verdict = scored("..RRR", [ALIVE, FAINT, FAINT, DEAD, DEAD])
    assert (verdict.delay, verdict.false_reds) == (-1, 0)


def test_red_while_the_run_is_alive_or_will_be_again_is_false():
    verdict = scored("RR..RR", [ALIVE, DEAD, ALIVE, ALIVE, DEAD, DEAD])
    assert (verdict.false_reds, verdict.first_red) == (2, 4)


def test_every_red_is_false_on_a_run_that_does_not_end_dead():
    verdict = scored(".RRR", [ALIVE, DEAD, DEAD, FAINT])
    assert (verdict.false_reds, verdict.first_red, verdict.delay, verdict.missed) == (3, None, None, 0)


def test_a_collapse_that_nobody_called():
    verdict = scored(".....", [ALIVE, DEAD, DEAD, DEAD, DEAD])
    assert (verdict.first_red, verdict.delay, verdict.missed) == (None, None, 4)


def test_a_detector_sees_decoder_use_only_when_it_has_asked_for_it():
    """Zero at checks 2 to 5 and at check 7; asked for at checks 1 and 6, and at every check once something looks collapsed."""
    found = trajectory([ALIVE] * 12, collapses=False)
    for place, one in enumerate(found.observations):
        use = 0.0 if place in {1, 2, 3, 4, 6} else 1.0
        found.observations[place] = replace(one, statistics=replace(one.statistics, decoder_use=use))
    config = MonitorConfig(grace_steps=0, update_frequency=10, decoder_use_every=5)
    assert judge(found, config).levels == (Level.GREEN,) * 12

    found.observations[5] = replace(
        found.observations[5], statistics=replace(found.observations[5].statistics, decoder_use=0.0)
    )
    levels = judge(found, config).levels
    assert levels[5:8] == (Level.ORANGE,) * 3, "two measurements, and then a good one: not confirmed"
    assert max(levels) == Level.ORANGE
    assert levels[-1] == Level.GREEN
