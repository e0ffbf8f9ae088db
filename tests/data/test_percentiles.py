"""A wrong unit is seen: the train split's 0.1 and 99.9 percentiles travel with store and model, and what lies outside is named."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from seqsetvae.config import ModelConfig, PretrainConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.pretrained.exported import Pretrained, export, read_pretrained, vocabulary_of
from tests.support.small_ehr import prepared, stay, write_ehr


def celsius(number: int, fahrenheit: bool = False) -> pa.Table:
    rng = np.random.default_rng(number)
    value = rng.normal(37.0, 0.5, 200)
    value = value * 1.8 + 32.0 if fahrenheit else value
    return stay(list(range(400)), ["Temp"] * 200 + ["HR"] * 200, [*value, *rng.normal(80.0, 10.0, 200)])


def test_percentiles_are_those_of_numpy_over_the_train_split(tmp_path: Path) -> None:
    root = write_ehr(tmp_path / "in", celsius)
    store, report = prepared(root, tmp_path / "store")
    train = np.concatenate([celsius(n)["value"].to_numpy()[:200].astype(np.float32) for n in range(3)])
    row = store.vocabulary.index("Temp")
    statistics = store.vocabulary.statistics
    expected = np.quantile(train.astype(np.float64), [0.001, 0.999])
    assert (statistics.low_V[row], statistics.high_V[row]) == pytest.approx(tuple(expected), rel=1e-12)
    assert report.far_from_train == {}


def test_another_unit_in_a_held_out_split_is_named(tmp_path: Path) -> None:
    root = write_ehr(tmp_path / "in", lambda n: celsius(n, fahrenheit=n >= 6))
    _, report = prepared(root, tmp_path / "store")
    assert report.far_from_train == {"test": {"Temp": 1.0}}
    assert "test has values far outside those of train, perhaps in another unit: Temp (100% of its values)" in str(
        report
    )


@pytest.fixture
def model(tmp_path: Path) -> Pretrained:
    """An untrained model of a store of Celsius, exported and read back."""
    store, _ = prepared(write_ehr(tmp_path / "in", celsius), tmp_path / "store")
    config = ModelConfig(width=16, latent_dim=4, levels=1, heads=2, ff_dim=16, history_layers=1)
    recipe = Recipe.of(PretrainConfig(model=config), store.vocabulary, 1, "0" * 32)
    vae = SeqSetVAE(config, len(store.vocabulary)).eval()
    export(Pretrained(vae, vocabulary_of(recipe), config, recipe), tmp_path / "model")
    return read_pretrained(tmp_path / "model")


def test_the_model_warns_of_a_temperature_in_fahrenheit_and_answers_all_the_same(model: Pretrained) -> None:
    rows = [["f", 0, "Temp", 98.6], ["c", 0, "Temp", 37.0], ["one of three", 0, "Temp", 98.6]]
    rows += [["one of three", minute, "Temp", 37.0] for minute in (5, 10)] + [["bad", 0, "Pulse", 1.0]]
    answer = model.last_states(pd.DataFrame(rows, columns=["subject", "minute", "variable", "value"])).set_index(
        "subject"
    )
    assert "Temp 98.6 lies outside 3" in answer.loc["f", "warnings"]
    assert "check its unit" in answer.loc["f", "warnings"]
    assert answer.loc[["c", "one of three", "bad"], "warnings"].tolist() == ["", "", ""]
    assert answer["sets"].tolist() == [1, 1, 3, 0]


def test_the_demo_data_hardly_warn(untrained) -> None:
    """Of real stays, prepared and read with the same units, few have a variable of which half of the values is unusual."""
    store = open_store("demo")
    recipe = Recipe.of(PretrainConfig(), store.vocabulary, 1, "0" * 32)
    vocabulary = vocabulary_of(recipe)
    from seqsetvae.data.far import unusual_values

    texts = unusual_values(store.shard("test", 0), vocabulary)
    assert sum(text != "" for text in texts) <= 0.2 * len(texts)


def test_a_recipe_of_an_earlier_version_knows_no_percentiles_and_warns_of_nothing(model: Pretrained) -> None:
    old = {
        key: value for key, value in asdict(model.recipe).items() if key not in ("low", "high", "bare", "set_window")
    }
    vocabulary = vocabulary_of(Recipe(**old))
    assert np.isnan(vocabulary.statistics.low_V).all()
    assert not vocabulary.outside(np.array([0]), np.array([1e9])).any()
