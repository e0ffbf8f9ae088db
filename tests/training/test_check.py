"""The pre-flight says what it saw, and refuses what cannot work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seqsetvae.config import ObjectiveConfig
from seqsetvae.console import console
from seqsetvae.data.packed import Packed, gather
from seqsetvae.errors import InputError
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training import check
from seqsetvae.training.beta_forecast import forecast_events, forecast_for
from seqsetvae.training.plan import make_plan


def test_it_tries_ascending_batch_sizes_and_reports_each(tiny, capsys):
    check.preflight(replace(tiny, data=replace(tiny.data, batch_size=6)))
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert [int(row[0]) for row in rows] == [1, 2, 4, 6, 1]
    lengths = make_plan(tiny).data.store.events_per_subject("train", 0)
    assert int(rows[-1][2]) == lengths.max()
    for row in rows:  # patients sets events grid padding ...
        blocks = [[int(number) for number in block.split("x")] for block in row[3].split("+")]
        assert sum(patients for patients, _ in blocks) == int(row[0])
        assert row[4] == f"{1 - int(row[1]) / sum(patients * columns for patients, columns in blocks):.0%}"
    assert "sqlite:///" in out
    assert "Ready: 320 patients, 108 steps." in out


def test_it_says_what_survives_and_warns_of_a_beta_that_nothing_does(tiny, capsys):
    plan = make_plan(tiny)
    told = forecast_for(plan)
    with console():
        check.say_survivors(plan)
        out, err = capsys.readouterr()
        assert f"beta    from {told.critical_beta:.2g} on nothing survives, by a forecast (beyond " in out
        assert f"of {tiny.model.latent_dim} dimensions do at most 4 at 0.01" in out
        assert err == ""
        check.say_survivors(make_plan(replace(tiny, objective=ObjectiveConfig(max_beta=2.0 * told.critical_beta))))
        assert "Likely to collapse: beta" in capsys.readouterr().err


def test_scores_are_of_unit_curvature_where_sets_are_noise_about_a_constant(tiny):
    """Events whose variables and values are drawn anew, apart from sets and patients, hold nothing that a latent could say."""
    store = make_plan(tiny).data.store
    batch = store.gather("train", 0, np.arange(300), None)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(batch.n_events, generator=generator)
    noise = replace(
        batch,
        variable_N=batch.variable_N[order],
        value_N=torch.randn(batch.n_events, generator=generator),
        number_N=None,
    )
    told, drawn = forecast_events(batch), forecast_events(noise)
    assert told.critical_beta > 3.0 * drawn.critical_beta
    assert drawn.critical_beta < 1.5


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


@pytest.mark.slow
def test_a_stay_of_100_000_events_is_stepped_through_beside_one_of_one_event(tiny):
    """In memory that is linear in its length: as a matrix, the attention of its 10,000 sets would take 400 MB for each head."""
    vocabulary = make_plan(tiny).data.vocabulary
    sets_B, events_S = np.array([1, 10_000]), np.array([1, *[10] * 10_000])
    packed = Packed(
        np.array(["short", "long"], dtype=object),
        np.zeros(2, dtype=np.float32),
        np.concatenate(([0], sets_B.cumsum())).astype(np.int32),
        np.concatenate(([0], events_S.cumsum())).astype(np.int32),
        np.concatenate(([0.0], np.arange(10_000.0))),
        (np.arange(events_S.sum()) % len(vocabulary)).astype(np.int32),
        np.ones(events_S.sum(), dtype=np.float32),
    )
    batch = gather(packed, np.arange(2), vocabulary)
    assert batch.grid == ((1, 10_000), (1, 1))
    vae = SeqSetVAE(replace(tiny.model, dropout=0.0), vocabulary)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = peak_megabytes()
    vae(batch).loss(0.1).backward()
    assert peak_megabytes() - before < 400


def peak_megabytes() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def test_a_larger_batch_is_suggested_where_it_pays(tiny):
    store = make_plan(tiny).data.store

    def trial(patients: int, seconds: float) -> check.Trial:
        return check.Trial(store.gather("train", 0, np.arange(patients)), 0.0, seconds, patients * 10**8, 0)

    on_a_gpu = [trial(1, 0.025), trial(8, 0.025), trial(64, 0.025)]
    assert check.faster(on_a_gpu, 8) == "--data.batch_size 64 takes 8.0x the patients/s, 6.4 GB"
    on_a_cpu = [trial(1, 0.03), trial(8, 0.2), trial(64, 1.5)]
    assert check.faster(on_a_cpu, 8) == ""
    assert check.bytes_of(on_a_gpu, 10**6) > check.bytes_of(on_a_gpu, 10**5) > on_a_gpu[-1].peak_bytes
