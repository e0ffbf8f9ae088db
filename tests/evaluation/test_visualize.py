"""`visualize` as a user types it: on the demo store with a model that was trained for seconds; and what it cannot do, in words."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from seqsetvae import names
from seqsetvae.app.main import main
from seqsetvae.config import ModelConfig, TrackingConfig, VisualizeConfig
from seqsetvae.data.demo_store import demo_store
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Synthetic
from seqsetvae.errors import InputError
from seqsetvae.evaluation.visualize.run import left_out, run_to_log_to, thresholds, visualize
from seqsetvae.evaluation.visualize.sample import Sampled
from seqsetvae.figures.latent import draw
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.fit import pretrain
from seqsetvae.training.pretrained.exported import Pretrained, export
from seqsetvae.training.pretrained.loading import load
from tests.training.conftest import TINY

FILES = {draw.POSTERIOR, draw.MAP, draw.RECONSTRUCTION, draw.TOLD, draw.CORRELATION, draw.STAY, draw.TEXT}


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_store: Callable[[Path], str]) -> Path:
    """A folder with an untrained model of the demo's variables; its run is in no store."""
    monkeypatch.chdir(tmp_path)
    new_store(tmp_path)
    torch.manual_seed(0)
    config, vocabulary = (
        ModelConfig(width=8, latent_dim=4, levels=1, heads=2, ff_dim=8, history_layers=1),
        demo_store().vocabulary,
    )
    scaling = vocabulary.center_V.tolist(), vocabulary.spread_V.tolist()
    recipe = Recipe({"model": asdict(config)}, list(vocabulary.names), *scaling, 1, "0" * 32)
    export(Pretrained(SeqSetVAE(config, len(vocabulary)).eval(), vocabulary, config, recipe), tmp_path / "model")
    return tmp_path / "model"


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["visualize", *arguments])
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_from_a_run_to_figures_on_disk_and_in_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_id = pretrain(replace(TINY, tracking=replace(TINY.tracking, register_model=False))).run_id
    patient = demo_store().subject_ids("test", [3])[0]
    capsys.readouterr()
    asked = f"--model {run_id} --patient {patient} --save_dir out --log --max_batches 2 --batch_size 12".split()
    assert command(*asked) == 0
    said = capsys.readouterr()
    assert "2/2" in said.err, "no progress bar"
    assert {path.name for path in Path("out").iterdir()} == FILES
    for name in FILES - {draw.TEXT}:
        image = Image.open(Path("out", name))
        assert image.size[0] == 1400
        assert np.asarray(image).std() > 10, "an empty picture"

    text = Path("out", draw.TEXT).read_text()
    assert text in said.out
    assert f"run {run_id[:8]} on demo, test" in text
    assert re.search(r"Posterior, [\d,]+ of [\d,]+ sets of 24 stays", text)
    assert re.search(r"HR +beats/min +[\d,]+ ", text)
    assert re.search(r"Trustworthiness 0\.\d+ with 15 neighbors", text)
    assert "SAPS-I points of the last recorded values (13 of 14 items)" in text
    assert "Row 3 of the split" in text

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    logged = Path(client.download_artifacts(run_id, names.ARTIFACT_VISUALIZATIONS))
    assert {path.name for path in logged.iterdir()} == FILES
    same = {name: (logged / name).read_bytes() == Path("out", name).read_bytes() for name in FILES}
    # The figure on disk names the patient that was asked for; the one in the run names a row.
    assert same == {name: name != draw.STAY for name in FILES}
    assert not any(patient.encode() in (logged / name).read_bytes() for name in FILES)
    heading = [np.asarray(Image.open(folder / draw.STAY))[30:60] for folder in (Path("out"), logged)]
    assert (heading[0] != heading[1]).any()


def test_a_file_whose_run_is_not_in_the_store_is_logged_nowhere(exported, capsys):
    config, tracking = VisualizeConfig(str(exported), log=True), TrackingConfig()
    assert run_to_log_to(config, tracking, load(exported), None) is None
    said = capsys.readouterr().out
    assert f"{exported} comes from run {'0' * 32}, which sqlite:" in said
    assert "does not have. Nothing is logged." in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--model models:/seqsetvae@champion", "models:/seqsetvae@champion: there is no such model version in sqlite"),
        (f"--model {'1' * 32}", f"There is no run {'1' * 32} in sqlite"),
        ("--model missing.ckpt", "missing.ckpt: no such model. Give models:/seqsetvae@champion"),
        ("--model model --before gone.ckpt", "gone.ckpt: no such model"),
        ("--model model --store missing", "missing: not a prepared store"),
        ("--model model --split nothing", "nothing"),
        ("--model model --patient 1", "--visualize.patient is '1', but split 'test' of"),
        ("--model model --patient_row 100", "--visualize.patient_row is 100, but split 'test' of"),
        ("--model model --patient 1 --patient_row 1", "must be left out where --visualize.patient is given"),
        ("--model model --severity Pulse", "--visualize.severity is 'Pulse', but the model's variables are"),
        ("--model model --max_batches 0", "--visualize.max_batches is 0, but must be at least 1"),
        ("--model model --batch_size 0", "--visualize.batch_size is 0, but must be at least 1"),
        ("--model model --seed -1", "--visualize.seed is -1, but must be 0 or more"),
        ("--model model --save_dir file/below", "--visualize.save_dir is 'file/below', which cannot be made"),
        ("--model model --save_dir /proc", "--visualize.save_dir is '/proc', which cannot be written"),
    ],
)
def test_mistakes_are_explained(exported, capsys, arguments, said):
    Path("file").touch()
    assert command(*arguments.split()) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not list(Path("visualizations").glob("*"))


def test_a_model_of_other_variables_is_refused(exported, tmp_path):
    prepare(Synthetic(subjects=20), tmp_path / "other", progress=False)
    with pytest.raises(InputError, match=r"The model knows none of the 20 variables of .*other"):
        visualize(VisualizeConfig(str(exported), str(tmp_path / "other")), TrackingConfig())


def test_thresholds_are_those_of_the_models_own_monitor():
    plain = Recipe({}, [], [], [], 100, "")
    assert (thresholds(plain).kl_threshold, thresholds(plain).active_units_threshold) == (0.01, 0.1)
    fast = replace(
        plain, config={"monitor": {"fast_detection": True, "mutual_information_threshold": 0.3, "rules": "source"}}
    )
    found = thresholds(fast)
    assert (found.kl_threshold, found.active_units_threshold, found.mutual_information_threshold) == (0.005, 0.15, 0.3)


def test_what_is_left_out_is_said():
    sampled = Sampled(latents=None, errors=(), unknown={"Pulse": 3, "Lactate": 1200}, without_events=2)
    assert left_out(sampled) == (
        "Left out, because the model does not know them: Lactate (1,200 events), Pulse (3 events).\n"
        "Left out: 2 stays without any variable that the model knows.\n"
    )


def test_a_model_of_other_scales_is_not_compared(exported, tmp_path):
    model = load(exported)
    wider = replace(model.vocabulary, spread_V=2.0 * model.vocabulary.spread_V)
    recipe = replace(model.recipe, spread=wider.spread_V.tolist())
    export(replace(model, vocabulary=wider, recipe=recipe), tmp_path / "wider")
    config = VisualizeConfig(str(exported), before=str(tmp_path / "wider"))
    with pytest.raises(
        InputError, match=r"--visualize\.before .*wider does not know the same variables on the same scales"
    ):
        visualize(config, TrackingConfig())
