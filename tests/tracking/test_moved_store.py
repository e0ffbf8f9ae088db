"""A project folder that was moved or copied with its store: the run is found there, and nothing is written to the old place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from seqsetvae import names
from seqsetvae.config import TrackingConfig
from seqsetvae.tracking.read.checkpoints import checkpoints_of_pretrainings
from seqsetvae.tracking.write.start import start_run


def train_a_little(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run with a checkpoint, in a folder of its own."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = TrackingConfig(log_system_metrics=False)
    with start_run(config, kind="pretrain", run_name=None, params={}, config_yaml="a: 1", tags={}) as run:
        run.checkpoint_dir.mkdir(parents=True)
        (run.checkpoint_dir / "last.ckpt").write_bytes(b"state")
    return run.run_id


@pytest.mark.parametrize("copied", [False, True])
def test_a_store_that_was_moved_finds_its_files_beside_it(tmp_path, monkeypatch, capsys, copied):
    old, new = tmp_path / "r", tmp_path / "r2"
    run_id = train_a_little(old, monkeypatch)
    (shutil.copytree if copied else shutil.move)(old, new)
    before = sorted(old.rglob("*"))
    monkeypatch.chdir(new)

    (found,) = checkpoints_of_pretrainings(TrackingConfig())
    assert (found.run_id, set(found.names)) == (run_id, {"last.ckpt"})
    assert found.folder == new / "mlruns" / "1" / run_id / "artifacts" / "checkpoints"
    assert f"moved here from {old}" in capsys.readouterr().out

    second = train_a_little(new, monkeypatch)
    artifacts = new / "mlruns" / "1" / second / "artifacts"
    assert (artifacts / names.ARTIFACT_CONFIG).is_file()
    assert sorted(old.rglob("*")) == before
    assert capsys.readouterr().out == ""  # said once


def test_artifacts_that_were_put_elsewhere_on_purpose_stay_there(tmp_path, monkeypatch):
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = MlflowClient(f"sqlite:///{here / 'mlflow.db'}")
    client.create_experiment("far", str(elsewhere / "mlruns" / "1"))
    config = TrackingConfig(experiment="far", log_system_metrics=False)
    for _ in range(2):
        with start_run(config, kind="pretrain", run_name=None, params={}, config_yaml="a: 1", tags={}) as run:
            pass
        (here / "mlruns").mkdir(exist_ok=True)
        assert run.local_artifact_dir == elsewhere / "mlruns" / "1" / run.run_id / "artifacts"
