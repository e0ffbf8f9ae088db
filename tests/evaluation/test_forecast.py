"""`forecast`: what a table says is what the model's quantiles are, in raw units; it is held against what came; what cannot be is named."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from seqsetvae.app.main import main
from seqsetvae.config import ForecastConfig, ModelConfig, TrackingConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.sources.demo import DEMO_FILE
from seqsetvae.errors import InputError
from seqsetvae.evaluation.forecast import forecast
from seqsetvae.model.forecast_head import FIRST_BAND
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.pretrained.exported import Pretrained, export, read_pretrained
from seqsetvae.training.pretrained.forecasting import BANDS
from tests.test_external_validation import cohort

COLUMNS = ["subject", "minute", "hours", "variable", "chance", *BANDS]


def exported(folder: str, **heads: object) -> Pretrained:
    """An untrained model of the demo's variables: of each it expects that the last value stays."""
    torch.manual_seed(0)
    config = ModelConfig(width=8, latent_dim=4, levels=1, heads=2, ff_dim=8, history_layers=1, **heads)  # type: ignore[arg-type]
    vocabulary = open_store("demo").vocabulary
    scaling = vocabulary.center_V.tolist(), vocabulary.spread_V.tolist()
    recipe = Recipe({"model": asdict(config)}, list(vocabulary.names), *scaling, 1, "0" * 32)
    export(Pretrained(SeqSetVAE(config, len(vocabulary)).eval(), vocabulary, config, recipe), Path(folder))
    return read_pretrained(Path(folder))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretrained:
    monkeypatch.chdir(tmp_path)
    return exported("model", foresee_hours=[1.0, 6.0])


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    """Of some test stays, in minutes of the clock."""
    frame = pq.read_table(DEMO_FILE).to_pandas().rename(columns={"subject_id": "subject"})
    frame = frame.astype({"subject": str, "variable": str})[["subject", "minute", "variable", "value"]]
    return frame[frame["subject"].isin(open_store("demo").subject_ids("test", [0, 5, 9]))].reset_index(drop=True)


def test_a_table_of_events_is_answered_in_its_units(model: Pretrained, events: pd.DataFrame) -> None:
    said = model.forecast(events, 6.0)
    assert list(said) == COLUMNS
    assert len(said) == 3 * len(model.vocabulary)
    last = events.sort_values("minute", kind="stable").groupby(["subject", "variable"])["value"].last()
    end = events.groupby("subject")["minute"].max()
    known = said.set_index(["subject", "variable"])
    for (subject, variable), row in known.iterrows():  # type: ignore[misc]
        place = model.vocabulary.index(str(variable))
        center, spread = model.vocabulary.center_V[place], model.vocabulary.spread_V[place]
        scaled = np.arcsinh((last[subject, variable] - center) / spread) if (subject, variable) in last.index else 0.0
        right = np.sinh(np.clip(scaled, -5, 5) + np.array(FIRST_BAND)) * spread + center
        np.testing.assert_allclose(row[list(BANDS)].to_numpy(float), right, rtol=1e-4, atol=1e-4 * spread)
        assert row["minute"] == pytest.approx(end[subject])
    assert said["chance"].between(0, 1).all()


