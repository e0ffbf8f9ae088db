"""A finetuned model behind `mlflow models serve`: any format, any order, and every fault in words."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.serving import demo_stays
from seqsetvae import names
from seqsetvae.config import FinetuneConfig, TrackingConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.tracking.compat.served_requests import MAX_BYTES
from seqsetvae.training.finetuning.finetune import finetune
from seqsetvae.training.finetuning.mortality import RiskModel
from seqsetvae.training.pretrained.exported import export
from tests.support.model_server import Served, as_json, serve

MODEL = "models:/seqsetvae-mortality@champion"
STAYS = 60
MOST_ROWS = 100_000


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> TrackingConfig:
    folder = tmp_path_factory.mktemp("store")
    return TrackingConfig(new_store(folder), work_dir=str(folder), log_system_metrics=False)


@pytest.fixture(scope="module")
def risk_model(tracking: TrackingConfig, untrained) -> RiskModel:
    """An untrained backbone with a head that has seen the demo data twice: registered as version 1, and the champion."""
    with contextlib.chdir(tracking.work_dir):
        export(untrained(open_store("demo").vocabulary), Path("backbone"))
        return finetune(FinetuneConfig("backbone", head_input="posterior+history", max_epochs=2), tracking).model


@pytest.fixture(scope="module")
def server(risk_model: RiskModel, tracking: TrackingConfig) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SEQSETVAE_MAX_ROWS", str(MOST_ROWS))
        with serve(MODEL, str(tracking.tracking_uri), Path(tracking.work_dir)) as served:
            yield served


def risks(table: pd.DataFrame) -> dict[str, float]:
    return dict(zip(table["subject"], table["risk"].astype(float), strict=True))


@pytest.mark.slow
def test_served_risks_are_those_of_the_batch_in_any_order_company_and_format(risk_model: RiskModel, server: Served):
    stays = demo_stays(STAYS)
    events = pd.concat(stays, ignore_index=True)
    expected = risk_model.risk(events)
    assert expected["risk"].between(0, 1).all()
    assert expected["risk"].nunique() == STAYS
    wanted = pytest.approx(risks(expected), abs=1e-6)

    answer = server.ask(as_json(events)).table
    assert answer["subject"].tolist() == expected["subject"].tolist()
    assert set(answer["model"]) == {"seqsetvae-mortality/1"}
    assert set(answer["error"]) == {""}
    assert risks(answer) == wanted

    # Of repeated measurements in one minute the last row counts: among these alone the order says something.
    shuffled = events.drop_duplicates(["subject", "minute", "variable"], keep="last").sample(frac=1.0, random_state=0)
    assert risks(server.ask(as_json(shuffled)).table) == wanted
    rng = np.random.default_rng(0)
    alone = [stays[number] for number in rng.permutation(STAYS)]
    parts = [alone[:1], alone[1:4], alone[4:20], alone[20:]]
    asked = [risks(server.ask(as_json(pd.concat(part))).table) for part in parts]
    assert {name: risk for part in asked for name, risk in part.items()} == wanted

    assert risks(server.ask(events.to_csv(index=False).encode(), "text/csv").table) == wanted
    parquet = io.BytesIO()
    events.to_parquet(parquet)
    assert risks(server.ask(parquet.getvalue(), "application/vnd.apache.parquet").table) == wanted


@pytest.mark.slow
def test_faults_are_said_for_each_subject_and_the_others_get_their_risk(risk_model: RiskModel, server: Served):
    good = demo_stays(2)
    rows = [
        ["typo", 0, "Pulse", 80],
        ["empty", 0, "HR", None],
        ["noon", "noon", "HR", 80],
        ["before", -5, "HR", 80],
        [None, 0, "HR", 80],
    ]
    bad = pd.DataFrame(rows, columns=list(good[0].columns), dtype=object)
    events = pd.concat([good[0].astype(object), bad, good[1].astype(object)], ignore_index=True)
    at = len(good[0])
    expected = risks(risk_model.risk(pd.concat(good)))
    said = {
        "typo": f"row {at + 1}: variable 'Pulse' is unknown to the model",
        "empty": f"row {at + 2}: value is missing",
        "noon": f"row {at + 3}: minute 'noon' is not a time: minutes are 0 or more",
        "before": f"row {at + 4}: minute -5 is not a time: minutes are 0 or more",
        "": f"row {at + 5}: subject is missing",
    }
    answer = server.ask(as_json(events))
    assert answer.status == 200
    table = answer.table.set_index("subject")
    for subject, text in said.items():
        assert table.loc[subject, "error"] == text
    assert [row["risk"] for row in answer.content["predictions"] if row["subject"] in said] == [None] * len(said)
    assert table.loc[list(expected), "risk"].astype(float).to_dict() == pytest.approx(expected, abs=1e-6)

    csv = server.ask(events.to_csv(index=False).encode(), "text/csv").table.set_index("subject")
    assert csv.loc["noon", "error"] == said["noon"]
    assert csv.loc[list(expected), "risk"].astype(float).to_dict() == pytest.approx(expected, abs=1e-6)

    for missing in ("subject", "value"):
        refused = server.ask(as_json(good[0].drop(columns=missing)))
        assert refused.status == 400
        assert f"The table of events lacks the column '{missing}'. It needs subject" in refused.content["message"]
        assert "Traceback" not in str(refused.content)
    nothing = server.ask(as_json(good[0].head(0)))
    assert (nothing.status, nothing.content) == (200, {"predictions": []})


@pytest.mark.slow
def test_the_example_that_a_version_carries_is_answered_as_its_signature_says(server: Served, tracking, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tracking.tracking_uri))
    import mlflow  # here, because it warns about itself

    loaded = mlflow.pyfunc.load_model(MODEL)
    signature = mlflow.models.get_model_info(MODEL).signature
    assert signature is not None
    assert signature.inputs.input_names() == list(names.EVENT_COLUMNS) == list(loaded.input_example.columns)
    answer = server.ask(as_json(loaded.input_example)).table
    assert list(answer.columns) == signature.outputs.input_names()
    assert answer.to_dict("records") == loaded.predict(loaded.input_example).to_dict("records")


JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
HEADER = b"subject,minute,variable,value"
GOOD = '["a",0,"HR",80]'


def split(row: str, columns: str = '"subject","minute","variable","value"') -> bytes:
    return f'{{"dataframe_split":{{"columns":[{columns}],"data":[{row}]}}}}'.encode()


def parquet(**column: object) -> bytes:
    file = io.BytesIO()
    pd.DataFrame({"subject": ["a"], "minute": [0], "variable": ["HR"], "value": [80]} | column).to_parquet(file)
    return file.getvalue()


AWKWARD: dict[str, tuple[str | None, bytes, int, str]] = {
    "nothing": (JSON, b"", 400, "valid JSON"),
    "no content type": (None, split(GOOD), 415, "content types"),
    "another content type": ("text/xml", b"<a/>", 415, "text/xml"),
    "another alphabet": (f"{JSON}; charset=latin-1", split(GOOD), 415, "UTF-8"),
    "no UTF-8": (JSON, b'{"dataframe_split":"\xff"}', 400, "UnicodeDecodeError"),
    "half a letter": (JSON, split(r'["\ud800",0,"HR",80]'), 400, "surrogates"),
    "deep": (JSON, b"[" * 100_000 + b"]" * 100_000, 400, "RecursionError"),
    "NaN": (JSON, split('["a",0,"HR",NaN]'), 200, "value is missing"),
    "infinite": (JSON, split('["a",-Infinity,"HR",1e400]'), 200, "minute -inf is not a time"),
    "nulls": (JSON, split("[null,null,null,null]"), 200, "subject is missing"),
    "no rows": (JSON, b'{"dataframe_records":[null]}', 400, "lacks the column 'subject'"),
    "no table": (JSON, b'{"instances":null}', 400, "Failed to enforce schema"),
    "5000 digits": (JSON, split(f'["a",{"9" * 5000},"HR",80]'), 400, "4300 digits"),
    "a list for a name": (JSON, split(GOOD, '["subject"],"minute","variable","value"'), 400, "unhashable"),
    "a list for a value": (JSON, split('["a",0,"HR",[80]]'), 200, "value [80] is not a finite number"),
    "doubled": (
        JSON,
        split('["a",0,"HR",80,90],["a",1,"HR",80,90]', '"subject","minute","variable","value","value"'),
        400,
        "'value' twice",
    ),
    "CSV of nothing": (CSV, b"", 400, "No columns"),
    "CSV, no UTF-8": (CSV, HEADER + b"\n\xff,0,HR,80", 400, "UTF-8"),
    "CSV, a long row": (CSV, HEADER + b"\na,0,HR,80,1,2,3", 400, "line 2, saw 7"),
    "CSV, a short row": (CSV, HEADER + b"\na,0", 200, "value is missing"),
    "CSV, an open quote": (CSV, HEADER + b'\n"a,0,HR,80', 400, "EOF inside string"),
    "CSV, doubled": (CSV, HEADER + b",value\na,0,HR,80,90\na,1,HR,80,90", 400, "'value' twice"),
    "Parquet of nothing": (PARQUET, b"", 400, "Parquet"),
    "Parquet of dates": (PARQUET, parquet(minute=[pd.Timestamp(0)]), 200, "is not a time"),
    "Parquet of bytes": (PARQUET, parquet(variable=[b"\xff"]), 200, "is unknown to the model"),
    "too many bytes": (CSV, b"x" * (MAX_BYTES + 1), 413, "SEQSETVAE_MAX_BYTES"),
    "too many rows": (CSV, HEADER + b"\na,0,HR,80" * (MOST_ROWS + 1), 413, "at most 100,000"),
}


@pytest.mark.slow
def test_no_request_is_answered_by_a_bare_500_or_a_traceback(server: Served):
    for name, (content_type, body, status, text) in AWKWARD.items():
        got, content = server.send(body, {"Content-Type": content_type} if content_type else {})
        assert (name, got) == (name, status)
        assert text in content.decode(), name
        assert b"Traceback" not in content, name
        assert len(content) < 4000, name
    assert server.ask(split(GOOD)).table["risk"].between(0, 1).all()
