"""Times are exact: however far from zero, whatever their type, no two are taken for one, and what is no time is refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from seqsetvae.data.times import MINUTES_PER_YEAR
from seqsetvae.errors import InputError
from seqsetvae.model.attention import Rotation
from tests.support.small_ehr import events, prepared, stay, write_ehr

LIFE = 65.0 * MINUTES_PER_YEAR


@pytest.mark.parametrize("start", [0.0, 90.0, LIFE, 110_485_000.0, 2180 * 525_960.0])
def test_distinct_minutes_far_from_zero_stay_distinct(tmp_path: Path, start: float) -> None:
    """Minutes since birth, since 1970, since year 0: in float32 neighbours would be one."""
    minutes = [start + m for m in (0.0, 1.0, 2.0, 3.0, 7.0)]
    root = write_ehr(tmp_path / "in", lambda n: stay(minutes, ["HR"] * 5, [80.0, 81.0, 82.0, 83.0, 84.0 + n]))
    store, report = prepared(root, tmp_path / "store")
    assert report.repeated_measurements == 0
    assert sum(store.n_events(split) for split in store.splits) == 9 * 5
    assert [minute for minute, _, _ in events(store)] == [0.0, 1.0, 2.0, 3.0, 7.0]
    assert store.shard("train", 0).start_B.tolist() == [int(start) * 60_000_000] * 3


def test_dates_in_one_file_and_minutes_in_another_are_refused(tmp_path: Path) -> None:
    noon = dt.datetime(2024, 1, 1, 12)
    clocks = {4: [noon, noon + dt.timedelta(minutes=5)]}
    root = write_ehr(tmp_path / "in", lambda number: stay(clocks.get(number, [0.0, 5.0]), ["HR"] * 2, [1.0, 2.0]))
    with pytest.raises(InputError, match=r"column 'minute': holds dates, but .*parquet holds minutes"):
        prepared(root, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_gap_of_decades_keeps_the_minutes_behind_it_apart(tmp_path: Path) -> None:
    minutes = [0.0, LIFE, LIFE + 1.0, LIFE + 2.0]
    root = write_ehr(tmp_path / "in", lambda _: stay(minutes, ["HR"] * 4, [1.0, 2.0, 3.0, 4.0]))
    store, _ = prepared(root, tmp_path / "store")
    minute_S = store.gather("train", 0, np.array([0])).minute_S
    assert minute_S.tolist() == minutes
    assert store.longest_minutes() == LIFE + 2.0
    rotation = Rotation(minute_S, 16, torch.float32, longest=LIFE)
    exact = np.array([2 * np.pi * (m % 10.0) / 10.0 for m in minutes])  # of the shortest period, 10 minutes
    np.testing.assert_allclose(rotation.cos[:, 0, 0], np.cos(exact), atol=1e-6)
    assert torch.isfinite(rotation.sin).all()


@pytest.mark.parametrize(
    ("window", "sets"),
    [
        (1.0, [([30.0, 30.0 + 1 / 60, 30.0 + 59 / 60], 0.983333), ([31.0], 1.0)]),
        (0.0, [([30.0], 0.0), ([30.0 + 1 / 60], 1 / 60), ([30.0 + 59 / 60], 59 / 60), ([31.0], 1.0)]),
        (60.0, [([30.0, 30.0 + 1 / 60, 30.0 + 59 / 60, 31.0], 1.0)]),
    ],
)
def test_a_set_is_a_window_of_the_clock(tmp_path: Path, window: float, sets: list[tuple[list[float], float]]) -> None:
    minutes = [30.0, 30.0 + 1 / 60, 30.0 + 59 / 60, 31.0]
    root = write_ehr(tmp_path / "in", lambda _: stay(minutes, ["A", "B", "C", "D"], [1.0, 2.0, 3.0, 4.0]))
    store, _ = prepared(root, tmp_path / "store", set_window=window)
    packed = store.shard("train", 0).rows(0, 1)
    assert np.diff(packed.first_event).tolist() == [len(members) for members, _ in sets]
    np.testing.assert_allclose(packed.minute_S, [minute for _, minute in sets], atol=1e-5)
    assert store.vocabulary.set_window == window


def test_of_repeats_in_a_window_the_last_in_time_stays_whatever_the_order_of_rows(tmp_path: Path) -> None:
    root = write_ehr(tmp_path / "in", lambda _: stay([30.9, 30.1, 30.5], ["HR"] * 3, [3.0, 1.0, 2.0]))
    store, report = prepared(root, tmp_path / "store")
    assert [value for _, _, value in events(store)] == [3.0]
    assert report.repeated_measurements == 18


NOON = dt.datetime(2180, 7, 23, 12, 0, 0)


def clock(zone: dt.tzinfo | None = None) -> list[dt.datetime]:
    return [NOON.replace(tzinfo=zone) + dt.timedelta(minutes=m) for m in (0, 1, 90)]


@pytest.mark.parametrize(
    ("times", "kind"),
    [
        (clock(), pa.timestamp("us")),
        (clock(), pa.timestamp("s")),
        (clock(), pa.timestamp("ns")),
        (clock(dt.UTC), pa.timestamp("ms", "America/New_York")),
        ([0, 1, 90], pa.int8()),
        ([0, 1, 90], pa.uint64()),
        ([0, 1, 90], pa.float16()),
        ([0, 1, 90], pa.decimal128(9, 2)),
        ([dt.timedelta(minutes=m) for m in (0, 1, 90)], pa.duration("ms")),
    ],
)
def test_times_of_any_type_are_minutes_from_the_first_event(tmp_path: Path, times: list, kind: pa.DataType) -> None:
    root = write_ehr(tmp_path / "in", lambda _: stay(times, ["HR"] * 3, [1.0, 2.0, 3.0], minute=kind))
    store, _ = prepared(root, tmp_path / "store")
    assert [minute for minute, _, _ in events(store)] == [0.0, 1.0, 90.0]
    if pa.types.is_timestamp(kind):
        expected = int((NOON - dt.datetime(1970, 1, 1)).total_seconds()) * 1_000_000
        assert store.shard("train", 0).start_B.tolist() == [expected] * 3


def test_dates_and_times_before_1970_are_times(tmp_path: Path) -> None:
    days = [dt.date(1920, 2, 28), dt.date(1920, 2, 29), dt.date(1999, 1, 1)]
    root = write_ehr(tmp_path / "in", lambda _: stay(days, ["Dx"] * 3, [1.0, 2.0, 3.0]))
    store, _ = prepared(root, tmp_path / "store")
    assert [minute for minute, _, _ in events(store)] == [0.0, 1440.0, (days[2] - days[0]).days * 1440.0]


@pytest.mark.parametrize(
    ("minute", "said"),
    [
        (1e39, "1e\\+39 is beyond any time"),
        (float("inf"), "inf is not a time"),
        (float("nan"), "nan is not a time"),
        (-0.5, "-0.5 is negative"),
        (1e8, "1e\\+08 is beyond any stay: more than 130 years"),
    ],
)
@pytest.mark.parametrize("split", ["train", "valid"])
def test_what_is_no_time_of_a_stay_is_refused_with_its_row(
    tmp_path: Path, minute: float, said: str, split: str
) -> None:
    bad = {"train": 1, "valid": 4}[split]
    root = write_ehr(
        tmp_path / "in", lambda n: stay([5.0, minute if n == bad else 65.0, 70.0], ["HR"] * 3, [1.0, 2.0, 3.0])
    )
    with pytest.raises(InputError, match=rf"{split}/20000{bad}.parquet, row 2, column 'minute': {said}"):
        prepared(root, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    store, report = prepared(root, tmp_path / "store", on_error="drop_row")
    assert sum(report.rows_dropped.values()) == 1
    assert report.quarantined == 0
    row = store.subject_ids(split, range(3)).index(f"20000{bad}")
    assert events(store, split, row) == [(0.0, "HR", 1.0), (65.0, "HR", 3.0)]


def test_a_timestamp_beyond_all_that_can_be_held_is_named_by_its_row(tmp_path: Path) -> None:
    times = pa.array([0, 60_000, 9 * 10**18], pa.timestamp("ms"))
    wild = pa.table({"variable": ["HR"] * 3, "value": [1.0, 2.0, 3.0], "minute": times})
    root = write_ehr(tmp_path / "in", lambda n: wild if n == 4 else stay([NOON], ["HR"], [1.0]))
    with pytest.raises(InputError, match=r"valid/200004.parquet, row 3, column 'minute': a time that cannot be read"):
        prepared(root, tmp_path / "store")


def test_a_missing_timestamp_is_refused_and_an_impossible_window_named(tmp_path: Path) -> None:
    root = write_ehr(tmp_path / "in", lambda n: stay([NOON, None if n == 0 else NOON], ["HR", "BP"], [1.0, 2.0]))
    with pytest.raises(InputError, match=r"200000.parquet, row 2, column 'minute': nan is not a time"):
        prepared(root, tmp_path / "store")
    for window in (-1.0, float("nan"), 1e9):
        with pytest.raises(InputError, match="--set_window is"):
            prepared(root, tmp_path / "store", set_window=window)
