"""An alert comes back as it was written: from a checkpoint, from a table, and from a table of before the exact column."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from seqsetvae.collapse.alert_texts import as_block
from seqsetvae.collapse.alerts import EXACT, Alert, as_table, from_row
from seqsetvae.collapse.diagnosis import Diagnosis, Indicator, Level
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.collapse.watch import Watch
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settling import settle_monitor
from seqsetvae.dashboard.status import alert_line
from seqsetvae.errors import InputError

NUMBERS = (0.0, -0.0, 1 / 3, 5e-324, -1.7e308, math.nan, math.inf, -math.inf)
WORDS = ("", "kl", "a; b", "KL divergence", '"quoted", \\ and\nbroken', "信息", "🔴", "nan", "null", "; ")


def any_alert(seed: int) -> Alert:
    """Whatever types allow, the awkward more often than not."""
    rng = np.random.default_rng(seed)

    def word() -> str:
        return str(rng.choice(WORDS))

    def value() -> float:
        return float(rng.choice(NUMBERS)) if rng.random() < 0.5 else float(rng.normal() * 10.0 ** rng.integers(-8, 9))

    indicators = tuple(
        Indicator(f"{word()}{place}", word(), value(), value(), bool(rng.integers(2)))
        for place in range(rng.integers(0, 5))
    )
    return Alert(
        Diagnosis(
            step=int(rng.integers(0, 10**9)),
            level=Level(int(rng.choice(list(Level)))),
            indicators=indicators,
            reasons=tuple(word() for _ in range(rng.integers(0, 4))),
            advice=word(),
            held_back=word(),
            streak=int(rng.integers(0, 100)),
            beta=None if rng.random() < 0.3 else value(),
            detector=word(),
        ),
        time=float(rng.random() * 2e9),
    )


def same(one: Alert, other: Alert) -> bool:
    return repr(one) == repr(other)  # NaN is not equal to itself, but it is written the same


@pytest.mark.parametrize("first_seed", range(0, 400, 100))
def test_every_alert_comes_back_as_it_was(first_seed):
    alerts = [any_alert(seed) for seed in range(first_seed, first_seed + 100)]
    for alert in alerts:
        through_json = json.loads(json.dumps(alert.encode(), allow_nan=False))
        assert same(Alert.decode(through_json), alert)
    table = json.loads(json.dumps(as_table(alerts), allow_nan=False))
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert all(same(from_row(row), alert) for row, alert in zip(rows, alerts, strict=True))


def test_a_row_of_before_the_exact_column_gives_what_it_says():
    kl = Indicator("kl", "KL divergence", 0.008, 0.01)
    alert = Alert(Diagnosis(2000, Level.ORANGE, (kl,), ("one", "two"), "Lower beta.", beta=0.5), 1734705022.0)
    table = as_table([alert])
    row = dict(zip(table["columns"], table["data"][0], strict=True))
    del row[EXACT]
    assert from_row(row) == replace(alert, diagnosis=replace(alert.diagnosis, indicators=()))


def test_an_alert_of_a_newer_version_is_refused():
    plain = any_alert(0).encode() | {"format": 99}
    with pytest.raises(InputError, match="format 99"):
        Alert.decode(plain)


DEAD = CollapseStatistics(0, 1024, 0.001, 0, 16, 0.0, 6.9, 1.0, 1.0, 1.0, 1.0, decoder_use=0.0)


def test_what_is_out_of_range_is_never_called_back_in_range():
    kl = Indicator("kl", "KL divergence", 0.008, 0.01)
    waits = Diagnosis(60, Level.GREEN, (kl,), (str(kl),), "")
    well = Diagnosis(60, Level.GREEN, (), (), "")
    assert as_block(waits).splitlines() == ["🟢 Step 60: nothing to warn of yet", f"  - {kl}"]
    assert as_block(well) == "🟢 Step 60: back in range"
    assert (alert_line(waits), alert_line(well)) == (f"step 60 green: {kl}", "step 60 green: back in range")


def test_the_watch_alerts_on_a_change_of_level_alone_and_each_detector_by_its_own_clock():
    config = settle_monitor(MonitorConfig(early_warning=True, grace_steps=0), 10_000)
    watch = Watch(config, BetaOutlook(10_000))
    assert [step for step in range(1, 101) if watch.due(step)] == [20, 40, 50, 60, 80, 100]
    checks = [check for step in range(20, 401, 10) for check in watch.update(replace(DEAD, step=step))]
    alerts = [(one.diagnosis.step, one.diagnosis.detector, one.diagnosis.level.word) for one in checks if one.is_alert]
    assert alerts == [
        (20, "early warning", "orange"),
        (50, "primary", "orange"),
        (150, "primary", "red"),
    ]
    assert [check.diagnosis.step for check in checks if check.became_red] == [150]


def test_a_watch_continues_from_its_state():
    config = settle_monitor(MonitorConfig(early_warning=True, grace_steps=0), 10_000)
    whole, first, second = (Watch(config, BetaOutlook(10_000)) for _ in range(3))
    updates = [replace(DEAD, step=step) for step in range(20, 401, 10)]
    expected = [check for update in updates for check in whole.update(update)]
    found = [check for update in updates[:11] for check in first.update(update)]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert found + [check for update in updates[11:] for check in second.update(update)] == expected
