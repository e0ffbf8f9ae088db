"""What `visualize` draws, against a planted truth: which dimensions are active, how far each variable is off, what severity is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsRegressor

from seqsetvae.config import MonitorConfig, VisualizeConfig
from seqsetvae.config.settling import settle_monitor
from seqsetvae.data.aligned import align
from seqsetvae.data.packed import Packed
from seqsetvae.data.statistics import Statistics
from seqsetvae.data.store import Store
from seqsetvae.data.units import PHYSIONET_2012
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError
from seqsetvae.evaluation.visualize.reservoir import Reservoir
from seqsetvae.evaluation.visualize.sample import draw_rows, sample
from seqsetvae.evaluation.visualize.severity import SAPS_1, Severity, last_recorded
from seqsetvae.evaluation.visualize.stay import choose_stay, view_stay
from seqsetvae.figures.latent.embedding import embed, probe
from seqsetvae.figures.latent.summary import summarize
from seqsetvae.figures.latent.text import lost_text
from tests.evaluation.planted_model import (
    IDLE,
    MIRRORED,
    SEVERITY,
    SOURCE,
    UNLEARNED,
    WEAK,
    planted_model,
    planted_store,
)

CONFIG = VisualizeConfig(split="train", batch_size=16)
THRESHOLDS = settle_monitor(MonitorConfig(), total_steps=10_000)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return planted_store(tmp_path_factory.mktemp("planted") / "store")


@pytest.fixture(scope="module")
def sampled(store):
    return sample(planted_model(store), store, CONFIG, draw_rows(store, CONFIG))


def truth(store: Store, latents) -> np.ndarray:
    """The hidden severity of each sampled set."""
    rows_B = draw_rows(store, CONFIG)
    packed = align(store, "train", store.vocabulary).packed
    subject_S = np.repeat(np.arange(packed.n_subjects), np.diff(packed.first_set))
    known = dict(
        zip(zip(subject_S.tolist(), packed.minute_S.tolist(), strict=True), SOURCE.severity("train")[:, 0], strict=True)
    )
    return np.array(
        [known[int(rows_B[stay]), round(60 * hour)] for stay, hour in zip(latents.stay_S, latents.hour_S, strict=True)]
    )


def test_the_planted_dimensions_are_found(store, sampled):
    latents = sampled.latents
    summary = summarize(latents, THRESHOLDS)
    assert summary.active_A.tolist() == [SEVERITY, MIRRORED]
    assert summary.signal_Z[SEVERITY] == pytest.approx(1.0, rel=0.25)
    assert summary.signal_Z[IDLE] == 0.0
    assert summary.kl_Z[IDLE] == 0.0
    assert 0.0 < summary.signal_Z[WEAK] < 0.01
    assert summary.variance_Z[SEVERITY] == pytest.approx(0.05**2)
    assert summary.correlation.strongest(5) == [(SEVERITY, MIRRORED, pytest.approx(-1.0))]
    assert summary.correlation.effective == pytest.approx(1.0)
    assert not any(one.out_of_range for one in summary.indicators)
    assert {one.name: one.threshold for one in summary.indicators}["kl"] == 0.01
    assert latents.decoder_use > 1.0
    assert np.corrcoef(latents.mu_SZ[:, SEVERITY], truth(store, latents))[0, 1] > 0.95


def test_a_linear_probe_reads_severity_and_outcome_but_not_noise(store, sampled):
    latents = replace(sampled.latents, severity_S=truth(store, sampled.latents))
    found = probe(latents)
    assert found.severity_r2 > 0.9
    assert found.outcome_auroc > 0.8
    assert found.hour_r2 < 0.05
    noise = np.random.default_rng(0).standard_normal(len(latents.hour_S))
    assert probe(replace(latents, severity_S=noise)).severity_r2 < 0.05
    nobody = np.full(len(noise), np.nan)
    nothing = probe(replace(latents, severity_S=nobody, label_S=nobody))
    assert (nothing.severity_r2, nothing.outcome_auroc) == (None, None)


@pytest.mark.nightly
def test_the_map_keeps_the_severity(store, sampled):
    latents, severity_S = sampled.latents, truth(store, sampled.latents)
    embedding = embed(latents, seed=0)
    assert embedding.trustworthiness > 0.95
    left_S = latents.stay_S % 2 == 0
    near = KNeighborsRegressor(20).fit(embedding.xy_S2[left_S], severity_S[left_S])
    assert near.score(embedding.xy_S2[~left_S], severity_S[~left_S]) > 0.85
    assert embed(replace(latents, mu_SZ=np.zeros_like(latents.mu_SZ)), seed=0) is None
    few = slice(0, 10)
    assert embed(replace(latents, mu_SZ=latents.mu_SZ[few]), seed=0) is None


def test_errors_are_in_the_variables_units(store, sampled):
    assert [one.name for one in sampled.errors] == list(store.vocabulary.names)
    counts = np.bincount(align(store, "train", store.vocabulary).packed.variable_N)
    unit_V = SOURCE.units()[1]
    for variable, error in enumerate(sampled.errors):
        assert (error.events, error.unit) == (counts[variable], "as recorded")
        if variable == UNLEARNED:
            assert error.model == error.training_median
            assert error.ratio == 1.0
        else:
            # The median of |normal| is 0.674; less, because the severity was estimated from the value itself.
            assert 0.4 < error.model.median / (SOURCE.noise * unit_V[variable]) < 0.75
            assert error.ratio < 0.6
    values_N = align(store, "train", store.vocabulary).packed
    here = values_N.variable_N == 0
    apart = np.abs(values_N.value_N[here].astype(float) - store.vocabulary.center_V[0])
    assert sampled.errors[0].training_median.median == pytest.approx(np.median(apart))


def test_batches_and_shards_change_nothing_and_fewer_stays_are_fewer(store, sampled):
    config = replace(CONFIG, batch_size=100)
    whole = sample(planted_model(store), store, config, draw_rows(store, config))
    assert whole.latents.sets == sampled.latents.sets == store.n_sets("train")
    for one, other in zip(whole.errors, sampled.errors, strict=True):
        assert one.model.median == pytest.approx(other.model.median, rel=1e-5)
    few = replace(CONFIG, max_batches=2, batch_size=5, seed=3)
    rows_B = draw_rows(store, few)
    assert len(set(rows_B.tolist())) == 10
    assert rows_B.tolist() == draw_rows(store, few).tolist() != draw_rows(store, replace(few, seed=4)).tolist()
    assert sample(planted_model(store), store, few, rows_B).latents.stays == 10


def test_every_row_has_the_same_chance_to_be_kept():
    kept = np.zeros(60)
    for seed in range(400):
        reservoir = Reservoir(most=6, groups=2, seed=seed)
        for start, stop in ((0, 1), (1, 40), (40, 60)):
            rows = np.arange(start, stop)
            reservoir.add(np.ones(len(rows), dtype=int), rows[:, None].astype(float))
        assert reservoir.seen.tolist() == [0, 60]
        kept[reservoir.rows(1)[:, 0].astype(int)] += 1
    assert kept.sum() == 400 * 6
    assert np.abs(kept - 40).max() < 4 * np.sqrt(400 * 0.1 * 0.9)


def test_the_band_of_a_reconstruction_holds_what_it_says(store):
    model = planted_model(store)
    inside, total = 0.0, 0
    for row in range(40):
        for trace in view_stay(model, store, "train", row, seed=row).traces:
            if trace.name != store.vocabulary.names[UNLEARNED]:
                inside, total = inside + trace.covered * len(trace.recorded_T), total + len(trace.recorded_T)
    # More than its 90 %: the severity was estimated from the recorded values themselves.
    assert 0.9 < inside / total < 0.99


def test_the_stay_is_the_one_asked_for(store):
    packed = align(store, "train", store.vocabulary).packed
    events_B = np.diff(packed.events_before_B)
    rows_B = np.array([3, 50, 90])
    assert choose_stay(store, CONFIG, rows_B) == rows_B[events_B[rows_B].argmax()]
    name = store.subject_ids("train", [77])[0]
    assert choose_stay(store, replace(CONFIG, patient=name), rows_B) == 77
    assert choose_stay(store, replace(CONFIG, patient_row=12), rows_B) == 12
    view = view_stay(planted_model(store), store, "train", 77)
    one = packed.rows(77, 78)
    np.testing.assert_array_equal(view.events_S, np.diff(one.first_event))
    np.testing.assert_allclose(view.hour_S, one.minute_S / 60.0)
    trace = view.traces[0]
    number = store.vocabulary.index(trace.name)
    np.testing.assert_array_equal(trace.recorded_T, one.value_N[one.variable_N == number])
    with pytest.raises(InputError, match=r"'nobody', but split 'train' .* has no such patient among its 192"):
        choose_stay(store, replace(CONFIG, patient="nobody"), rows_B)
    elsewhere = store.subject_ids("test", [0])[0]
    with pytest.raises(InputError, match=r"in split 'test': --visualize.split test"):
        choose_stay(store, replace(CONFIG, patient=elsewhere), rows_B)
    with pytest.raises(InputError, match=r"patient_row is 192, but split 'train' .* rows 0 to 191"):
        choose_stay(store, replace(CONFIG, patient_row=192), rows_B)


def made(stays: list[list[tuple[float, dict[str, float]]]], names: list[str]) -> tuple[Packed, Vocabulary]:
    """Stays as lists of (minute, values of a set)."""
    sets = [one for stay in stays for one in stay]
    events = [(names.index(name), value) for _, values in sets for name, value in sorted(values.items())]
    packed = Packed(
        np.array([str(row) for row in range(len(stays))], dtype=object),
        np.zeros(len(stays), np.float32),
        np.cumsum([0, *map(len, stays)]).astype(np.int32),
        np.cumsum([0, *(len(values) for _, values in sets)]).astype(np.int32),
        np.array([minute for minute, _ in sets], np.float32),
        np.array([variable for variable, _ in events], np.int32),
        np.array([value for _, value in events], np.float32),
    )
    size = len(names)
    return packed, Vocabulary(tuple(names), Statistics.empty(size), np.zeros(size), np.ones(size))


def test_the_last_recorded_value_is_carried_within_a_stay_only(store):
    packed = align(store, "train", store.vocabulary).packed
    set_N = np.repeat(np.arange(len(packed.minute_S)), np.diff(packed.first_event))
    frame = pd.DataFrame({"value": np.nan}, index=range(len(packed.minute_S)))
    here = packed.variable_N == 4
    frame.loc[set_N[here], "value"] = packed.value_N[here]
    expected = frame["value"].groupby(np.repeat(np.arange(packed.n_subjects), np.diff(packed.first_set))).ffill()
    np.testing.assert_allclose(last_recorded(packed, 4), expected.to_numpy())
    assert expected.isna().any()


def test_saps_points_of_a_known_patient():
    healthy = {
        **{
            "Age": 30.0,
            "HR": 80.0,
            "SysABP": 120.0,
            "NISysABP": 120.0,
            "Temp": 37.0,
            "RespRate": 16.0,
            "BUN": 14.0,
            "HCT": 40.0,
        },
        **{"WBC": 8.0, "Glucose": 100.0, "K": 4.2, "Na": 140.0, "HCO3": 25.0, "GCS": 15.0},
    }
    ill = {"GCS": 3.0, "HR": 185.0, "NISysABP": 50.0, "MechVent": 1.0, "K": 6.2, "Temp": 420.0}
    packed, vocabulary = made([[(0, healthy), (60, ill)], [(0, {"HR": 45.0})]], sorted(SAPS_1))
    severity = Severity.choose(vocabulary, PHYSIONET_2012, None)
    assert Severity.choose(vocabulary, PHYSIONET_2012 | {"K": "mg/dL"}, None).label.endswith("(12 of 14 items)")
    assert Severity.choose(vocabulary, {}, None).variables == (), "points of values whose unit is not known"
    assert severity.label == "SAPS-I points of the last recorded values (13 of 14 items)"
    # 4 for coma, 4 for the heart rate, 4 for the pressure, 3 for the ventilator, 3 for potassium; 420 degrees are a mistake.
    assert severity.of(packed, vocabulary).tolist() == [0.0, 18.0, 3.0]


def test_severity_without_the_scores_variables():
    packed, vocabulary = made([[(0, {"a": 0.0}), (60, {"a": 2.0, "b": -2.0})], [(0, {"b": 1.0})]], ["a", "b"])
    found = Severity.choose(vocabulary, {}, None)
    assert "distance of the set's values from the training medians" in found.label
    np.testing.assert_allclose(found.of(packed, vocabulary), np.arcsinh([0.0, 2.0, 1.0]), rtol=1e-6)
    chosen = Severity.choose(vocabulary, {"a": "mmol/L"}, "a")
    assert chosen.label == "a, last recorded value (mmol/L)"
    np.testing.assert_array_equal(chosen.of(packed, vocabulary), [0.0, 2.0, np.nan])
    with pytest.raises(InputError, match="severity is 'c', but the model's variables are a, b"):
        Severity.choose(vocabulary, {}, "c")


def test_a_store_that_cannot_be_drawn(store, tmp_path: Path):
    model = planted_model(store)
    other = replace(model, vocabulary=replace(model.vocabulary, names=tuple(f"x{one}" for one in range(6))))
    with pytest.raises(InputError, match="knows none of the 6 variables"):
        sample(other, store, CONFIG, draw_rows(store, CONFIG))
    with pytest.raises(InputError, match="no split 'nothing'; the store has train, valid, test"):
        draw_rows(store, replace(CONFIG, split="nothing"))


def test_what_reaches_the_decoder_of_each_variable_is_below_what_its_value_holds(sampled, store):
    """A value is loading x severity + noise: it holds 0.5 ln(1 + (loading / noise)^2) nats of the severity, and the bound is below that."""
    holds_V = 0.5 * np.log1p((SOURCE.loadings()[:, 0] / SOURCE.noise) ** 2)
    found_V = np.array([one.bound for one in sampled.told])
    assert [one.name for one in sampled.told] == list(store.vocabulary.names)
    assert abs(found_V[UNLEARNED]) < 0.02
    learned_V = np.arange(len(holds_V)) != UNLEARNED
    assert (found_V < holds_V + 0.05)[learned_V].all()
    assert (found_V > 0.6 * holds_V)[learned_V].all()
    assert np.corrcoef(found_V[learned_V], holds_V[learned_V])[0, 1] > 0.95


def test_a_variable_that_the_latents_tell_of_no_more_is_named(store):
    """The same model, whose decoder has not learned one variable, against one that has."""
    now, before = planted_model(store), planted_model(store)
    before.vae.set_decoder.unlearned.clear()
    found = sample(now, store, CONFIG, draw_rows(store, CONFIG), before).told
    assert (
        lost_text(found)
        == f"Lost: {found[UNLEARNED].name} ({found[UNLEARNED].before:.2f} -> {found[UNLEARNED].bound:z.2f})"
    )
    assert found[UNLEARNED].before > 0.5
