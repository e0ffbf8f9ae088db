"""NaN and inf are never healthy, never registered, never champion; the patient and the variable are named, the id stays here."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from seqsetvae import names
from seqsetvae.app.main import main
from seqsetvae.config import RegisterConfig, TrackingConfig
from seqsetvae.data.store import Store
from seqsetvae.data.verified import remember
from seqsetvae.errors import InputError
from seqsetvae.tracking.registry.versions import champion, model_folder
from seqsetvae.training.culprit import culprit_of_split
from seqsetvae.training.pretrained.exported import export, read_pretrained, write_folder
from seqsetvae.training.pretrained.loading import load
from seqsetvae.training.pretrained.registration import deserves_champion, register_run
from tests.integrity import planting
from tests.integrity.conftest import TINY

INFINITE = float("inf")


@pytest.fixture
def client() -> MlflowClient:
    return MlflowClient(os.environ["MLFLOW_TRACKING_URI"])


def plant(path: Path, *place: object, value: float) -> tuple[str, str]:
    """Damage that nothing has looked for: such a value is otherwise refused when the store is opened."""
    found = planting.plant(path, *place, value=value)
    remember(Store.open(path))
    return found


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    return int(ended.value.code or 0)


def test_the_row_and_the_variable_are_found_wherever_they_are(stays, untrained):
    model = untrained(Store.open(stays).vocabulary)
    assert culprit_of_split(model.vae, Store.open(stays), "valid", None) is None
    subject, variable = plant(stays, "valid", 11, value=INFINITE)
    found = culprit_of_split(model.vae, Store.open(stays), "valid", None)
    assert (found.row, found.cause) == (11, f"by its values of {variable!r}")
    assert subject in found.detail
    assert subject not in found.cause


@pytest.mark.slow
def test_a_validation_loss_that_is_infinite_ends_the_run_as_failed_and_names_row_and_variable(stays, client, capsys):
    subject, variable = plant(stays, "valid", 3, value=INFINITE)
    assert run("pretrain", "--store", stays, *TINY) == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert f"row 3 of split 'valid' (rows count from 0) makes it so, by its values of {variable!r}" in said.err
    assert subject in said.out
    [made] = client.search_runs(["1"])
    assert made.info.status == "FAILED"
    assert "row 3 of split 'valid'" in made.data.tags["mlflow.note.content"]
    assert subject not in str(made.to_dictionary())
    artifacts = Path(made.info.artifact_uri.removeprefix("file://"))
    kept = sorted(path.name for path in artifacts.rglob("*.ckpt"))
    assert not [name for name in kept if name.startswith(("best_", "final_", "last"))], kept
    for path in artifacts.rglob("*"):
        assert path.is_dir() or subject.encode() not in path.read_bytes(), path
    assert client.search_registered_models() == []
    assert run("register", "--run", made.info.run_id, "--force", "true") == 2


@pytest.mark.slow
def test_weights_that_are_nan_are_no_model_in_any_verb_and_a_nan_champion_is_dethroned(stays, client, capsys):
    assert run("pretrain", "--store", stays, *TINY, "--register_model", "false") == 0
    [made] = client.search_runs(["1"])
    folder = Path(made.info.artifact_uri.removeprefix("file://")) / names.ARTIFACT_CHECKPOINTS
    [best] = folder.glob("best_*")
    good = best.read_bytes()
    broken = torch.load(best, weights_only=True)
    next(iter(broken["state_dict"].values())).view(-1)[0] = float("nan")
    torch.save(broken, best)
    capsys.readouterr()
    tracking, wanted = TrackingConfig(), RegisterConfig(run=made.info.run_id, force=True, min_active_ratio=0.0)
    for verb in (
        ("register", "--run", made.info.run_id, "--force", "true"),
        ("finetune", "--model", best, "--store", stays),
        ("visualize", "--model", best, "--store", stays),
        ("pretrain", "--store", stays, *TINY, "--resume_from_checkpoint", best),
    ):
        assert run(*verb) == 2, verb
        assert "weights that are NaN or inf (1 of " in capsys.readouterr().err
    best.write_bytes(good)

    # A registered model whose weights are NaN, as an earlier version of the package would have made it.
    client.set_tag(made.info.run_id, names.TAG_COLLAPSE, "green")
    first = register_run(RegisterConfig(run=made.info.run_id, min_active_ratio=0.0), tracking)
    assert first.is_champion
    place = model_folder(os.environ["MLFLOW_TRACKING_URI"], first.version)
    spoil(place)
    assert run("finetune", "--model", "models:/seqsetvae@champion", "--store", stays) == 2
    assert "weights that are NaN or inf" in capsys.readouterr().err
    client.delete_tag(made.info.run_id, "mlflow.note.content")
    assert run("pretrain", "--store", stays, *TINY, "--seed", 1, "--register_model", "false") == 0
    other = client.search_runs(["1"], order_by=["start_time DESC"])[0]
    client.set_tag(other.info.run_id, names.TAG_COLLAPSE, "green")
    second = register_run(RegisterConfig(run=other.info.run_id, min_active_ratio=0.0), tracking)
    assert second.is_champion
    assert second.reason == "the champion is no model: its weights are NaN or inf"
    with pytest.raises(InputError, match="registered already"):
        register_run(wanted, tracking)
    held = champion(os.environ["MLFLOW_TRACKING_URI"], names.MODEL_PRETRAINED)
    assert held.run_id == other.info.run_id


def spoil(folder: Path) -> None:
    """Set one weight of an exported model to NaN, with a hash that fits."""
    weights = load_file(folder / "weights.safetensors")
    next(iter(weights.values())).view(-1)[-1] = float("nan")
    description = json.loads((folder / "model.json").read_text())
    write_folder(folder, description["kind"], weights, {"recipe": description["recipe"]})


@pytest.mark.parametrize("held", ["nan", "inf", "1.79769e+308", None])
def test_a_champion_without_a_finite_nll_is_dethroned_and_none_becomes_one(held):
    good = {"collapse": "green", "active_units_ratio": "0.8", "val_recon": "14.2", "data_hash": "a"}
    bad = {key: one for key, one in (good | {"val_recon": held, "data_hash": "b"}).items() if one is not None}
    config = RegisterConfig(run="r")
    assert deserves_champion(good, bad, config)[0]
    assert not deserves_champion(bad, good, config)[0]
    assert not deserves_champion(bad, None, config)[0]


def test_a_run_of_before_that_finished_with_a_nan_validation_is_refused_forced_or_not(
    tmp_path, untrained, stays, client
):
    """Its best checkpoint is chosen by its name, in which NaN would win or lose by chance."""
    from seqsetvae.tracking.write.start import start_run

    with start_run(
        TrackingConfig(log_system_metrics=False), kind="pretrain", run_name="old", params={}, config_yaml="", tags={}
    ) as made:
        made.set_tag(names.TAG_COLLAPSE, "green")
        made.log_metrics({names.VAL_LOSS: float("nan"), names.COLLAPSE_ACTIVE_UNITS: 4.0}, step=10)
        made.checkpoint_dir.mkdir(parents=True)
        recipe = untrained(Store.open(stays).vocabulary).recipe
        for name in ("best_0000010_nan.ckpt", "final_0000010.ckpt"):
            content = {"seqsetvae": vars(recipe), "state_dict": {}, "global_step": 10}
            torch.save(content, made.checkpoint_dir / name)
    for force in (False, True):
        with pytest.raises(
            InputError, match=r"loss is NaN or inf|its val_loss is nan at step 10, so that it is no model"
        ):
            register_run(RegisterConfig(run=made.run_id, force=force), TrackingConfig())


@pytest.mark.slow
def test_finetune_and_evaluate_name_row_and_variable_and_register_nothing(stays, untrained, client, capsys):
    export(untrained(Store.open(stays).vocabulary), Path("backbone"))
    flags = ["--max_epochs", 2, "--log_system_metrics", "false"]
    assert run("finetune", "--model", "backbone", "--store", stays, *flags, "--head_lr", 1e30) == 1
    assert "has diverged" in capsys.readouterr().err
    assert run("finetune", "--model", "backbone", "--store", stays, *flags) == 0
    assert len(client.search_model_versions("name = 'seqsetvae-mortality'")) == 1

    subject, variable = plant(stays, "test", 4, value=INFINITE)
    capsys.readouterr()
    assert run("evaluate", "--store", stays, "--log_system_metrics", "false", "--bootstrap", 10) == 2
    said = capsys.readouterr()
    assert f"row 4 of split 'test' (rows count from 0) gives NaN or inf, by its values of {variable!r}" in said.err
    assert subject in said.out
    assert subject not in said.err

    _, variable = plant(stays, "valid", 2, value=INFINITE)
    assert run("finetune", "--model", "backbone", "--store", stays, *flags) == 1
    said = capsys.readouterr().err
    assert f"row 2 of split 'valid' (rows count from 0) gives NaN or inf, by its values of {variable!r}" in said
    failed = client.search_runs(["1"], order_by=["start_time DESC"])[0]
    assert failed.info.status == "FAILED"
    assert "row 2 of split 'valid'" in failed.data.tags["mlflow.note.content"]
    assert len(client.search_model_versions("name = 'seqsetvae-mortality'")) == 1


def test_a_subject_without_a_finite_answer_gets_a_reason_and_the_others_their_state(stays, untrained):
    model = untrained(Store.open(stays).vocabulary)
    narrow = replace(model.vocabulary, spread_V=model.vocabulary.spread_V * 1e-6)
    rows = [
        ["wild", 0, narrow.names[0], 3.4e38],
        ["calm", 0, narrow.names[0], 1.0],
        ["late", 3e38, narrow.names[0], 1.0],
    ]
    events = pd.DataFrame(rows, columns=list(names.EVENT_COLUMNS))
    answer = replace(model, vocabulary=narrow).last_states(events).set_index("subject")
    assert answer.loc["wild", "error"] == "row 1: value 3.4e+38 is too far from all values that the model has seen"
    assert (answer.loc["wild", "sets"], answer.loc["wild", "state"]) == (0, [])
    for name in ("calm", "late"):
        assert (answer.loc[name, "error"] == "") == (len(answer.loc[name, "state"]) > 0)
        assert np.isfinite(answer.loc[name, "state"]).all()
    assert answer.loc["calm", "error"] == ""


@pytest.mark.nightly
def test_a_trial_on_such_data_fails_with_the_reason_and_the_search_is_given_up(stays, client, capfd):
    plant(stays, "valid", 3, value=INFINITE)
    found = run("tune", "--store", stays, *TINY, "--beta_warmup_steps", "null", "--n_trials", 1, "--study", "s")
    said = capfd.readouterr()
    assert found == 1
    assert "row 3 of split 'valid'" in said.out + said.err
    children = client.search_runs(["1"], "tags.`mlflow.parentRunId` != ''")
    assert [one.info.status for one in children] == ["FAILED"]


def test_the_weights_of_an_exported_model_are_checked(stays, untrained):
    export(untrained(Store.open(stays).vocabulary), Path("backbone"))
    assert load("backbone").config == read_pretrained(Path("backbone")).config
    spoil(Path("backbone"))
    with pytest.raises(InputError, match=r"weights.safetensors holds weights that are NaN or inf \(1 of"):
        load("backbone")