def test_arrow_is_answered_with_arrow_and_some_variables_with_these(model: Pretrained, events: pd.DataFrame) -> None:
    said = model.forecast(pa.Table.from_pandas(events), 1.0, variables=["HR", "Temp"])
    assert isinstance(said, pa.Table)
    whole = model.forecast(events, 1.0)
    chosen = whole[whole["variable"].isin(["HR", "Temp"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(said.to_pandas(), chosen, check_dtype=False)


def test_a_stay_is_forecast_alike_whoever_else_is_there(model: Pretrained, events: pd.DataFrame) -> None:
    together = model.forecast(events, 6.0)
    for subject, alone in events.groupby("subject"):
        mine = together[together["subject"] == subject].reset_index(drop=True)
        pd.testing.assert_frame_equal(model.forecast(alone, 6.0), mine, rtol=1e-4, atol=1e-4)


def test_bands_that_are_set_right_on_validation_stays_hold_what_they_promise(model: Pretrained) -> None:
    own, right = (
        forecast(ForecastConfig(model="model", at="12h", horizon=6.0, calibrate_on=stays), TrackingConfig())
        for stays in (0, 80)
    )
    assert own.held_out is not None
    assert right.held_out is not None
    assert own.held_out.coverage_50 > 0.7  # an untrained model's are far too wide
    assert right.held_out.coverage_50 == pytest.approx(0.5, abs=0.06)
    assert right.held_out.coverage_90 == pytest.approx(0.9, abs=0.04)
    pd.testing.assert_series_equal(right.table["value"], own.table["value"])
    assert (np.diff(right.table[list(BANDS)].to_numpy(), axis=1) >= 0).all()


def test_a_cohort_without_validation_stays_gets_the_models_own_bands(model: Pretrained, capsys) -> None:
    cohort(Path("there"), {"test": 12}, {"HR": (84.0, 20.0), "Temp": (37.0, 0.3)}, seed=2)
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "patient_ehr", "--input", "there", "--output", "elsewhere", "--vocabulary_of", "model"])
    assert ended.value.code == 0
    tables = [
        forecast(ForecastConfig(model="model", store="elsewhere", at="12h", calibrate_on=stays), TrackingConfig()).table
        for stays in (500, 0)
    ]
    assert "elsewhere has no split valid, on whose stays bands are set right" in capsys.readouterr().out
    pd.testing.assert_frame_equal(*tables)


def test_the_verb_writes_table_and_figure_and_scores_what_came(
    model: Pretrained, capsys: pytest.CaptureFixture[str]
) -> None:
    found = forecast(ForecastConfig(model="model", at="24h", calibrate_on=0), TrackingConfig())
    table = pd.read_parquet("forecasts.parquet")
    assert (list(table), len(table)) == (COLUMNS, 100 * len(model.vocabulary))
    picture = Image.open("forecast.png")
    assert picture.size[0] == 1400
    assert np.asarray(picture).std() > 10
    frame = pq.read_table(DEMO_FILE).to_pandas().astype({"subject_id": str, "variable": str})
    inside, errors, of_last = [], [], []
    compared: dict[str, int] = {}
    for subject in open_store("demo").subject_ids("test", range(100)):
        mine = frame[frame["subject_id"] == subject]
        minute = np.floor(mine["minute"].to_numpy())  # sets are minutes of the clock
        since = minute - minute.min()
        now = since[since <= 24 * 60].max()
        for variable, part in mine.groupby("variable"):
            place = model.vocabulary.index(str(variable))
            center, spread = model.vocabulary.center_V[place], model.vocabulary.spread_V[place]
            scaled, at = np.arcsinh((part["value"] - center) / spread).to_numpy(), since[mine["variable"] == variable]
            later = scaled[(at > now) & (at <= now + 360)]
            if not len(later):
                continue
            before = scaled[at <= now]
            middle = float(np.clip(before[-1], -5, 5)) if len(before) else 0.0
            inside.append([abs(later.mean() - middle) <= reach for reach in (0.7, 1.6)])
            if len(before):
                errors.append(abs(later.mean() - middle))
                of_last.append(abs(later.mean() - before[-1]))
                compared[str(variable)] = compared.get(str(variable), 0) + 1
    scored = found.held_out
    assert scored is not None
    assert scored.values == len(inside)
    np.testing.assert_allclose([scored.coverage_50, scored.coverage_90], np.mean(inside, axis=0), atol=0.002)
    assert scored.error == pytest.approx(np.mean(errors), rel=1e-3)
    assert scored.error_of_last == pytest.approx(np.mean(of_last), rel=1e-3)
    assert scored.compared == sum(count >= 20 for count in compared.values())
    assert f"of {scored.values:,} values, " in capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["forecast", *words])
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert "Traceback" not in said
    return said


@pytest.mark.usefixtures("model")
def test_what_cannot_be_is_named_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], events: pd.DataFrame
) -> None:
    exported("without")
    before = sorted(path.name for path in Path().iterdir())
    assert "trained without heads that foresee" in refused(capsys, "--model", "without")
    assert "forecast.horizon is 0.0, but must be above 0" in refused(capsys, "--model", "model", "--horizon", "0")
    assert "horizon is 3 hours, but the model foresees 1, 6 hours" in refused(
        capsys, "--model", "model", "--horizon", "3"
    )
    assert "Variable 'Pulse' is unknown" in refused(capsys, "--model", "model", "--variables", "[HR,Pulse]")
    assert "no such patient" in refused(capsys, "--model", "model", "--patient", "nobody")
    assert "must be end, or hours such as 24h" in refused(capsys, "--model", "model", "--at", "noon")
    assert sorted(path.name for path in Path().iterdir()) == before
    model = read_pretrained(Path("model"))
    with pytest.raises(InputError, match="horizon is 0 hours, but must be above 0"):
        model.forecast(events, 0)
    with pytest.raises(InputError, match="unknown to the model"):
        model.forecast(events.replace("HR", "Pulse"), 1)
    with pytest.raises(InputError, match="lacks the column 'value'"):
        model.forecast(events.drop(columns="value"), 1)
