"""A table of embeddings holds what the model says of each stay, at the time that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from seqsetvae.config import EmbedConfig, TrackingConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.errors import InputError
from seqsetvae.evaluation import embed as module
from seqsetvae.evaluation.embed import embed
from seqsetvae.training.pretrained.exported import Pretrained, export


@pytest.fixture
def model(untrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretrained:
    monkeypatch.chdir(tmp_path)
    made = untrained(open_store("demo").vocabulary)
    export(made, Path("backbone"))
    return made


def written(**settings: object) -> pd.DataFrame:
    config = EmbedConfig(model="backbone", progress_bar=False, **settings)  # type: ignore[arg-type]
    result = embed(config, TrackingConfig())
    table = pq.read_table(config.output)
    assert (result.output, table.num_rows) == (Path(config.output), result.rows)
    return table.to_pandas()


def events_of(subject: str, demo_events: pd.DataFrame, until: float) -> pd.DataFrame:
    of = demo_events[(demo_events["subject"] == subject) & (demo_events["minute"] <= until)]
    return of[["subject", "minute", "variable", "value"]]


@pytest.fixture(scope="module")
def demo_events() -> pd.DataFrame:
    from seqsetvae.data.sources.demo import DEMO_FILE

    frame = pq.read_table(DEMO_FILE).to_pandas().rename(columns={"subject_id": "subject"})
    return frame.astype({"subject": str, "variable": str})


@pytest.mark.parametrize(("at", "until"), [("end", np.inf), ("24h", 1440.0), ("every_set", np.inf)])
def test_rows_are_what_the_model_says_of_the_events_until_then(model, demo_events, monkeypatch, at, until) -> None:
    monkeypatch.setattr(module, "STAYS_AT_A_TIME", 7)
    found = written(split="test", at=at)
    assert found["subject_id"].nunique() == 100
    for subject in found["subject_id"].unique()[[0, 8, 99]]:
        encoded = model.encode(events_of(subject, demo_events, until))
        table = encoded.to_pandas()
        assert (table["subject"].tolist(), table["minute"].tolist()) == (encoded.subject, encoded.minute)
        assert table["mean"].tolist() == encoded.mu_SZ.tolist()
        assert table["variance"].tolist() == encoded.logvar_SZ.exp().tolist()
        assert table["state"].tolist() == encoded.history_SD.tolist()
        mine = found[found["subject_id"] == subject]
        rows = slice(None) if at == "every_set" else slice(-1, None)
        assert mine["minute"].tolist() == pytest.approx(np.array(encoded.minute[rows]) - encoded.minute[0])
        np.testing.assert_allclose(np.stack(mine["mean"]), encoded.mu_SZ[rows], atol=1e-5)
        np.testing.assert_allclose(np.stack(mine["variance"]), encoded.logvar_SZ[rows].exp(), rtol=1e-4)
        np.testing.assert_allclose(np.stack(mine["state"]), encoded.history_SD[rows], atol=1e-4)
        assert mine["sets"].iloc[-1] == len(encoded.minute)


def test_all_splits_and_a_table_of_times(model: Pretrained) -> None:
    store = open_store("demo")
    everything = written()
    assert everything["split"].value_counts().to_dict() == {"train": 320, "test": 100, "valid": 80}
    assert np.nanmean(everything["outcome"]) == pytest.approx(0.14, abs=0.005)
    first, second = store.subject_ids("test", [0, 1])
    Path("labels.csv").write_text(
        f"subject_id,prediction_time,t\n{first},60,1\n{first},1440,0\n{second},60,1\n1,60,1\n"
    )
    found = written(at="labels.csv", task="t", output="labels.parquet")
    assert found[["subject_id", "outcome"]].to_numpy().tolist() == [
        [f"{first}@1", 1.0],
        [f"{first}@2", 0.0],
        [second, 1.0],
    ]
    assert (found["minute"] <= [60, 1440, 60]).all()


def test_an_outcome_of_several_numbers_has_a_column_for_each(model: Pretrained) -> None:
    first, second = open_store("demo").subject_ids("test", [0, 1])
    Path("labels.csv").write_text(f"subject_id,where,ill,fell,ill_hours\n{first},home,1,,5.5\n{second},icu,0,1,48\n")
    found = written(at="labels.csv", task="where", kind="multiclass")
    assert found[["outcome_home", "outcome_icu"]].to_numpy().tolist() == [[1, 0], [0, 1]]
    found = written(at="labels.csv", task="ill,fell")
    assert str(found[["outcome_ill", "outcome_fell"]].to_numpy().tolist()) == "[[1.0, nan], [0.0, 1.0]]"
    found = written(at="labels.csv", task="ill")
    assert found[["outcome_event", "outcome_hours"]].to_numpy().tolist() == [[1, 5.5], [0, 48]]


def test_what_cannot_be_is_named_and_nothing_is_written(model: Pretrained) -> None:
    with pytest.raises(InputError, match=r"embed.at is 'noon'"):
        EmbedConfig(model="backbone", at="noon")
    with pytest.raises(InputError, match=r"embed.output is 'a.csv'"):
        EmbedConfig(model="backbone", output="a.csv")
    with pytest.raises(InputError, match="cannot be written"):
        written(output="nowhere/a.parquet")
    with pytest.raises(InputError, match="no split 'train'"):
        first = open_store("demo").subject_ids("test", [0])[0]
        Path("labels.csv").write_text(f"subject_id,t\n{first},1\n")
        written(at="labels.csv", task="t", split="train")
    assert sorted(path.name for path in Path().iterdir() if path.suffix == ".parquet") == []
