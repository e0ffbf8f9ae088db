"""Files of every release load for ever, with the numbers that it gave; what a newer version wrote is refused in words."""

from __future__ import annotations

import json
import runpy
import shutil
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from seqsetvae.app.arguments import pretrain_config
from seqsetvae.app.main import main
from seqsetvae.collapse.detector import STATE_VERSION, Detector
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.config import MonitorConfig, ObjectiveConfig, PretrainConfig, SpaceConfig, TuneConfig
from seqsetvae.config.settings_io import SETTINGS_VERSION, read_settings
from seqsetvae.config.settling import settle_monitor
from seqsetvae.data.demo_store import open_store
from seqsetvae.errors import InputError
from seqsetvae.training.checkpoints import Recipe, load_model, read_checkpoint
from seqsetvae.training.finetuning.mortality import read_risk_model
from seqsetvae.training.plan import make_plan
from seqsetvae.training.pretrained.exported import DESCRIPTION, export, read_pretrained
from seqsetvae.training.pretrained.loading import load
from seqsetvae.training.recording import as_yaml
from seqsetvae.training.resume import Resume, as_before, check_resume

RELEASED = Path(__file__).parent / "release_0_1_0"
SUBJECTS = {
    "0_1_0": {"train": 15, "valid": 4, "test": 5},
    # Two levels, sets of five minutes, and a variable whose events come without a number.
    "0_2_0": {"train": 20, "valid": 8, "test": 8},
}
"""Of the store of each release."""


@pytest.fixture(params=SUBJECTS)
def release(request: pytest.FixtureRequest) -> Path:
    return Path(__file__).parent / f"release_{request.param}"


@pytest.fixture
def answers(release: Path) -> dict[str, Any]:
    """What that release made of some events."""
    return json.loads((release / "answers.json").read_text())


@pytest.fixture
def events(answers: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(answers["events"], columns=["subject", "minute", "variable", "value"])


def test_its_store_opens_and_is_whole(release):
    store = open_store(release / "store")
    assert {split: store.n_subjects(split) for split in store.splits} == SUBJECTS[release.name.removeprefix("release_")]
    for split in store.splits:
        assert store.shard(split, 0).n_subjects == store.n_subjects(split)


@pytest.mark.parametrize("file", ["last.ckpt", "pretrained"])
def test_its_model_gives_the_numbers_that_it_gave(release, answers, events, file):
    model = load(release / file)
    encoded = model.encode(events)
    np.testing.assert_allclose(encoded.mu_SZ, answers["mu"], atol=1e-5)
    np.testing.assert_allclose(encoded.history_SD, answers["history"], atol=1e-5)
    assert model.recipe.format_version == SETTINGS_VERSION


def test_its_finetuned_model_gives_the_risks_that_it_gave(release, answers, events):
    np.testing.assert_allclose(read_risk_model(release / "risk").risk(events)["risk"], answers["risk"], atol=1e-6)


@pytest.mark.parametrize(("file", "model"), [("latents", "pretrained"), ("mortality", "risk")])
def test_the_file_that_serves_a_model_runs_on_the_installed_package(release, answers, events, file, model):
    """A process that has loaded the package before it loads a registered model does not take the model's own copy.

    The files are those of 0.1.0, and 0.2.0 wrote the same.
    """
    served = runpy.run_path(str(RELEASED / "served" / f"{file}.py"))
    [kind] = [one for name, one in served.items() if name.endswith("Model") and name != "PythonModel"]
    context = SimpleNamespace(artifacts={"model": str(release / model)}, model_config={"model": "old"})
    one = kind()
    one.load_context(context)
    answer = one.predict(context, events)
    assert answer["model"].unique().tolist() == ["old"]
    if file == "mortality":
        np.testing.assert_allclose(answer["risk"], answers["risk"], atol=1e-6)
    assert len(answer) == events["subject"].nunique()


def test_the_settings_of_its_run_are_taken_by_pretrain(release):
    config = pretrain_config("pretrain", "", ["--config", str(release / "config.yaml")])
    assert (config.model.width, config.data.batch_size, config.objective.beta_warmup_steps) == (4, 4, 2)


def test_the_monitors_state_in_its_checkpoint_is_read(release):
    callbacks = read_checkpoint(release / "last.ckpt")["callbacks"]
    [state] = [one for name, one in callbacks.items() if "CollapseMonitor" in name]
    assert state["detectors"]
    for remembered in state["detectors"].values():
        detector = Detector(settle_monitor(MonitorConfig(), 10), BetaOutlook(10))
        detector.load_state_dict(remembered)
        assert detector.state_dict() == {"format_version": STATE_VERSION, "grace_over": False} | remembered


@pytest.fixture
def changed(tmp_path: Path):
    """A checkpoint and an exported model of today, with something changed in what they say of themselves."""

    def change(**values: object) -> list[Path]:
        checkpoint = torch.load(RELEASED / "last.ckpt", weights_only=True)
        recipe = asdict(Recipe.parse(checkpoint["seqsetvae"], "it"))
        checkpoint["seqsetvae"] = recipe | values
        torch.save(checkpoint, tmp_path / "last.ckpt")
        export(load(RELEASED / "last.ckpt"), tmp_path / "model")
        description = json.loads((tmp_path / "model" / DESCRIPTION).read_text())
        description["recipe"] |= values
        (tmp_path / "model" / DESCRIPTION).write_text(json.dumps(description))
        return [tmp_path / "last.ckpt", tmp_path / "model"]

    return change


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"format_version": SETTINGS_VERSION + 1}, "of format 3, but this version of seqsetvae reads up to 2"),
        ({"format_version": "new"}, "'new' is no version of a format"),
        ({"flux": 1}, "'flux' is no setting of Recipe"),
        ({"config": {"model": {"width": 4, "flux": 2}}}, "'flux' is no setting of ModelConfig"),
        ({"config": {"model": {"width": "4"}}}, "settings of ModelConfig cannot be used"),
        ({"config": {"model": {"width": 0}}}, "--model.width is 0"),
        ({"config": {"model": [1]}}, "the settings of ModelConfig are list"),
        ({"config": {"model": {"width": 8, "heads": 2}}}, "the weights do not fit the model's settings"),
    ],
)
def test_what_a_newer_version_wrote_is_refused_in_words(changed, values, said, capsys):
    for path in changed(**values):
        with pytest.raises(InputError) as refused:
            load(path)
        assert said in str(refused.value)
        assert str(path) in str(refused.value)
        with pytest.raises(SystemExit) as ended:
            main(["finetune", "--model", str(path), "--store", str(RELEASED / "store")])
        assert ended.value.code == 2
        assert "Traceback" not in capsys.readouterr().err


