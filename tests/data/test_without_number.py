"""Events that carry no number: kept as their variable, or refused; they count for what they are and never as a value of 0."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from seqsetvae.config import ModelConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.events_table import read_events
from seqsetvae.data.packed import gather
from seqsetvae.data.store import Store
from seqsetvae.data.verified import verify
from seqsetvae.errors import InputError
from seqsetvae.evaluation.hand_features import hand_features
from seqsetvae.model.summaries import KINDS, variable_summaries
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.finetuning.event_dropout import drop_events
from tests.support.small_ehr import events, prepared, stay, write_ehr

MINUTES = [0, 0, 5, 5, 9, 12]
NAMES = ["Dx", "HR", "Urine", "HR", "Urine", "Lab"]
CELLS = [None, "80", "positive", "90", " +++ ", "7.5"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    root = write_ehr(tmp_path / "in", lambda n: stay(MINUTES, NAMES, [*CELLS[:-1], "7.5" if n else "pending"]))
    return prepared(root, tmp_path / "store", without_number="keep")[0]


def test_the_event_is_its_variable_or_variable_and_text(store: Store) -> None:
    assert store.vocabulary.names == ("Dx", "HR", "Lab", "Lab//pending", "Urine//+++", "Urine//positive")
    expected = [
        (0.0, "Dx", math.nan),
        (0.0, "HR", 80.0),
        (5.0, "HR", 90.0),
        (5.0, "Urine//positive", math.nan),
        (9.0, "Urine//+++", math.nan),
        (12.0, "Lab//pending", math.nan),
    ]
    found = events(store)
    assert [event[:2] for event in found] == [event[:2] for event in expected]
    np.testing.assert_array_equal([event[2] for event in found], [event[2] for event in expected])
    assert events(store, row=1)[-1] == (12.0, "Lab", 7.5)
    assert store.vocabulary.statistics.count_V.tolist() == [0, 6, 2, 0, 0, 0]
    assert store.vocabulary.statistics.events_V.tolist() == [3, 6, 2, 1, 3, 3]
    assert store.manifest["report"]["without_number"] == dict.fromkeys(
        ("Dx", "Lab//pending", "Urine//+++", "Urine//positive"), 1.0
    )


def test_numbers_beside_them_are_scaled_as_if_they_were_alone(tmp_path: Path, store: Store) -> None:
    numbers = [k for k, name in enumerate(NAMES) if name in ("HR", "Lab")]
    columns = [[column[k] for k in numbers] for column in (MINUTES, NAMES, CELLS)]
    root = write_ehr(tmp_path / "alone", lambda n: stay(*(column if n else column[:-1] for column in columns)))
    alone, _ = prepared(root, tmp_path / "alone-store")
    for name in ("HR", "Lab"):
        here, there = store.vocabulary.index(name), alone.vocabulary.index(name)
        for key in ("mean_V", "std_V", "median_V", "iqr_V", "low_V", "high_V", "count_V"):
            left, right = getattr(store.vocabulary.statistics, key), getattr(alone.vocabulary.statistics, key)
            assert left[here] == right[there]
        assert store.vocabulary.spread_V[here] == alone.vocabulary.spread_V[there]


def test_they_are_refused_unless_asked_for_and_the_message_shows_the_text(tmp_path: Path) -> None:
    root = write_ehr(tmp_path / "in", lambda _: stay([0, 1], ["HR", "Urine"], ["80", "positive"]))
    with pytest.raises(
        InputError, match=r"row 2, column 'value': 'positive' is not a finite number. --without_number keep"
    ):
        prepared(root, tmp_path / "store")
    _, report = prepared(root, tmp_path / "store", on_error="drop_row")
    assert report.rows_dropped == {"value is not a finite number": 9}


def test_infinity_is_no_missing_number(tmp_path: Path) -> None:
    root = write_ehr(tmp_path / "in", lambda _: stay([0.0], ["HR"], [math.inf]))
    with pytest.raises(InputError, match="column 'value': inf is not a finite number"):
        prepared(root, tmp_path / "store", without_number="keep")


def test_rare_variables_are_those_of_too_few_subjects_of_the_train_split_alone(tmp_path: Path) -> None:
    def make(number: int) -> pa.Table:
        names = ["HR", "in all", "only in train" if number < 2 else "only held out"]
        return stay([0, 0, 0], [*names, "one stay"][: 4 if number == 0 else 3] if number else [*names], [1, 2, 3])

    root = write_ehr(tmp_path / "in", make)
    store, report = prepared(root, tmp_path / "store", min_subjects=2)
    assert store.vocabulary.names == ("HR", "in all", "only in train")
    assert report.rare_variables == 1  # `only held out` of the third train stay
    assert report.unknown_variables == {"only held out": 6}
    assert report.splits["train"].events == 8
    with pytest.raises(InputError, match="--min_subjects is 9, but no variable"):
        prepared(root, tmp_path / "store", min_subjects=9)


SMALL = ModelConfig(width=16, latent_dim=4, levels=1, heads=2, ff_dim=16, history_layers=1)


@pytest.mark.parametrize("code_width", [None, 8])
def test_the_likelihood_of_a_value_counts_only_where_there_is_one(store: Store, code_width: int | None) -> None:
    torch.manual_seed(0)
    vae = SeqSetVAE(replace(SMALL, decoder_code_width=code_width), len(store.vocabulary))
    batch = store.gather("train", 0, np.arange(3))
    assert batch.number_N is not None
    assert batch.number_N.tolist()[:6] == [False, True, True, False, False, False]
    noise = torch.randn(batch.n_sets, SMALL.latent_dim)
    terms = vae(batch, noise)
    nothing_S = torch.bincount(batch.set_N[batch.number_N], minlength=batch.n_sets) == 0
    assert nothing_S.any()
    assert (terms.value_nll_S[nothing_S] == 0).all()
    assert (terms.value_nll_S[~nothing_S] != 0).all()
    assert (terms.variable_nll_S > 0).all()
    # What stands in place of the number is not looked at.
    other = replace(batch, value_N=batch.value_N.where(batch.number_N, torch.tensor(0.0)))
    assert torch.equal(vae(other, noise).recon, terms.recon)
    terms.loss(1.0).backward()
    assert all(torch.isfinite(p.grad).all() for p in vae.parameters() if p.grad is not None)


def test_a_number_of_0_is_not_the_same_as_none(store: Store) -> None:
    torch.manual_seed(0)
    vae = SeqSetVAE(SMALL, len(store.vocabulary))
    batch = store.gather("train", 0, np.array([0]))
    as_zero = replace(batch, number_N=None)
    assert not torch.equal(vae.encode(batch).mu_SZ, vae.encode(as_zero).mu_SZ)


def test_summaries_and_hand_made_features_count_them_and_take_no_value_from_them(store: Store) -> None:
    batch = store.gather("train", 0, np.array([0, 1]))
    size = len(store.vocabulary)
    found = variable_summaries(batch, size).view(2, len(KINDS), size)
    hr, dx = store.vocabulary.index("HR"), store.vocabulary.index("Dx")
    value = dict(zip(KINDS, found[0, :, hr].tolist(), strict=True))
    scaled = store.vocabulary.scale(np.array([hr, hr]), np.array([80.0, 90.0], np.float32))
    assert (value["last"], value["min"], value["mean"]) == pytest.approx((scaled[1], scaled[0], scaled.mean()))
    bare = dict(zip(KINDS, found[0, :, dx].tolist(), strict=True))
    assert [math.isnan(bare[kind]) for kind in KINDS] == [True] * 6 + [False] * 3
    assert (bare["measured"], bare["log_count"], bare["log_age"]) == pytest.approx((1.0, math.log(2.0), math.log(13.0)))

    hand = hand_features(store.shard("train", 0), size).reshape(3, 5, size)
    np.testing.assert_array_equal(hand[0, :, dx], [np.nan] * 4 + [1.0])
    np.testing.assert_array_equal(hand[0, :, hr], [90.0, 85.0, 80.0, 90.0, 2.0])


def test_they_stay_with_their_events_when_some_are_dropped_or_a_batch_is_cut(store: Store) -> None:
    batch = store.gather("train", 0, np.arange(3))
    torch.manual_seed(1)
    dropped = drop_events(batch, 0.5)
    bare_V = torch.from_numpy(store.vocabulary.bare_V.copy())  # each variable here has always a number, or never
    for one in (batch, dropped, batch.head(2)):
        assert one.number_N is not None
        assert torch.equal(one.number_N, ~bare_V[one.variable_N])
        assert len(one.number_N) == one.n_events


def test_a_table_is_read_as_the_store_was_prepared(store: Store) -> None:
    packed = store.shard("train", 0).rows(0, 1)
    table = pd.DataFrame({"subject": "a", "minute": MINUTES, "variable": NAMES, "value": [*CELLS[:-1], "pending"]})
    read = read_events(table, store.vocabulary).require_all()
    found, expected = read.batch(store.vocabulary), gather(packed, np.array([0]), store.vocabulary)
    for key in ("variable_N", "value_N", "set_N", "minute_S", "number_N"):
        np.testing.assert_array_equal(getattr(found, key), getattr(expected, key))
    missing = read_events(table.assign(value=None), store.vocabulary)
    assert "row 2: value is missing" in missing.problems["a"]


def test_rows_of_rare_codes_are_left_out_and_said(store: Store) -> None:
    rows = {"subject": "a", "minute": MINUTES, "variable": NAMES, "value": CELLS}
    strange = pd.DataFrame(
        {"subject": ["a", "a", "b"], "minute": 5.0, "variable": ["ICD//9", "DRUG//9", "ICD//9"], "value": [None, 2, 3]}
    )
    plain = read_events(pd.DataFrame(rows), store.vocabulary)
    found = read_events(pd.concat([pd.DataFrame(rows), strange], ignore_index=True), store.vocabulary)
    assert found.packed is not None
    np.testing.assert_array_equal(found.packed.variable_N, plain.batch(store.vocabulary).variable_N)
    assert found.warnings(store.vocabulary)[0].startswith(
        "rows of codes unknown to the model are left out: 'ICD//9'; 'DRUG//9'"
    )
    row = len(NAMES) + 3
    assert found.problems == {"b": f"row {row}: variable 'ICD//9' is unknown to the model"}  # nothing of it is known


def test_no_number_is_no_damage_where_such_events_are_kept(store: Store) -> None:
    verify(store, again=True)
    assert store.keeps_events_without_number
    assert not Store.open(open_store("demo").path).keeps_events_without_number
