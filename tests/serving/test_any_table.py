"""The models that are served, in process: whatever a table holds, each subject gets numbers or an error, or the table is refused."""

from __future__ import annotations

import contextlib
import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from seqsetvae import names
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.events_table import read_events, require_columns
from seqsetvae.errors import InputError
from seqsetvae.model.classifier import RiskHead, RiskNet, head_input, stay_features
from seqsetvae.serving.latents import LatentsModel
from seqsetvae.serving.mortality import MortalityModel
from seqsetvae.tracking.compat import served_requests
from seqsetvae.training.finetuning.mortality import RiskModel, export_risk_model
from seqsetvae.training.pretrained.exported import export

CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 3000),
    st.floats(),
    st.sampled_from(["HR", "a", "80", "", " ", "NaN", "1e400", "0x10", "\ud800", "\0", b"\xff", [80], {"a": 1}, 2j]),
    st.text(max_size=5),
    st.sampled_from([np.float32(80), np.array([1, 2]), pd.NA, pd.NaT, pd.Timestamp(0), datetime.timedelta(1)]),
)
TABLES = st.lists(st.tuples(CELLS, CELLS, st.sampled_from(["HR", "Temp"]) | CELLS, CELLS), max_size=6).map(
    lambda rows: pd.DataFrame(rows, columns=list(names.EVENT_COLUMNS), dtype=object)
)
GOOD = pd.DataFrame([["good", 0, "HR", 80.0], ["good", 9, "HR", 90.0]], columns=list(names.EVENT_COLUMNS), dtype=object)


@dataclass(frozen=True)
class Loaded:
    """A model as MLflow runs it."""

    model: Any
    context: Any

    def answer(self, table: pd.DataFrame) -> pd.DataFrame:
        return self.model.predict(self.context, table)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, untrained) -> dict[str, Loaded]:
    """By the column of their numbers."""
    folder = tmp_path_factory.mktemp("models")
    backbone = untrained(open_store("demo").vocabulary)
    export(backbone, folder / "state")
    batch = read_events(GOOD, backbone.vocabulary).batch(backbone.vocabulary)
    with torch.no_grad():
        features = stay_features(backbone.vae, batch, ("history",))
    head = RiskHead(head_input(features, "history").shape[1], 8, dropout=0.0)
    export_risk_model(RiskModel(backbone, RiskNet([backbone.vae], [head], "history"), 8), folder / "risk", {})
    found = {}
    for column, model in (("state", LatentsModel()), ("risk", MortalityModel())):
        context = SimpleNamespace(artifacts={"model": str(folder / column)}, model_config={"model": column})
        model.load_context(context)
        found[column] = Loaded(model, context)
    return found


@settings(derandomize=True, max_examples=40, deadline=None)
@given(TABLES, st.sampled_from([object, object, "category", "string", "complex128", "timedelta64[ns]"]))
def test_each_subject_gets_numbers_or_an_error_and_others_do_not_matter(loaded, table: pd.DataFrame, kind: Any):
    with contextlib.suppress(Exception):  # not every cell is of every kind
        table = table.assign(value=table["value"].astype(kind))
    for column, one in loaded.items():
        alone = one.answer(GOOD).iloc[0]
        answer = one.answer(pd.concat([table.astype(object), GOOD], ignore_index=True))
        assert answer["subject"].is_unique
        for _, row in answer.iterrows():
            numbers = np.atleast_1d(np.asarray(row[column], dtype=float))
            assert (row["error"] == "") == (len(numbers) > 0 and bool(np.isfinite(numbers).all()))
        good = answer.set_index("subject").loc["good"]
        assert good["error"] == ""
        np.testing.assert_allclose(good[column], alone[column], rtol=1e-4, atol=1e-5)
        json.dumps(answer.to_dict("records"))
        assert len(one.answer(table)) in (len(answer), len(answer) - 1)


def test_tables_without_the_columns_are_refused_with_status_400(loaded):
    for table in (GOOD[["subject", "minute"]], GOOD[["value", *GOOD.columns]], pd.DataFrame([1])):
        for one in loaded.values():
            with pytest.raises(MlflowException, match=r"The table of events (lacks|has) the column") as caught:
                one.answer(table)
            assert caught.value.get_http_status_code() == 400


def test_a_csv_file_is_read_cell_by_cell(loaded, tmp_path: Path):
    file = tmp_path / "events.csv"
    file.write_text("value,subject,minute,variable,note\n80,007,0,HR,x\n,8,noon,HR\n", encoding="utf-8")
    answer = loaded["risk"].answer(scoring_server.parse_csv_input(str(file)))
    assert answer["subject"].tolist() == ["007", "8"]
    assert answer["error"].tolist() == [
        "",
        "row 2: minute 'noon' is not a time: minutes are 0 or more; row 2: value is missing",
    ]


def test_limits_are_for_requests_and_set_by_the_environment(loaded, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEQSETVAE_MAX_ROWS", "1")
    body = GOOD.to_csv(index=False).encode()
    for one in loaded.values():
        assert one.answer(GOOD)["subject"].tolist() == ["good"]
        asked = SimpleNamespace(predict=one.answer)
        with pytest.raises(served_requests.RequestTooLarge, match=r"2 rows, of at most 1\. Send fewer") as caught:
            scoring_server.invocations(body, "text/csv", asked, None)
        assert caught.value.get_http_status_code() == 413
    monkeypatch.setenv("SEQSETVAE_MAX_BYTES", "10")
    with pytest.raises(served_requests.RequestTooLarge, match="of at most 10"):
        scoring_server.invocations(body, "text/csv", asked, None)
    for wrong in ("", "many", "0", "-1", "1.5", "\u0661"):
        monkeypatch.setenv("SEQSETVAE_MAX_ROWS", wrong)
        with pytest.raises(InputError, match=r"SEQSETVAE_MAX_ROWS is .* whole number above 0"):
            served_requests.guard(require_columns)
