"""Runs on a real sqlite store: opening, attaching, continuing, ending."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from seqsetvae import names
from seqsetvae.config import TrackingConfig
from seqsetvae.errors import InputError
from seqsetvae.tracking.read.checkpoints import find_checkpoint
from seqsetvae.tracking.write.start import start_run
from tests.support.commands import fork
from tests.tracking.recorded_points import ramp, stored_points


def log_ramp(run, first, end, key="loss"):
    for step in range(first, end):
        run.log_metrics({key: torch.tensor(step / 2)}, step)


def test_everything_arrives_and_the_spool_is_gone(store, open_run, tmp_path):
    with open_run(store, params={"model": {"width": 8}, "long": "x" * 7000}, tags={"mine": "yes"}) as run:
        log_ramp(run, 0, 300)
        run.log_text("hello", "notes/a.txt")
        run.log_dataset("demo", "0123", "demo", schema={"events": 3})
    client = MlflowClient(store)
    stored = client.get_run(run.run_id)
    assert stored_points(store, run.run_id, "loss") == ramp(0, 300)
    assert stored.info.status == "FINISHED"
    assert stored.data.params["model/width"] == "8"
    assert len(stored.data.params["long"]) == 6000
    assert "7000 characters" in stored.data.params["long"]
    expected = {
        "mine": "yes",
        names.TAG_KIND: "pretrain",
        names.TAG_PID: str(os.getpid()),
        names.TAG_ENDED_BY: "finished",
    }
    assert expected.items() <= stored.data.tags.items()
    assert stored.inputs.dataset_inputs[0].dataset.digest == "0123"
    assert (run.local_artifact_dir / "config.yaml").read_text() == "seed: 0\n"
    assert (run.local_artifact_dir / "notes" / "a.txt").read_text() == "hello"
    assert list((tmp_path / "outputs" / "spool").iterdir()) == []


def test_numbers_that_are_not_ordinary(store, open_run):
    with open_run(store) as run:
        run.log_metrics(
            {"a": math.nan, "b": math.inf, "c": torch.tensor([1.0, 2.0]), "d": "text", "e": torch.tensor(3)}, 0
        )
        run.log_metrics({"a": math.nan}, 0)
        run.log_metrics({"a": math.nan}, 1)
    client = MlflowClient(store)
    assert [math.isnan(m.value) for m in client.get_metric_history(run.run_id, "a")] == [True, True]
    assert client.get_metric_history(run.run_id, "b")[0].value > 1e308
    assert set(client.get_run(run.run_id).data.metrics) == {"a", "b", "e"}


def test_a_tensor_that_changes_after_the_call_keeps_its_logged_value(store, open_run):
    value = torch.tensor(1.0)
    with open_run(store) as run:
        run.log_metrics({"loss": value}, 0)
        value += 1
    assert stored_points(store, run.run_id, "loss") == [(0, 1.0)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's own, about torch and its loaders
def test_lightning_trains_through_the_logger(store, open_run, tmp_path):
    from lightning.pytorch import Trainer
    from lightning.pytorch.demos.boring_classes import BoringModel

    class Model(BoringModel):
        def training_step(self, batch, batch_idx):
            out = super().training_step(batch, batch_idx)
            self.log("train_loss", out["loss"])
            return out

    with open_run(store) as run:
        trainer = Trainer(
            logger=run.logger, max_steps=20, limit_val_batches=0, log_every_n_steps=1, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, accelerator="cpu", num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(Model(), torch.utils.data.DataLoader(torch.randn(64, 32)))
        run.flush()
        assert MlflowClient(store).get_run(run.run_id).info.status == "RUNNING", "the trainer does not close the run"
    assert [step for step, _ in stored_points(store, run.run_id, "train_loss")] == list(range(20))
    assert [step for step, _ in stored_points(store, run.run_id, "epoch")] == list(range(20))


def test_the_status_says_how_it_ended(store, open_run):
    run = open_run(store)
    with pytest.raises(ZeroDivisionError), run:
        raise ZeroDivisionError
    killed = open_run(store)
    with pytest.raises(KeyboardInterrupt), killed:
        raise KeyboardInterrupt
    client = MlflowClient(store)
    for ended, status, reason in ((run, "FAILED", "ZeroDivisionError"), (killed, "KILLED", "SIGINT")):
        stored = client.get_run(ended.run_id)
        assert (stored.info.status, stored.data.tags[names.TAG_ENDED_BY]) == (status, reason)


def test_a_continued_run_logs_no_step_twice_and_is_running_again(store, open_run):
    with pytest.raises(ValueError, match="boom"), open_run(store) as first:
        log_ramp(first, 0, 50)
        raise ValueError("boom")
    run = open_run(store, resume_run_id=first.run_id)
    assert MlflowClient(store).get_run(run.run_id).info.status == "RUNNING"
    with run:
        log_ramp(run, 30, 80)
        log_ramp(run, 0, 10, key="new")
    assert stored_points(store, first.run_id, "loss") == ramp(0, 80)
    assert stored_points(store, first.run_id, "new") == ramp(0, 10)
    assert MlflowClient(store).get_run(run.run_id).info.status == "FINISHED"


def test_mlflow_run_id_gives_one_run_and_leaves_its_params_alone(store, open_run, monkeypatch):
    client = MlflowClient(store)
    made = client.create_run(client.create_experiment("given"))
    client.log_param(made.info.run_id, "lr", "1e-3")
    monkeypatch.setenv("MLFLOW_RUN_ID", made.info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", made.info.experiment_id)
    with open_run(store, params={"lr": 0.001, "seed": 1}) as run:
        log_ramp(run, 0, 3)
    assert run.run_id == made.info.run_id
    assert len(client.search_runs([made.info.experiment_id])) == 1
    assert client.get_run(run.run_id).data.params == {"lr": "1e-3", "seed": "1"}
    assert not (run.work_dir / "spool" / run.run_id).exists(), "nothing was refused"


def test_a_run_id_left_over_from_an_earlier_training_is_not_written_to(store, open_run, monkeypatch, capsys):
    with open_run(store, params={"lr": 1}) as first:
        log_ramp(first, 0, 5)
    monkeypatch.setenv("MLFLOW_RUN_ID", first.run_id)
    with open_run(store, params={"lr": 2}) as second:
        log_ramp(second, 0, 9)
    assert first.run_id != second.run_id
    assert f"MLFLOW_RUN_ID names run {first.run_id}, which holds a pretrain already" in capsys.readouterr().err
    for run, lr, end in ((first, "1", 5), (second, "2", 9)):
        assert MlflowClient(store).get_run(run.run_id).data.params == {"lr": lr}
        assert stored_points(store, run.run_id, "loss") == ramp(0, end)
    with open_run(store, resume_run_id=second.run_id) as again:
        log_ramp(again, 9, 12)
    assert stored_points(store, second.run_id, "loss") == ramp(0, 12)
    stored = MlflowClient(store).get_run(first.run_id)
    assert "mlflow.note.content" not in stored.data.tags, "nor is its description"
    assert "names run" not in capsys.readouterr().err


def test_the_experiment_comes_from_the_environment(store, open_run, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    with open_run(None) as run:
        pass
    assert MlflowClient(store).get_experiment(run.experiment_id).name == "mine"
    assert f"http://127.0.0.1:5000/#/experiments/{run.experiment_id}/runs/{run.run_id}" in run.where_to_look
    assert f"  serve   mlflow ui --backend-store-uri {store} --host 127.0.0.1\n" in run.where_to_look


def test_other_ranks_record_nothing(store, open_run, monkeypatch):
    with open_run(store) as run:
        monkeypatch.setenv("LOCAL_RANK", "1")
        silent = open_run(store)
        with silent:
            silent.log_metrics({"loss": 1.0}, 0)
            silent.log_text("x", "x.txt")
        assert silent.run_id == run.run_id
    assert MlflowClient(store).get_run(run.run_id).data.metrics == {}


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://127.0.0.1:9", "127.0.0.1:9"),
        ("sqlite:////nowhere/at/all/mlflow.db", "/nowhere/at/all"),
        ("file:///tmp/mlruns-of-nobody", "maintenance"),
    ],
)
def test_a_store_that_cannot_be_used_is_named_at_once(uri, reason, open_run):
    with pytest.raises(InputError, match=reason):
        open_run(uri)


def test_an_unknown_run_is_named(store, open_run):
    with pytest.raises(InputError, match="0123"):
        open_run(store, resume_run_id="0123")


def test_the_newest_checkpoint_is_found(store, open_run):
    paths = []
    for _ in range(2):
        with open_run(store) as run:
            run.checkpoint_dir.mkdir(parents=True)
            (run.checkpoint_dir / "last.ckpt").write_bytes(b"weights")
            run.log_file(run.checkpoint_dir / "last.ckpt", "checkpoints/last.ckpt", copy=False)
            paths.append((run.checkpoint_dir / "last.ckpt", run.run_id))
    with open_run(store):
        pass
    assert find_checkpoint(TrackingConfig(tracking_uri=store)) == paths[-1]
    assert find_checkpoint(TrackingConfig(tracking_uri=store), "other.ckpt") is None


def test_figures_appear_with_a_step(store, open_run, tmp_path):
    from PIL import Image

    Image.new("RGB", (600, 400)).save(tmp_path / "figure.png")
    with open_run(store) as run:
        run.log_image(tmp_path / "figure.png", "latent/umap", 7)
        run.log_file(tmp_path / "figure.png", "figures/first.png")
    images = sorted(path.name for path in (run.local_artifact_dir / "images").iterdir())
    assert len(images) == 2
    assert all(name.startswith("latent~umap+step+7+timestamp+") for name in images)
    assert (run.local_artifact_dir / "figures" / "first.png").exists()
    assert MlflowClient(store).get_run(run.run_id).data.tags["mlflow.loggedImages"] == "True"


def test_system_metrics_have_mlflows_names(store, open_run):
    with open_run(store, log_system_metrics=True) as run:
        run.flush()
    keys = set(MlflowClient(store).get_run(run.run_id).data.metrics)
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= keys
    assert any(key.startswith("system/disk") for key in keys)


def _open_and_close(folder: str) -> None:
    os.chdir(folder)
    config = TrackingConfig(tracking_uri=f"sqlite:///{folder}/mlflow.db", log_system_metrics=False)
    with start_run(config, kind="tune", run_name=None, params={}, config_yaml="", tags={}) as run:
        run.log_metrics({"loss": 1.0}, 0)


@pytest.mark.slow
def test_four_processes_open_a_brand_new_store_at_once(tmp_path: Path):
    processes = [fork(_open_and_close, str(tmp_path)) for _ in range(4)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("seqsetvae")
    runs = client.search_runs([experiment.experiment_id])
    assert [(run.info.status, run.data.metrics) for run in runs] == [("FINISHED", {"loss": 1.0})] * 4