def test_a_model_folder_of_a_newer_format_is_refused(tmp_path):
    shutil.copytree(RELEASED / "pretrained", tmp_path / "model")
    description = json.loads((tmp_path / "model" / DESCRIPTION).read_text())
    for broken in (description | {"format_version": 9}, [description], {**description, "recipe": None}):
        (tmp_path / "model" / DESCRIPTION).write_text(json.dumps(broken))
        with pytest.raises(InputError, match="model"):
            read_pretrained(tmp_path / "model")


def test_what_is_written_today_says_its_version_and_comes_back_equal(tmp_path):
    vae, recipe = load_model(RELEASED / "last.ckpt")
    export(load(RELEASED / "last.ckpt"), tmp_path)
    assert json.loads((tmp_path / DESCRIPTION).read_text())["recipe"]["format_version"] == SETTINGS_VERSION
    assert read_pretrained(tmp_path).recipe == recipe
    assert vae is not None


def test_a_file_of_settings_says_its_version_and_a_newer_one_is_refused(tmp_path):
    config = pretrain_config("pretrain", "", ["--config", str(RELEASED / "config.yaml")])
    written = as_yaml(config)
    (tmp_path / "config.yaml").write_text(written)
    assert yaml.safe_load(written)["format_version"] == SETTINGS_VERSION
    assert pretrain_config("pretrain", "", ["--config", str(tmp_path / "config.yaml")]) == config
    (tmp_path / "config.yaml").write_text(written.replace(f"format_version: {SETTINGS_VERSION}", "format_version: 9"))
    with pytest.raises(InputError, match=r"config.yaml is of format 9, but this version of seqsetvae reads up to 2"):
        pretrain_config("pretrain", "", ["--config", str(tmp_path / "config.yaml")])


@pytest.mark.parametrize(
    "kind", [SpaceConfig, TuneConfig, *(type(getattr(PretrainConfig(), f.name)) for f in fields(PretrainConfig))]
)
def test_settings_come_back_from_json_as_they_were(kind):
    before = kind()
    assert read_settings(kind, json.loads(json.dumps(asdict(before))), "job") == before


def test_a_run_without_warm_up_of_0_1_0_is_continued_though_it_recorded_none_where_0_stands_today():
    released = Resume.read(RELEASED / "last.ckpt")
    said = released.recipe.config
    objective = said["objective"] | {"beta_schedule": "constant", "beta_warmup_steps": None}
    recipe = replace(released.recipe, config=said | {"objective": objective})
    config = pretrain_config("pretrain", "", ["--config", str(RELEASED / "config.yaml")])
    config = replace(
        config,
        data=replace(config.data, store=str(RELEASED / "store")),
        objective=ObjectiveConfig(beta=objective["max_beta"]),
    )
    plan = make_plan(as_before(config, recipe))
    check_resume(plan, replace(released, recipe=recipe))
    assert (plan.config.objective.beta_schedule, plan.config.objective.beta_warmup_steps) == ("constant", 0)
    other = make_plan(as_before(replace(config, objective=ObjectiveConfig(beta=9.0)), recipe))
    with pytest.raises(InputError, match=r"--objective.max_beta .* -> 9"):
        check_resume(other, replace(released, recipe=recipe))
