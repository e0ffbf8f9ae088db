"""Models and data that cannot be used: said in one line, exit code 2, and no run is begun."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from seqsetvae import names
from seqsetvae.app.main import main
from seqsetvae.config import TrackingConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.prepare import prepare
from seqsetvae.data.quarantine import Quarantine
from seqsetvae.data.sources import Demo, Synthetic
from seqsetvae.data.sources.base import Chunk
from seqsetvae.tracking.read.run_summary import read_run
from seqsetvae.tracking.registry.registering import register
from seqsetvae.tracking.registry.versions import Registered, model_folder
from seqsetvae.training.pretrained.exported import Pretrained
from seqsetvae.training.pretrained.registration import candidate


@dataclass(frozen=True)
class Shop:
    """A store with a good model, bad ones, and bad data beside them."""

    folder: Path
    uri: str
    run_id: str
    """Of kind `evaluate`, without a checkpoint."""


class Calm(Demo):
    """The demo's stays, all of which are survived."""

    def chunks(self, split: str, quarantine: Quarantine) -> Iterator[Chunk]:
        for chunk in super().chunks(split, quarantine):
            yield replace(chunk, label_B=np.zeros_like(chunk.label_B))


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, untrained: Callable[..., Pretrained], new_store: Callable[[Path], str]
) -> Shop:
    """Versions of `seqsetvae`: 1 good, 2 forced, 3 with a changed byte, 4 with a pickle for its weights, 5 without weights."""
    folder = tmp_path_factory.mktemp("shop")
    uri = new_store(folder)
    with contextlib.chdir(folder):
        client = MlflowClient(uri)
        run_id = client.create_run(client.create_experiment("shop"), tags={names.TAG_KIND: "evaluate"}).info.run_id
        model = untrained(open_store("demo").vocabulary)
        versions = [_register(model, uri, run_id, folder / str(number) / "model") for number in range(1, 6)]
        client.set_model_version_tag("seqsetvae", "2", "forced", "its posterior collapsed (level red)")
        _, _, changed, pickled, empty = (model_folder(uri, version) for version in versions)
        content = bytearray((changed / "weights.safetensors").read_bytes())
        content[-1] ^= 1
        (changed / "weights.safetensors").write_bytes(content)
        _put_pickle(pickled)
        (empty / "weights.safetensors").unlink()
        torch.save({"weight": torch.zeros(2)}, folder / "other.ckpt")
        (folder / "pickle.ckpt").write_bytes(pickle.dumps(Path("x")))
        (folder / "text.ckpt").write_text("no checkpoint")
        (folder / "empty").mkdir()
        prepare(Synthetic(subjects=60, variables=4, events_per_set=2), folder / "foreign", progress=False)
        prepare(Calm(), folder / "calm", progress=False)
    return Shop(folder, uri, run_id)


def _register(model: Pretrained, uri: str, run_id: str, folder: Path) -> Registered:
    record = read_run(TrackingConfig(uri), run_id)
    return register(uri, candidate(model, folder, record, {"checkpoint": "none", "collapse": "green"}))


def _put_pickle(folder: Path) -> None:
    """Somebody who can write the weights can write the hash beside them as well."""
    content = pickle.dumps({"weight": Path("x")})
    (folder / "weights.safetensors").write_bytes(content)
    described = json.loads((folder / "model.json").read_text())
    described["weights_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "model.json").write_text(json.dumps(described))


COMMANDS = {
    "finetune --model models:/nothing@champion": "there is no such model version in sqlite:",
    "finetune --model models:/seqsetvae@nobody": "models:/seqsetvae@nobody: there is no such model version",
    "finetune --model models:/seqsetvae/99": "Registered are: seqsetvae.",
    "finetune --model models:/seqsetvae": "is not the address of a model version",
    "finetune --model missing.ckpt": "missing.ckpt: no such model",
    "finetune": "finetune needs a pretrained model",
    "finetune --model models:/seqsetvae/2": "was registered by force: its posterior collapsed (level red)",
    "finetune --model models:/seqsetvae/3": "models:/seqsetvae/3: ",
    "finetune --model models:/seqsetvae/4": "Pickled weights are never loaded",
    "finetune --model models:/seqsetvae/5": "is not an exported model",
    "finetune --model empty": "empty: no such model",
    "finetune --model RUN": "has no checkpoint of a model",
    f"finetune --model {'0' * 32}": f"There is no run {'0' * 32}",
    "finetune --model other.ckpt": "is a PyTorch file, but not a checkpoint of seqsetvae",
    "finetune --model pickle.ckpt": "holds pickled code, which is never run",
    "finetune --model text.ckpt": "text.ckpt cannot be read as a checkpoint",
    "finetune --model models:/seqsetvae/1 --store foreign": "The model knows none of the 4 variables of",
    "finetune --model models:/seqsetvae/1 --store calm": "has 0 positive outcomes among 320 labelled stays",
    "register --run RUN": "is not a pretraining run, but evaluate",
    f"register --run {'0' * 32}": f"There is no run {'0' * 32}",
    "evaluate": "models:/seqsetvae-mortality@champion: there is no such model version",
    "evaluate --model models:/seqsetvae/1": "holds a pretrained model, but a risk one is needed here",
    "evaluate --model models:/seqsetvae/3,models:/nothing/1": "models:/seqsetvae/3: ",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_used_is_said_and_nothing_is_begun(shop: Shop, command, monkeypatch, capsys):
    monkeypatch.chdir(shop.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shop.uri)
    with pytest.raises(SystemExit) as ended:
        main(command.replace("RUN", shop.run_id).split())
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert COMMANDS[command] in shown.err
    assert "Traceback" not in shown.err
    client = MlflowClient(shop.uri)
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert [run.info.run_id for run in runs] == [shop.run_id]
    assert not list(shop.folder.glob("outputs/*"))
