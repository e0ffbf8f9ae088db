"""The detector's memory: grace, confirmation, hysteresis, knowledge of the beta schedule; and the guides' rules beside it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from seqsetvae.collapse.detector import Detector, detectors_of
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settling import settle_monitor
from seqsetvae.errors import InputError

HEALTHY = CollapseStatistics(0, 1024, 5.0, 8, 16, 2.0, 6.9, 0.1, 0.5, 1.0, 1.0, decoder_use=3.0)
COLLAPSED = CollapseStatistics(0, 1024, 0.001, 0, 16, 0.0, 6.9, 1.0, 1.0, 1.0, 1.0, decoder_use=0.0)


def detector(total_steps: int = 10_000, outlook: BetaOutlook | None = None, **settings) -> Detector:
    config = settle_monitor(MonitorConfig(**settings), total_steps)
    return Detector(config, outlook or BetaOutlook(total_steps))


def levels(watcher: Detector, updates, start: int = 0) -> str:
    """First letters of the levels of successive checks, 50 steps apart."""
    steps = range(start + 50, start + 50 * len(updates) + 1, 50)
    judged = [watcher.check(replace(one, step=step)) for step, one in zip(steps, updates, strict=True)]
    return "".join(one.level.word[0] for one in judged)


def test_a_collapse_of_a_living_posterior_is_confirmed_at_the_third_check_also_in_the_grace_period():
    watcher = detector()
    assert levels(watcher, [HEALTHY] * 5 + [COLLAPSED] * 4) == "gggggoorr"
    assert watcher.state.first_red_step == 400


def test_a_posterior_that_never_lived_has_the_grace_period_to_start():
    assert levels(detector(), [COLLAPSED] * 21) == "y" * 19 + "rr"  # a tenth of 10,000 steps
    late_start = [COLLAPSED] * 15 + [HEALTHY] * 10
    assert set(levels(detector(), late_start)) == {"y", "g"}


def test_the_grace_period_ends_after_hours_too_but_not_before_a_network_can_have_learned_anything():
    watcher = detector(100_000)  # ten epochs of a day: the grace period alone would last 5000 steps
    slow = [replace(COLLAPSED, hours=0.4 * check) for check in range(1, 6)]
    assert levels(watcher, slow) == "yyyrr"  # at 1.6 hours
    assert levels(detector(100_000), [replace(COLLAPSED, hours=2.0)] * 3) == "yor"
    rising = [replace(COLLAPSED, hours=1.0 * check, mutual_information=0.002 * 1.3**check) for check in range(1, 8)]
    assert "r" not in levels(detector(100_000), rising)


def test_hours_are_remembered_by_a_checkpoint():
    watcher, resumed = detector(100_000), detector(100_000)
    levels(watcher, [replace(COLLAPSED, hours=1.6)] * 4)
    resumed.load_state_dict(watcher.state_dict())
    assert levels(resumed, [COLLAPSED], start=250) == "r"


def test_the_grace_period_is_bounded_however_long_the_run():
    assert settle_monitor(MonitorConfig(), 10_000_000, warmup_steps=2_000_000).grace_steps == 5000


def test_an_untrained_encoder_does_not_count_as_alive():
    untrained = replace(HEALTHY, decoder_use=0.02)
    assert "r" not in levels(detector(), [untrained] * 6 + [COLLAPSED] * 8 + [HEALTHY] * 5)


def test_information_that_grows_at_every_check_is_waited_for():
    watcher = detector(grace_steps=0)
    growing = [replace(COLLAPSED, mutual_information=0.002 * 1.3**check) for check in range(12)]
    assert levels(watcher, growing) == "o" * 12
    assert levels(watcher, [growing[-1]], start=600) == "r"  # the growth has stopped


def test_a_dip_at_high_beta_is_no_collapse_while_a_cycle_is_ahead():
    cycle = 1000

    def beta_at(step: int) -> float:
        return min(1.0, step % cycle / (0.5 * cycle))

    outlook = BetaOutlook(4 * cycle, 500, beta_at)

    def run(dead) -> str:
        watcher = detector(4 * cycle, outlook)
        steps = range(50, 4 * cycle + 1, 50)
        judged = [
            watcher.check(replace(COLLAPSED if dead(step) else HEALTHY, step=step, beta=beta_at(step))).level
            for step in steps
        ]
        return "".join(level.word[0] for level in judged)

    dips = run(lambda step: step < 3000 and step % cycle >= 700)
    assert "r" not in dips
    assert "o" in dips
    for_good = run(lambda step: step >= 700)
    assert for_good.index("r") < 30  # it stayed dead while beta was low: no need to wait for the last cycle
    in_the_last_cycle = run(lambda step: step >= 3700)
    assert in_the_last_cycle.endswith("r")


def test_levels_fall_slowly_and_indicators_are_released_above_their_threshold():
    watcher = detector()
    levels(watcher, [HEALTHY] * 6)
    low = replace(HEALTHY, mutual_information=0.09)
    close = replace(HEALTHY, mutual_information=0.12)
    assert levels(watcher, [low, close, close, HEALTHY, HEALTHY, HEALTHY], start=300) == "yyyyyg"


def test_decoder_use_alone_is_enough():
    ignored = replace(HEALTHY, decoder_use=0.0)
    watcher = detector()
    assert levels(watcher, [HEALTHY] * 5 + [ignored] * 3) == "gggggoor"


def test_partial_collapse_is_said_and_is_not_red():
    few = replace(HEALTHY, active_units=1, mutual_information=0.5)
    watcher = detector(grace_steps=0)
    assert set(levels(watcher, [few] * 60)) == {"y"}
    assert set(levels(detector(grace_steps=4000), [few] * 60)) == {
        "g"
    }  # an untrained posterior may still find its units
    lower = detector(grace_steps=0, active_units_threshold=0.05)
    assert set(levels(lower, [few] * 60)) == {"g"}, "one of sixteen is more than a twentieth"
    judged = watcher.check(replace(few, step=9000))
    assert "1 of 16 dimensions are in use" in judged.advice


def test_beta_zero_is_never_suspected():
    pinpoint = CollapseStatistics(0, 1024, 900.0, 16, 16, 6.9, 6.9, 0.0, 0.001, 0.0, 0.0, decoder_use=40.0, beta=0.0)
    assert set(levels(detector(), [pinpoint] * 100)) == {"g"}


def test_the_source_rules_are_silent_on_a_complete_collapse_and_fire_on_a_healthy_run():
    assert set(levels(detector(rules="source"), [COLLAPSED] * 60)) == {"y"}  # KL, and nothing else, for ever
    sharp = replace(HEALTHY, mean_variance=0.084, active_ratio_by_mean_variance=0.05)
    assert levels(detector(rules="source"), [sharp] * 3) == "oor"


def test_the_source_rules_watch_the_trend_of_the_reconstruction_loss():
    rising = replace(HEALTHY, recon_slope=0.002)
    assert levels(detector(rules="source"), [replace(rising, updates=49)]) == "g"
    watcher = detector(rules="source")
    [judged] = [watcher.check(replace(rising, updates=50, step=50))]
    assert judged.reasons == ("trend of reconstruction loss too high: 0.002000 > 0.001",)


def test_an_early_warning_detector_looks_more_often_and_never_calls_red():
    config = settle_monitor(MonitorConfig(early_warning=True), 10_000)
    primary, early = detectors_of(config, BetaOutlook(10_000))
    assert (primary.due(20), early.due(20)) == (False, True)
    assert early.config.kl_threshold == 0.02
    assert "r" not in levels(early, [HEALTHY] * 5 + [COLLAPSED] * 30)


def test_not_finite_is_red_at_once():
    judged = detector().check(replace(HEALTHY, kl=math.nan, finite=False, step=50))
    assert judged.level == Level.RED
    assert judged.reasons == ("a posterior holds NaN or inf",)


def test_a_detector_continues_from_its_state():
    one, other = detector(), detector()
    levels(one, [HEALTHY] * 5 + [COLLAPSED] * 2)
    other.load_state_dict(one.state_dict())
    assert levels(other, [COLLAPSED], start=350) == "r"


PRESETS = {
    (): (50, 500, 100, 0.01, 0.1, 0.1, 200),
    ("fast_detection",): (20, 200, 50, 0.005, 0.05, 0.15, 100),
    ("preset",): (200, 2000, 50, 0.01, 0.1, 0.1, 200),
    ("preset", "fast_detection"): (100, 1000, 50, 0.01, 0.1, 0.1, 200),
}


@pytest.mark.parametrize("chosen", PRESETS, ids=" ".join)
def test_the_guides_presets_stand_word_for_word(chosen):
    given = {"preset": "optimized", "fast_detection": True}
    settled = settle_monitor(MonitorConfig(**{key: given[key] for key in chosen}), 1_000_000)
    assert PRESETS[chosen] == (
        settled.update_frequency,
        settled.plot_frequency,
        settled.window_size,
        settled.kl_threshold,
        settled.var_threshold,
        settled.active_units_threshold,
        settled.early_stop_patience,
    )


def test_staged_checks():
    config = settle_monitor(MonitorConfig(adaptive=True), 10_000)
    assert [config.check_every(step) for step in (999, 1000, 4999, 5000)] == [100, 50, 50, 20]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"update_frequency": 0}, "--monitor.update_frequency is 0"),
        ({"check_frequency": -5}, "--monitor.check_frequency is -5"),
        ({"kl_threshold": 0.0}, "--monitor.kl_threshold is 0.0"),
        ({"kl_threshold": math.nan}, "--monitor.kl_threshold is nan"),
        ({"active_units_threshold": 1.5}, "--monitor.active_units_threshold is 1.5"),
        ({"mutual_information_threshold": 8.0}, "below ln 1024 = 6.9 nats"),
        ({"pool_sets": 16}, "--monitor.pool_sets is 16"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(settings, said):
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        MonitorConfig(**settings)


def test_a_frequency_longer_than_the_run_is_refused():
    with pytest.raises(InputError, match=r"--monitor.check_frequency is 500, but the whole run has only 400"):
        settle_monitor(MonitorConfig(check_frequency=500), 400)


def test_a_decoder_that_nobody_asked_is_unknown_and_never_green():
    unasked = replace(HEALTHY, decoder_use=None)
    watcher = detector()
    assert levels(watcher, [unasked] * 30) == "u" * 30
    assert (watcher.state.worst, watcher.state.warnings) == (Level.UNKNOWN, 0)
    judged = watcher.check(replace(unasked, step=2000))
    assert judged.reasons == ("what the decoder makes of the latents was not measured",)
    assert "negative_log_likelihood" in judged.advice
    assert watcher.verdict([replace(unasked, step=10_000)]).level == Level.UNKNOWN
    assert levels(watcher, [HEALTHY] * 3, start=2000) == "ggg"
    assert levels(detector(), [replace(COLLAPSED, decoder_use=None)] * 21)[-1] == "r", "what looks dead is not unknown"
    assert set(levels(detector(rules="source"), [unasked] * 30)) == {"g"}, "the guides' rules never ask"


def test_the_threshold_is_held_against_the_bound_and_against_the_rise_where_that_is_all_there_is():
    whispering = replace(HEALTHY, decoder_use=217.0, decoder_information=0.001)
    assert levels(detector(grace_steps=0), [whispering] * 3) == "oor"
    divided = replace(HEALTHY, decoder_use=0.005, decoder_information=0.9)
    assert set(levels(detector(), [divided] * 40)) == {"g"}


def test_few_units_of_many_are_no_fault_where_they_carry_much():
    four_factors = replace(HEALTHY, latent_dim=128, active_units=4, mutual_information=3.0)
    assert set(levels(detector(), [four_factors] * 60)) == {"g"}
    little = replace(four_factors, mutual_information=0.5)
    assert levels(detector(grace_steps=0), [little] * 3) == "yyy"
    assert "y" in levels(detector(grace_steps=0), [replace(four_factors, active_units=0)] * 3)


@pytest.mark.parametrize(("kl", "mutual_information"), [(math.inf, 2.0), (5.0, math.nan)])
def test_what_is_beyond_all_numbers_is_red_at_once(kl, mutual_information):
    judged = detector().check(replace(HEALTHY, kl=kl, mutual_information=mutual_information, finite=False, step=50))
    assert (judged.level, judged.reasons) == (Level.RED, ("KL or mutual information is beyond all numbers",))


def test_the_verdict_at_the_end_is_on_what_was_measured_then_and_changes_nothing():
    watcher = detector()
    levels(watcher, [HEALTHY] * 190)
    before = watcher.state_dict()
    deaf = replace(HEALTHY, step=10_000, decoder_information=0.0)
    assert watcher.verdict([deaf] * 3).level == Level.RED
    assert watcher.verdict([deaf] * 2).level == Level.ORANGE, "red takes three measurements"
    assert watcher.verdict([deaf, replace(HEALTHY, step=10_000)]).level == Level.GREEN
    assert watcher.state_dict() == before
    short = detector()
    judged = short.verdict([replace(COLLAPSED, step=300)] * 3)
    assert (judged.level, "grace period" in judged.held_back) == (Level.YELLOW, True)


def test_a_bound_of_a_few_sets_that_may_be_noise_alone_is_no_evidence():
    """0.1 nats, measured on 64 sets, read 0 now and then: twice the standard error is given to them."""
    uncertain = replace(HEALTHY, decoder_information=0.0, decoder_information_error=0.02)
    assert set(levels(detector(grace_steps=0), [uncertain] * 9)) == {"g"}
    sure = replace(uncertain, decoder_information_error=0.001)
    assert levels(detector(grace_steps=0), [sure] * 3) == "oor"


def test_a_decoder_that_has_not_learned_to_listen_yet_is_no_warning_within_the_grace_period():
    deaf = replace(HEALTHY, decoder_information=0.0, decoder_information_error=0.0)
    assert levels(detector(grace_steps=500), [deaf] * 12) == "gggggggggrrr"


def test_sets_of_which_nothing_is_said_are_a_warning_and_no_collapse():
    half = replace(HEALTHY, sets_at_prior=0.5)
    watcher = detector()
    assert levels(watcher, [half] * 30) == "g" * 19 + "y" * 11
    warned = watcher.check(replace(half, step=1550))
    assert warned.reasons == ("share of sets at the prior too high: 0.500000 > 0.25",)
    assert "About 50% of the sets nothing is said" in warned.advice
    few_units = replace(half, active_units=1, mutual_information=0.5)
    assert levels(watcher, [few_units] * 5, start=1550) == "yyyyy"
