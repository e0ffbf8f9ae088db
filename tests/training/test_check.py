"""The pre-flight says what it saw, and refuses what cannot work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seqsetvae.errors import InputError
from seqsetvae.training import check
from seqsetvae.training.plan import make_plan


def test_it_tries_ascending_batch_sizes_and_reports_each(tiny, capsys):
    check.preflight(replace(tiny, data=replace(tiny.data, batch_size=6)))
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert [int(row[0]) for row in rows] == [1, 2, 4, 6]
    for row in rows:  # patients sets events grid padding ...
        blocks = [[int(number) for number in block.split("x")] for block in row[3].split("+")]
        assert sum(patients for patients, _ in blocks) == int(row[0])
        assert row[4] == f"{1 - int(row[1]) / sum(patients * columns for patients, columns in blocks):.0%}"
    assert "sqlite:///" in out
    assert "Ready: 320 patients, 108 steps." in out


def test_a_token_budget_is_tried_at_the_patients_it_holds(tiny):
    plan = make_plan(replace(tiny, data=replace(tiny.data, max_events_per_batch=3000)))
    mean_events = plan.data.store.n_events("train") / plan.data.store.n_subjects("train")
    assert check.batch_sizes(plan)[-1] == int(3000 / mean_events)


def test_more_memory_than_there_is_is_refused_with_the_flags_to_change(tiny, monkeypatch):
    monkeypatch.setattr(check, "free_memory", lambda on_gpu: 100 * check.MEGABYTE)
    with pytest.raises(InputError, match=r"only 100 MB are there\. Lower --data\.batch_size \(now 32\)"):
        check.preflight(tiny)


def test_a_store_that_cannot_be_reached_is_named(tiny, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9"):
        check.preflight(replace(tiny, data=replace(tiny.data, batch_size=1)))


def test_the_largest_batch_is_that_of_the_longest_stays(tiny):
    plan = make_plan(tiny)
    lengths = sorted(plan.data.store.events_per_subject("train", 0))
    assert check.events_of_longest(plan, 3) == sum(lengths[-3:])
    cut = make_plan(replace(tiny, data=replace(tiny.data, max_sequence_length=100)))
    assert check.events_of_longest(cut, 3) == 300
