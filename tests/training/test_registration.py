"""From a run to a registered model and back: which runs may, what is the champion, and what a changed file comes to."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

import seqsetvae
from seqsetvae import names
from seqsetvae.config import MonitorConfig, PretrainConfig, RegisterConfig, TrackingConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.errors import InputError
from seqsetvae.tracking.registry.versions import champion, find_version, model_folder
from seqsetvae.training.fit import pretrain
from seqsetvae.training.pretrained.registration import register_run

MEASURED = MonitorConfig(update_frequency=5, check_frequency=5)


@pytest.fixture(autouse=True)
def uri(tmp_path: Path, new_store: Callable[[Path], str]) -> str:
    return new_store(tmp_path)


def register(run_id: str, **options: object):
    return register_run(RegisterConfig(run=run_id, min_active_ratio=0.0, **options), TrackingConfig())


@pytest.mark.slow
def test_a_healthy_run_registers_itself_and_loads_the_same_in_every_way(tiny: PretrainConfig, uri, capsys):
    result = pretrain(replace(tiny, monitor=MEASURED))
    said = capsys.readouterr().out
    assert "Registered models:/seqsetvae/1" in said, said[-800:]
    version = find_version(uri, "models:/seqsetvae/1")
    assert version.run_id == result.run_id
    assert version.tags["collapse"] in ("green", "yellow")
    assert float(version.tags["val_recon"]) == pytest.approx(result.val_metrics["val_recon"], rel=1e-4)
    assert version.tags["data_hash"] == open_store("demo").content_hash

    best = result.final_checkpoint.parent / version.tags["checkpoint"]
    one, *others = (seqsetvae.load(str(ref)) for ref in ("models:/seqsetvae/1", result.run_id, best, best.name))
    events = pd.DataFrame(
        {
            "subject": [7, 7, 8],
            "minute": [0.0, 30.0, 5.0],
            "variable": ["HR", "HR", "Temp"],
            "value": [80.0, 95.0, 37.0],
        }
    )
    expected = one.encode(events)
    assert expected.subject == ["7", "7", "8"]
    for other in others:
        assert type(other) is type(one)
        assert other.recipe == one.recipe
        torch.testing.assert_close(other.encode(events).history_SD, expected.history_SD, rtol=0, atol=0)

    with pytest.raises(InputError, match="registered already"):
        register(result.run_id)


@pytest.mark.slow
def test_the_served_model_answers_like_the_loaded_one_and_needs_no_pickle(tiny: PretrainConfig, uri):
    run_id = pretrain(replace(tiny, monitor=MEASURED)).run_id
    import mlflow  # here, because it warns about itself

    served = mlflow.pyfunc.load_model("models:/seqsetvae/1")
    answer = served.predict(served.input_example)
    assert answer["model"].tolist() == ["seqsetvae/1"]
    info = mlflow.models.get_model_info("models:/seqsetvae/1")
    by_id = mlflow.pyfunc.load_model(f"models:/{info.model_id}").predict(served.input_example)
    assert by_id["model"].tolist() == [f"seqsetvae, model id {info.model_id}"], "no version was asked for"
    loaded = seqsetvae.load(run_id).encode(served.input_example)
    assert answer["state"][0] == pytest.approx(loaded.history_SD[-1].tolist(), abs=1e-6)
    folder = model_folder(uri, find_version(uri, "models:/seqsetvae/1")).parents[1]
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert not kinds & {".pkl", ".pickle", ".pt", ".ckpt", ".bin"}
    assert "torch==" in (folder / "requirements.txt").read_text()
    assert "uvicorn==" in (folder / "constraints.txt").read_text()
    assert not list(folder.rglob("*.parquet")), "the demo data travel with the model"


@pytest.mark.slow
def test_collapsed_unmeasured_and_unfinished_runs_are_refused_unless_forced(tiny: PretrainConfig, uri, capsys):
    run_id = pretrain(replace(tiny, monitor=MonitorConfig(disable_metrics_monitoring=True))).run_id
    assert "never measured" in capsys.readouterr().out
    client = MlflowClient(uri)
    client.set_tag(run_id, names.TAG_COLLAPSE, "red")
    client.log_metric(run_id, names.COLLAPSE_ACTIVE_UNITS, 0.0)
    with pytest.raises(InputError, match="collapsed"):
        register(run_id)
    made = register(run_id, force=True)
    assert not made.is_champion
    assert made.version.tags["forced"] == "its posterior collapsed (level red)"
    assert champion(uri, names.MODEL_PRETRAINED) is None


@pytest.mark.slow
def test_the_champion_moves_only_to_a_lower_validation_nll(tiny: PretrainConfig, uri):
    config = replace(tiny, monitor=MEASURED, tracking=replace(tiny.tracking, register_model=False))
    long = pretrain(config).run_id
    short = pretrain(replace(config, trainer=replace(config.trainer, max_steps=10, max_epochs=1))).run_id
    assert register(short).is_champion
    assert register(long).is_champion
    held = champion(uri, names.MODEL_PRETRAINED)
    assert held is not None
    assert held.run_id == long
    third = pretrain(replace(config, trainer=replace(config.trainer, max_epochs=1))).run_id
    made = register(third)
    assert not made.is_champion
    assert "not below" in made.reason


@pytest.mark.slow
def test_changed_and_pickled_weights_are_refused(tiny: PretrainConfig, uri):
    pretrain(replace(tiny, monitor=MEASURED))
    folder = model_folder(uri, find_version(uri, "models:/seqsetvae/1"))
    weights, description = folder / "weights.safetensors", folder / "model.json"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="hash differs"):
        seqsetvae.load("models:/seqsetvae/1")
    import hashlib

    weights.write_bytes(pickle.dumps({"weight": Path}))
    known = json.loads(description.read_text())
    description.write_text(json.dumps(known | {"weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}))
    with pytest.raises(InputError, match="never loaded"):
        seqsetvae.load("models:/seqsetvae/1")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("models:/nothing@champion", "no such model version"),
        ("models:/nothing", "not the address"),
        ("0" * 32, "There is no run"),
        ("missing.ckpt", "no such model"),
    ],
)
def test_what_does_not_exist_is_said(name, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        seqsetvae.load(name)
