"""The whole way of a MEDS data set, as a user types it: prepare, pretrain, finetune on two tasks, evaluate, embed, serve."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from seqsetvae.app.main import main
from seqsetvae.data.sources.demo import DEMO_FILE
from tests.support.meds_data import write_events, write_labels

DAY = 1440.0
QUIET = ["--log_system_metrics", "false", "--progress_bar", "false"]
SMALL = shlex.split(
    "--width 16 --latent_dim 8 --levels 1 --heads 2 --ff_dim 16 --history_layers 1 --batch_size 16 --max_epochs 2 "
    "--plot_frequency 30"
)


def seqsetvae(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("empty_store")
def test_a_meds_data_set_from_its_files_to_two_served_answers(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    numbers = pd.read_parquet(DEMO_FILE).astype({"subject_id": str, "variable": str})
    codes = numbers[numbers["minute"] > 0].groupby(["subject_id", "minute"], as_index=False).first()
    codes = codes.assign(variable="ORDER//" + codes["variable"].str[:1], value=np.nan)
    frame = pd.concat([numbers, codes])
    write_events(tmp_path / "meds", frame)
    late = frame[frame["minute"] > DAY]
    died = {one: bool(label) for one, label in frame.groupby("subject_id")["label"].first().items()}
    heart_rate = late[late["variable"] == "HR"].groupby("subject_id")["value"].mean().to_dict()
    write_labels(tmp_path / "death.parquet", DAY, died)
    write_labels(tmp_path / "next_day_heart_rate.parquet", DAY, heart_rate)

    seqsetvae("prepare", "meds", "--input", "meds", "--output", "store")
    seqsetvae("pretrain", "--store", "store", *SMALL, *QUIET)
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    client.set_registered_model_alias("seqsetvae", "champion", "1")
    chosen = ["--finetune.max_epochs", "15", "--head_lr", "0.003", "--head_input", "summaries", *QUIET]
    for task in ("death", "next_day_heart_rate"):
        of_task = ["--store", "store", "--labels", f"{task}.parquet"]
        seqsetvae("finetune", "--model", "models:/seqsetvae@champion", *of_task, *chosen)
        model = f"models:/seqsetvae-{task}/1"
        seqsetvae("evaluate", "--model", model, *of_task, "--bootstrap", "20", "--leak_audit", "true")
        assert f"Leak audit of task {task!r}: everything after" in capsys.readouterr().out
    binary, regression = (
        client.get_model_version(f"seqsetvae-{task}", "1").tags for task in ("death", "next_day_heart_rate")
    )
    assert float(binary["test_auroc"].split()[0]) > 0.6
    assert float(regression["test_r2"].split()[0]) > 0.4

    seqsetvae(
        "embed", "--model", "models:/seqsetvae@champion", "--store", "store", "--at", "24h", "--output", "emb.parquet"
    )
    assert (frame["variable"].str.startswith("ORDER//")).mean() > 0.1
    embedded = pd.read_parquet("emb.parquet")
    assert set(embedded["subject_id"]) == set(frame["subject_id"])
    assert np.isfinite(np.stack(embedded["state"].to_list())).all()

    held_out = frame[(frame["split"] == "test") & (frame["minute"] <= DAY)]
    first = held_out[held_out["subject_id"].isin(held_out["subject_id"].unique()[:20])]
    events = first.rename(columns={"subject_id": "subject"})[["subject", "minute", "variable", "value"]]
    events = events.astype({"variable": str, "minute": float, "value": float})
    risk = mlflow.pyfunc.load_model("models:/seqsetvae-death/1").predict(events)
    assert risk["risk"].astype(float).between(0, 1).all()
    rate = mlflow.pyfunc.load_model("models:/seqsetvae-next_day_heart_rate/1").predict(events).set_index("subject")
    truth = pd.Series(heart_rate).reindex(rate.index)
    assert np.corrcoef(rate["value"].astype(float)[truth.notna()], truth.dropna())[0, 1] > 0.5
