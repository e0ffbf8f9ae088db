"""The whole chain as a user types it, on the demo data: pretrain, register, finetune, evaluate, serve over HTTP, predict."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from seqsetvae import names
from seqsetvae.app.main import main
from seqsetvae.data.sources.demo import DEMO_FILE
from tests.support.model_server import as_json, serve

MODEL = "models:/seqsetvae-mortality@champion"
SMALL = shlex.split("--width 16 --latent_dim 8 --levels 1 --heads 2 --ff_dim 16 --history_layers 1")
SHORT = shlex.split("--max_epochs 2 --batch_size 16 --update_frequency 10 --check_frequency 10 --plot_frequency 40")
QUIET = ["--log_system_metrics", "false"]


def seqsetvae(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a verb says."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments, *QUIET])
    said = capsys.readouterr()
    assert ended.value.code == 0, said
    return said.out


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """All events of some test stays, as a table, and a subject with a row that cannot be used."""
    frame = pd.read_parquet(DEMO_FILE)
    frame = frame[frame["split"] == "test"].rename(columns={"subject_id": "subject"})
    frame = frame[frame["subject"].isin(frame["subject"].unique()[:5])][["subject", "minute", "variable", "value"]]
    bad = pd.DataFrame({"subject": ["bad"], "minute": [0.0], "variable": ["Pulse"], "value": [1.0]})
    frame = pd.concat([frame.astype({"subject": str, "minute": float, "value": float}), bad])
    frame.to_csv(tmp_path / "events.csv", index=False)
    return tmp_path / "events.csv"


@pytest.mark.slow
@pytest.mark.usefixtures("empty_store")
def test_from_pretraining_to_a_risk_over_http(tmp_path, events, capsys):
    said = seqsetvae(capsys, "pretrain", *SMALL, *SHORT, "--progress_bar", "false")
    assert "Registered models:/seqsetvae/1" in said
    # Whether so short a run deserves the alias is not what is asked here.
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    client.set_registered_model_alias("seqsetvae", "champion", "1")
    said = seqsetvae(capsys, "finetune", "--model", "models:/seqsetvae@champion", "--finetune.max_epochs", "5")
    assert "Registered models:/seqsetvae-mortality/1; it is the champion." in said
    (finetuned,) = client.search_runs(["1"], f"tags.`{names.TAG_KIND}` = 'finetune'")
    assert "validation/calibration.png" in {
        one.path for one in client.list_artifacts(finetuned.info.run_id, "validation")
    }
    said = seqsetvae(capsys, "evaluate", "--bootstrap", "20")
    assert "  seqsetvae-mortality/1  " in said
    assert "test_auroc" in client.get_model_version("seqsetvae-mortality", "1").tags

    table = pd.read_csv(events)
    with serve(MODEL, os.environ["MLFLOW_TRACKING_URI"], tmp_path) as server:
        served = server.ask(as_json(table)).table.set_index("subject")
    predict = [sys.executable, "-m", "mlflow", "models", "predict", "-m", MODEL, "--env-manager", "local"]
    predict += ["-i", str(events), "-t", "csv", "-o", str(tmp_path / "risks.json")]
    done = subprocess.run(predict, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    batch = pd.DataFrame(json.loads((tmp_path / "risks.json").read_text())["predictions"]).set_index("subject")
    assert len(served) == 6
    assert served["risk"].dropna().between(0, 1).sum() == 5
    assert served["risk"].astype(float).to_dict() == pytest.approx(
        batch["risk"].astype(float).to_dict(), abs=1e-6, nan_ok=True
    )
    assert set(served["model"]) == set(batch["model"]) == {"seqsetvae-mortality/1"}
    assert "variable 'Pulse' is unknown to the model" in served.loc["bad", "error"]
