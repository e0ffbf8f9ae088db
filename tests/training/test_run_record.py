"""What a finished run leaves in MLflow: everything needed to understand it, and to do it again."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from seqsetvae import names
from seqsetvae.app.arguments import pretrain_config
from seqsetvae.config import ObjectiveConfig, OptimizerConfig, PretrainConfig
from seqsetvae.config.told import PRETRAIN
from seqsetvae.data.demo_store import open_store
from seqsetvae.tracking.params import flatten
from seqsetvae.tracking.read.run_reader import open_runs
from seqsetvae.training.fit import pretrain
from seqsetvae.training.plan import make_plan
from seqsetvae.training.recording import run_name, without_secrets


def test_a_run_is_recorded_once_and_completely(tiny, tmp_path):
    run_id = pretrain(tiny).run_id
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("seqsetvae")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"

    recorded = {
        value
        for name, value in vars(names).items()
        if name.isupper()
        and not name.startswith(
            (
                *("TAG", "ARTIFACT", "IMAGE", "STUDY", "FINETUNE", "IMPORTED", "MODEL", "ALIAS", "EVENT"),
                *("COLLAPSE_FINAL", "COLLAPSE_PARTS", "TRAIN_FILL", "TRAIN_HISTORY", "VAL_HISTORY"),
            )
        )
    }
    at_the_end = {name for name in run.data.metrics if name.startswith(names.COLLAPSE_FINAL)}
    assert set(run.data.metrics) - at_the_end == recorded
    assert {names.COLLAPSE_FINAL_LEVEL, names.COLLAPSE_KL.replace("collapse/", names.COLLAPSE_FINAL)} <= at_the_end
    assert run.data.params["objective/beta_warmup_steps"] == "5"
    assert run.data.params["trainer/precision"] == "32"  # what `auto` came to
    assert run.data.tags[names.TAG_KIND] == "pretrain"
    sizes = "width 8, levels 1, heads 2, ff_dim 8, history_layers 1, dropout 0.1"
    varied = "beta_warmup_steps 5, max_epochs 2, batch_size 32"
    assert run.info.run_name == f"{varied}, beta 0.1 linear, z 4, demo, {sizes}"
    assert run.data.tags[names.TAG_DATA] == "demo"
    unusual = {f"model/{name}" for name in ("levels", "heads", "ff_dim", "history_layers", "dropout")}
    unusual |= {"objective/beta_warmup_power"}  # which a warm-up that somebody has chosen has not
    assert set(run.data.params) == {*PRETRAIN, *unusual}, "those that runs are compared by, and what is not as usual"
    with open_runs(os.environ["MLFLOW_TRACKING_URI"]) as store:
        whole = store.read(run_id).params
    settled = asdict(without_secrets(make_plan(tiny).config))
    assert whole == flatten(settled), "those that are no params are read from config.yaml"
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith(("🟢 **Healthy.**", "🟡 **One indicator is out of range.**"))
    assert "Validation: −ELBO **" in note
    assert "- **data** demo: train 320, valid 80, test 100 patients" in note
    assert "![" not in note, "nothing was drawn"
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == open_store("demo").content_hash[:36]

    report = mlflow.artifacts.download_artifacts(
        run_id=run_id, artifact_path="data_report.html", dst_path=str(tmp_path)
    )
    assert Path(report).read_bytes() == (open_store("demo").path / "report.html").read_bytes()
    config_yaml = mlflow.artifacts.download_artifacts(
        run_id=run_id, artifact_path="config.yaml", dst_path=str(tmp_path)
    )
    again = pretrain_config("pretrain", "", ["--config", config_yaml])
    assert asdict(again) == asdict(make_plan(tiny).config)


@pytest.mark.parametrize(
    ("objective", "optimizer", "name"),
    [
        ({}, {}, "beta 0.1 linear, z 256, demo"),
        ({"max_beta": 0.5}, {}, "beta 0.5 linear, z 256, demo"),
        ({"beta": 0.5}, {"lr": 0.003}, "lr 0.003, beta 0.5 constant, z 256, demo"),
        (
            {"beta_warmup_steps": 100, "free_bits": 0.1},
            {},
            "free_bits 0.1, beta_warmup_steps 100, beta 0.1 linear, z 256, demo",
        ),
        ({"beta_schedule": "controller"}, {}, "KL 10 controller, z 256, demo"),
    ],
)
def test_the_name_of_a_run_says_what_somebody_has_chosen_and_nothing_that_follows(objective, optimizer, name):
    config = PretrainConfig(objective=ObjectiveConfig(**objective), optimizer=OptimizerConfig(**optimizer))
    assert run_name(make_plan(config)) == name
