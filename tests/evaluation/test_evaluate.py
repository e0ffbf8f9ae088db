"""Evaluation against a planted truth, in a real store: models and baselines on the same subjects."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from seqsetvae import names
from seqsetvae.config import EvaluateConfig, FinetuneConfig, TrackingConfig
from seqsetvae.curves import CURVES
from seqsetvae.data.aligned import align
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Synthetic
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from seqsetvae.evaluation.baselines import Stays, baseline_risks
from seqsetvae.evaluation.evaluate import evaluate
from seqsetvae.evaluation.hand_features import KINDS, features_of, hand_features
from seqsetvae.evaluation.latents import latent_scores
from seqsetvae.evaluation.predictions import hand_made
from seqsetvae.evaluation.subgroups import subgroup_rows
from seqsetvae.scores import auroc
from seqsetvae.tasks.binary import Binary
from seqsetvae.training.finetuning.finetune import finetune
from seqsetvae.training.pretrained.exported import export
from seqsetvae.training.pretrained.loading import load

QUIET = TrackingConfig(log_system_metrics=False)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_store: Callable[[Path], str]) -> Store:
    """400 subjects whose severity is easily read off their values."""
    monkeypatch.chdir(tmp_path)
    new_store(tmp_path)
    path = tmp_path / "planted"
    prepare(Synthetic(subjects=400, variables=6, sets=5, events_per_set=4, prevalence=0.3), path, progress=False)
    return Store.open(path)


@pytest.fixture
def backbone(planted: Store, untrained, tmp_path: Path) -> Path:
    """A folder with an untrained model."""
    export(untrained(planted.vocabulary), tmp_path / "backbone")
    return tmp_path / "backbone"


def test_hand_features_are_those_of_pandas(planted):
    packed = align(planted, "train", planted.vocabulary).packed
    found = hand_features(packed, 6).reshape(packed.n_subjects, len(KINDS), 6)
    frame = pd.DataFrame(
        {
            "subject": np.repeat(np.arange(packed.n_subjects), np.diff(packed.events_before_B)),
            "variable": packed.variable_N,
            "value": packed.value_N.astype(float),
        }
    )
    expected = frame.groupby(["subject", "variable"])["value"].agg(["last", "mean", "min", "max", "count"]).unstack()
    for number, kind in enumerate(KINDS):
        wanted = expected[kind].fillna(0.0) if kind == "count" else expected[kind]
        np.testing.assert_allclose(found[:, number], wanted.to_numpy(), rtol=1e-12)


def test_of_thousands_of_codes_the_most_frequent_have_features(planted, monkeypatch):
    packed = align(planted, "train", planted.vocabulary).packed
    of_all = hand_features(packed, 6).reshape(packed.n_subjects, len(KINDS), 6)
    often = np.argsort(-np.bincount(packed.variable_N), kind="stable")[:2]
    monkeypatch.setattr("seqsetvae.evaluation.hand_features.MOST_VARIABLES", 2)
    found = features_of(packed, planted.vocabulary).reshape(packed.n_subjects, len(KINDS), 2)
    np.testing.assert_array_equal(found, of_all[:, :, np.sort(often)])


def test_baselines_go_without_what_no_stay_of_train_has(planted):
    train, valid, test = (
        Stays(np.hstack([stays.x_BF, np.full((len(stays.x_BF), 2), np.nan)]), stays.label_B)
        for stays in (hand_made(planted, split) for split in ("train", "valid", "test"))
    )
    test.x_BF[0, -1] = 1.0
    for risk_B in baseline_risks(train, valid, test).values():
        assert auroc(test.label_B, risk_B) > 0.85


def test_baselines_find_the_planted_severity(planted):
    train, valid, test = (hand_made(planted, split) for split in ("train", "valid", "test"))
    for risk_B in baseline_risks(train, valid, test).values():
        assert auroc(test.label_B, risk_B) > 0.85
        assert risk_B.mean() == pytest.approx(test.label_B.mean(), abs=0.1)


def test_the_elbo_is_that_of_one_batch(planted, backbone):
    model = load(backbone)
    batch = planted.gather("valid", 0, np.arange(planted.n_subjects("valid")))
    with torch.no_grad():
        terms = model.vae(batch, torch.zeros(batch.n_sets, 8))
    found = latent_scores(model, planted, "valid")
    assert found.kl == pytest.approx(float(terms.kl), rel=1e-4)
    # The one differs from the other only by its posterior samples.
    assert found.negative_elbo == pytest.approx(float(terms.recon + terms.kl), rel=0.05)


@pytest.mark.slow
def test_the_comparison_stands_in_the_run_and_on_the_version(planted, backbone, capsys):
    config = FinetuneConfig(
        str(backbone), str(planted.path), head_input="posterior+history", head_lr=3e-3, max_epochs=30, patience=10
    )
    version = finetune(config, QUIET).version
    assert version is not None
    capsys.readouterr()
    result = evaluate(EvaluateConfig(version.uri, str(planted.path), bootstrap=50, explain=2, draws=3), QUIET)
    assert list(result.scores) == [version.uri, "logistic regression", "gradient boosting"]
    assert result.scores[version.uri]["auroc"].value > 0.75
    assert result.stays == planted.n_subjects("test")
    said = capsys.readouterr().out
    heading, auroc = (re.split(" {2,}", line.strip()) for line in said.splitlines()[2:4])
    assert heading == ["seqsetvae-mortality/1", "logistic regression", "gradient boosting"]
    assert auroc == ["AUROC", *(str(found["auroc"]) for found in result.scores.values())]

    latents = result.latents[version.uri]
    assert 0 <= latents.mutual_information <= np.log(planted.n_sets("test")) + 1e-3
    assert 0 < latents.kl < latents.negative_elbo
    assert latents.latent_dim == 8

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    run = client.get_run(result.run_id)
    assert (run.info.status, run.data.tags[names.TAG_KIND]) == ("FINISHED", "evaluate")
    assert [one.model_id for one in run.inputs.model_inputs] == [version.model_id]
    tagged = client.get_model_version(version.name, version.version).tags["test_auroc"]
    assert tagged == str(result.scores[version.uri]["auroc"])
    table = json.loads(Path(client.download_artifacts(result.run_id, names.ARTIFACT_EVALUATION)).read_text())
    assert len(table["data"]) == 3 * len(result.scores[version.uri])
    curves = json.loads(Path(client.download_artifacts(result.run_id, names.ARTIFACT_EVALUATION_CURVES)).read_text())
    assert {(model, curve) for model, curve, *_ in curves["data"]} == set(itertools.product(result.scores, CURVES))
    assert all(0.0 <= low <= high <= 1.0 for _, curve, _, _, low, high in curves["data"] if curve != "net_benefit")
    doubt = json.loads(Path(client.download_artifacts(result.run_id, names.ARTIFACT_EVALUATION_DOUBT)).read_text())
    assert sum(row[2] for row in doubt["data"]) == result.stays
    why = json.loads(
        Path(client.download_artifacts(result.run_id, names.ARTIFACT_EVALUATION_CONTRIBUTIONS)).read_text()
    )
    riskiest = np.sort(result.risks[version.uri])[::-1][:2]
    assert sorted({row[2] for row in why["data"]}, reverse=True) == pytest.approx(riskiest.tolist())
    assert "go together with a mean rank correlation of seqsetvae-mortality/1 " in said
    for figure in (names.ARTIFACT_EVALUATION_CURVES_FIGURE, names.ARTIFACT_EVALUATION_CONTRIBUTIONS_FIGURE):
        with Image.open(client.download_artifacts(result.run_id, figure)) as image:
            assert image.size[0] == 1400
    wide = json.loads(Path(client.download_artifacts(result.run_id, names.ARTIFACT_EVALUATION_COMPARISON)).read_text())
    assert wide["columns"] == ["score", "seqsetvae-mortality/1", "logistic regression", "gradient boosting"]
    assert [row[0] for row in wide["data"]][-2:] == ["active units", "mutual info, nats"]
    assert wide["data"][-2][1:] == [f"{latents.active_units} of 8", "", ""]
    figure = client.download_artifacts(result.run_id, names.ARTIFACT_EVALUATION_CALIBRATION_FIGURE)
    assert Path(figure).read_bytes().startswith(b"\x89PNG")


def test_subgroups_are_scored_by_their_own_members_and_small_ones_left_out():
    rng = np.random.default_rng(0)
    label = (np.arange(200) % 4 == 0).astype(float)
    risk = np.where(np.arange(200) < 100, label, rng.random(200))  # perfect in the first group, chance in the second
    groups = {"first": np.arange(200) < 100, "second": np.arange(200) >= 100, "small": np.arange(200) < 12}
    rows = {row[0]: row for row in subgroup_rows(label, {"model": risk}, groups, 50, {"model": Binary()})}
    assert set(rows) == {"first", "second"}
    assert rows["first"][2:4] == (100, 25)
    assert rows["first"][4].value == 1.0
    assert rows["second"][4].low < 0.5 < rows["second"][4].high


def test_what_cannot_be_evaluated_is_said(planted, backbone):
    with pytest.raises(InputError, match="holds a pretrained model, but a risk one is needed"):
        evaluate(EvaluateConfig(str(backbone), str(planted.path)), QUIET)
    with pytest.raises(InputError, match="no such model"):
        evaluate(EvaluateConfig(f"models:/nothing@champion, {backbone}", str(planted.path)), QUIET)
    with pytest.raises(InputError, match="no such model"):
        evaluate(EvaluateConfig("missing", str(planted.path)), QUIET)
