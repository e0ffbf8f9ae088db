"""A model as an ONNX graph: onnxruntime gives the same answers, to 1e-5, for any stays; what cannot be exported is named."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from seqsetvae.app.main import main
from seqsetvae.config import ModelConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.packed import gather
from seqsetvae.model.attention import OfPairs, OnGrid
from seqsetvae.model.classifier import RiskHead, RiskNet, parts_of, stay_features
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.tasks.binary import Binary
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.finetuning.mortality import RiskModel, export_risk_model
from seqsetvae.training.finetuning.onnx_export import inputs_of
from seqsetvae.training.pretrained.exported import Pretrained

SMALL = {"width": 16, "latent_dim": 4, "levels": 1, "heads": 2, "ff_dim": 16, "history_layers": 1}


def risk_model(**settings: object) -> RiskModel:
    """Two untrained members on the demo's variables, with scales as of its stays, recalibrated."""
    torch.manual_seed(0)
    store = open_store("demo")
    vocabulary, config = store.vocabulary, ModelConfig(**SMALL, **settings)  # type: ignore[arg-type]
    scaling = vocabulary.center_V.tolist(), vocabulary.spread_V.tolist()
    recipe = Recipe({"model": asdict(config)}, list(vocabulary.names), *scaling, 1, "0" * 32)
    backbones = [SeqSetVAE(config, len(vocabulary)).eval() for _ in range(2)]
    first = store.gather("test", 0, np.arange(2))
    chosen = "history+summaries+outlook" if config.remember else "history+summaries"
    parts = stay_features(backbones[0], first, parts_of(chosen))
    heads = [RiskHead(sum(part.shape[1] for part in parts.values()), 8, 0.0) for _ in range(2)]
    net = RiskNet(backbones, heads, chosen).eval()
    net.slope, net.offset = torch.tensor(1.3), torch.tensor(-0.7)
    return RiskModel(Pretrained(backbones[0], vocabulary, config, recipe), net, 8, Binary())


def exported(folder: Path, **settings: object) -> RiskModel:
    model = risk_model(**settings)
    export_risk_model(model, folder, {})
    return model


def ended(words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["export", *words.split()])
    return int(end.value.code or 0)


def test_attention_of_pairs_is_that_of_the_grid():
    shard = open_store("demo").shard("test", 0)
    batch = gather(shard, np.arange(5), open_store("demo").vocabulary)
    query_key, value = torch.randn(batch.n_sets, 8, 6), torch.randn(batch.n_sets, 4, 6)
    torch.testing.assert_close(
        OfPairs(batch)(query_key, value, 0.0), OnGrid(batch)(query_key, value, 0.0), rtol=1e-5, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain", marks=pytest.mark.nightly),
        pytest.param({"reads": 2, "remember": True, "foresee_hours": [1.0, 6.0]}, id="reads and outlook"),
    ],
)
def test_the_graph_answers_real_stays_as_the_model_does(settings, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = exported(Path("model"), **settings)
    assert ended("--model model --output risk.onnx") == 0
    assert "risk.onnx: model, " in capsys.readouterr().out
    session = onnxruntime.InferenceSession("risk.onnx", providers=["CPUExecutionProvider"])
    shard = open_store("demo").shard("test", 0)
    for rows in (np.arange(2), np.arange(40, 72)):
        packed = shard.take(rows)
        [found] = session.run(None, inputs_of(packed))
        assert found.shape == (len(rows),)
        np.testing.assert_allclose(found, model.predict(packed), atol=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["variables"]) == list(
        model.pretrained.vocabulary.names
    )


def test_what_cannot_be_exported_is_named_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exported(Path("model"))
    assert ended("--model nowhere") == 2
    assert "nowhere: no such model" in capsys.readouterr().err
    assert ended("--model model --output risk.pt") == 2
    assert "export.output is 'risk.pt', but must be a file that ends in .onnx" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["model"]
