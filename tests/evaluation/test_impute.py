"""Values that are filled in: from all but themselves, in raw units, with bands that hold what they promise; what cannot be is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from seqsetvae.app.main import main
from seqsetvae.config import ImputeConfig, ModelConfig, TrackingConfig
from seqsetvae.errors import InputError
from seqsetvae.evaluation.impute import impute
from seqsetvae.evaluation.left_out import leave_out
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.pretrained.exported import Pretrained, read_pretrained
from seqsetvae.training.pretrained.forecasting import BANDS
from tests.evaluation.planted_model import SIGMA, SOURCE, UNLEARNED, planted_model, planted_store
from tests.evaluation.test_forecast import exported


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pretrained, Path]:
    """The model whose truth is known, and its store."""
    folder = tmp_path_factory.mktemp("planted") / "store"
    return planted_model(planted_store(folder)), folder


def stay(values: dict[float, dict[str, float]]) -> pd.DataFrame:
    rows = [("a", minute, name, value) for minute, found in values.items() for name, value in found.items()]
    return pd.DataFrame(rows, columns=["subject", "minute", "variable", "value"])


def severity_of(model: Pretrained, found: dict[str, float]) -> float:
    """By least squares, as the planted encoder finds it."""
    level_V, unit_V = SOURCE.units()
    place = [model.vocabulary.index(name) for name in found]
    seen = (np.array(list(found.values())) - level_V[place]) / unit_V[place]
    loading = SOURCE.loadings()[place, 0]
    return float(seen @ loading / (loading @ loading))


def test_a_value_is_said_from_all_others_of_its_minute_and_in_its_unit(planted) -> None:
    model, _ = planted
    level_V, unit_V = SOURCE.units()
    names = model.vocabulary.names
    asked = names[0]
    measured = {name: float(level_V[v] + unit_V[v] * SOURCE.loadings()[v, 0] * 1.5) for v, name in enumerate(names[:4])}
    others = {name: value for name, value in measured.items() if name != asked}
    right = level_V[0] + unit_V[0] * SOURCE.loadings()[0, 0] * severity_of(model, others)
    at = pd.DataFrame({"subject": ["a"], "minute": [60.0], "variable": [asked]})
    for own in (measured[asked], measured[asked] + 50.0 * unit_V[0]):  # whatever was recorded: it is not looked at
        events = stay({0.0: measured, 60.0: {**measured, asked: own}})
        [row] = model.impute(events, at).to_dict("records")
        assert (row["subject"], row["minute"], row["variable"]) == ("a", 60.0, asked)
        # 16 draws of the posterior stand for its mean.
        assert row["value"] == pytest.approx(right, abs=0.1 * unit_V[0])
        assert row["low_90"] < row["low_50"] < row["value"] < row["high_50"] < row["high_90"]
    spread = np.hypot(SOURCE.noise, SIGMA * SOURCE.loadings()[0, 0]) * unit_V[0]
    assert (row["high_90"] - row["low_90"]) / (2 * 1.645) == pytest.approx(spread, rel=0.15)


def test_without_a_variable_all_that_were_not_measured_are_said_and_arrow_is_answered_with_arrow(planted) -> None:
    model, _ = planted
    names = model.vocabulary.names
    events = stay({0.0: dict.fromkeys(names[:2], 1.0), 30.0: dict.fromkeys(names[1:4], 1.0)})
    at = pd.DataFrame({"subject": ["a", "a"], "minute": [30.0, 45.0]})
    said = model.impute(pa.Table.from_pandas(events), pa.Table.from_pandas(at))
    assert isinstance(said, pa.Table)
    found = said.to_pandas().groupby("minute")["variable"].agg(set).to_dict()
    assert found == {30.0: {names[0], *names[4:]}, 45.0: set(names)}


def test_the_first_value_of_a_stay_has_nothing_to_be_said_from(planted) -> None:
    model, _ = planted
    name = model.vocabulary.names[0]
    said = model.impute(stay({5.0: {name: 1.0}}), pd.DataFrame({"subject": ["a"], "minute": [5.0], "variable": [name]}))
    assert said[list(BANDS)].isna().all(axis=None)


def test_a_head_that_has_learned_nothing_yet_says_the_last_value_before(tmp_path) -> None:
    vocabulary = planted_store(tmp_path / "store").vocabulary
    config = ModelConfig(width=8, latent_dim=4, levels=1, heads=2, ff_dim=8, history_layers=1, fill_in=True)
    vae = SeqSetVAE(config, len(vocabulary)).eval()
    recipe = Recipe({}, list(vocabulary.names), [], [], total_steps=1, run_id="")
    model = Pretrained(vae, vocabulary, config, recipe)
    level_V, unit_V = SOURCE.units()
    names = vocabulary.names
    one, two, three = (float(level_V[0] + unit_V[0] * x) for x in (-1.0, 0.5, 1.0))
    events = stay({0.0: {names[0]: one}, 30.0: {names[0]: two, names[1]: float(level_V[1])}, 60.0: {names[0]: three}})
    at = pd.DataFrame({"subject": "a", "minute": [0.0, 30.0, 45.0, 60.0, 90.0], "variable": names[0]})
    said = model.impute(events, at).set_index("minute")
    assert np.isnan(said["value"][0.0])  # nothing else is known
    # Its own value of that minute is not looked at, that of the last set before is; at 60 nothing else was measured.
    for minute, right in ((30.0, one), (45.0, two), (60.0, two), (90.0, three)):
        assert said["value"][minute] == pytest.approx(right, rel=1e-4), minute
    assert (said["low_90"] < said["low_50"])[1:].all()


def test_widened_bands_hold_what_they_promise_of_other_stays_and_the_right_model_needs_no_widening(planted) -> None:
    from seqsetvae.data.store import Store

    model, folder = planted
    store, variables = Store.open(folder), len(model.vocabulary)
    tuned = leave_out(model.vae, model.vocabulary, store, "valid", 3000)
    widening = tuned.widening(variables)
    learned = [v for v in range(variables) if v != UNLEARNED]
    # The decoder knows the truth but for what its encoder does not see.
    assert np.all(widening.reach_90_V[learned] < 3.0)
    assert widening.reach_90_V[UNLEARNED] > 4.0
    tried = leave_out(model.vae, model.vocabulary, store, "test", 3000)
    scored = tried.scores(variables, widening)
    assert scored is not None
    assert scored.coverage_50 == pytest.approx(0.5, abs=0.03)
    assert scored.coverage_90 == pytest.approx(0.9, abs=0.03)
    assert scored.error < scored.error_of_last


def test_the_verb_writes_table_and_figure_and_says_how_it_did(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    exported("model")
    found = impute(ImputeConfig(model="model", left_out=300), TrackingConfig())
    table = pd.read_parquet("imputed.parquet")
    assert list(table) == ["subject", "minute", "variable", *BANDS]
    assert table["subject"].nunique() == 100
    picture = Image.open("imputed.png")
    assert picture.size[0] == 1400
    assert np.asarray(picture).std() > 10
    assert found.widened is not None
    assert found.widened.coverage_90 > 0.8
    assert "as wide as validation stays need" in capsys.readouterr().out
    subject = table["subject"][0]
    pd.DataFrame({"subject": [subject], "minute": [600.0], "variable": ["HR"]}).to_csv("points.csv", index=False)
    [row] = impute(ImputeConfig(model="model", points="points.csv", left_out=0), TrackingConfig()).table.to_dict(
        "records"
    )
    assert (row["subject"], row["minute"], row["variable"]) == (subject, 600.0, "HR")


def test_what_cannot_be_is_named_and_nothing_is_written(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    model = exported("model")
    Path("points.csv").write_text("subject,minute,variable\nnobody,1,HR\n")
    before = sorted(path.name for path in Path().iterdir())
    for words, said in {
        "--points points.csv": "Row 1 of the table of points: subject 'nobody' has no events",
        "--points missing.csv": "--impute.points missing.csv: cannot be read",
        "--points points.txt": "impute.points is 'points.txt', but must be a table that ends in",
        "--patient nobody": "no such patient",
        "--left_out -1": "impute.left_out is -1, but must be 0 or more",
    }.items():
        with pytest.raises(SystemExit) as ended:
            main(["impute", "--model", "model", *words.split()])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == before
    events = pd.DataFrame({"subject": ["a"], "minute": [0.0], "variable": ["HR"], "value": [80.0]})
    for at, said in (
        ({"subject": ["a"], "minute": [0.0], "variable": ["Pulse"]}, "variable 'Pulse' is unknown to the model"),
        ({"subject": ["a"], "minute": ["noon"]}, "minute 'noon' is no time"),
        ({"subject": ["a"]}, "lacks the column 'minute'"),
        ({"subject": [], "minute": []}, "points is empty"),
    ):
        with pytest.raises(InputError, match=said):
            model.impute(events, pd.DataFrame(at))
    assert read_pretrained(Path("model")).vocabulary.names == model.vocabulary.names
