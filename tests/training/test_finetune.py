"""Finetuning against a planted truth, in a real store: a hidden severity drives values and outcome."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from seqsetvae import names
from seqsetvae.batch import EventBatch
from seqsetvae.config import FinetuneConfig, TrackingConfig
from seqsetvae.errors import InputError
from seqsetvae.model.classifier import HISTORY, POSTERIOR, SUMMARIES, RiskNet, pool_over_time
from seqsetvae.model.summaries import KINDS, variable_summaries
from seqsetvae.scores import auroc
from seqsetvae.tasks.binary import Binary
from seqsetvae.tasks.recalibration import recalibration
from seqsetvae.training.checkpoints import read_tensors
from seqsetvae.training.finetuning.event_dropout import drop_events
from seqsetvae.training.finetuning.features import compute_features, labelled_stays, mean_logits
from seqsetvae.training.finetuning.finetune import finetune
from seqsetvae.training.finetuning.head_training import STRENGTHS, Examples, train_head
from seqsetvae.training.finetuning.mortality import export_risk_model, read_risk_model
from seqsetvae.training.pretrained.loading import load

QUIET = TrackingConfig(log_system_metrics=False)


def examples(n: int, seed: int) -> Examples:
    """Two features, of which one says something; 10 % positive."""
    generator = torch.Generator().manual_seed(seed)
    label_B = (torch.rand(n, generator=generator) < 0.1).float()
    x_BF = torch.randn(n, 2, generator=generator) * torch.tensor([1.0, 100.0]) + 5.0
    x_BF[:, 0] += 2.0 * label_B
    return Examples(x_BF, label_B)


@pytest.mark.parametrize("loss", ["weighted", "focal", "plain"])
def test_a_head_finds_what_was_planted_and_its_output_is_a_risk(loss):
    config = FinetuneConfig(head_lr=3e-3, max_epochs=30, patience=10, loss=loss, hidden=16)
    unseen = examples(1000, 1)
    seen = examples(2000, 0)
    fitted = train_head(seen, unseen, Binary.fit(seen.label_B, (), config), config)
    assert fitted.metrics[names.FINETUNE_AUC] > 0.88  # the best there is: Phi(2 / sqrt 2) = 0.921
    with torch.no_grad():
        logit_B = fitted.head(unseen.x_BF)
    slope, offset = recalibration(logit_B, unseen.label_B)
    assert torch.sigmoid(slope * logit_B + offset).mean() == pytest.approx(0.1, abs=0.03)
    assert fitted.epoch <= fitted.epochs <= config.max_epochs


def test_a_linear_head_is_the_logistic_regression_of_the_strength_that_the_validation_stays_choose():
    generator = torch.Generator().manual_seed(3)
    true_F = torch.randn(40, generator=generator, dtype=torch.float64)
    seen, unseen = (
        Examples(x_BF.float(), (torch.sigmoid(x_BF @ true_F / 3 - 2) > torch.rand(n, generator=generator)).float())
        for n in (200, 500)
        for x_BF in [torch.randn(n, 40, generator=generator, dtype=torch.float64)]
    )
    seen.x_BF[::7, 3] = torch.nan  # counts as the mean
    config = FinetuneConfig(hidden=0, loss="plain")
    told: list[dict[str, float]] = []
    kind = Binary.fit(seen.label_B, (), config)
    fitted = train_head(seen, unseen, kind, config, on_epoch=lambda place, scores: told.append(scores))

    mean_F, std_F = np.nanmean(seen.x_BF, 0), np.nanstd(seen.x_BF, 0)
    x_BF, unseen_BF = (
        np.nan_to_num(((one.x_BF.double().numpy() - mean_F) / std_F).clip(-5, 5)) for one in (seen, unseen)
    )
    right = [LogisticRegression(C=C, tol=1e-10, max_iter=1000).fit(x_BF, seen.label_B.numpy()) for C in STRENGTHS]
    scores = [roc_auc_score(unseen.label_B, one.decision_function(unseen_BF)) for one in right]
    assert [one[names.FINETUNE_AUC] for one in told] == pytest.approx(scores, abs=1e-4)
    best = int(np.argmax(scores))
    assert 0 < best < len(STRENGTHS) - 1  # or nothing was chosen
    assert fitted.chosen == f"best C {STRENGTHS[best]:g} of {len(STRENGTHS)} tried"
    with torch.no_grad():
        logit_B = fitted.head(unseen.x_BF).numpy()
    np.testing.assert_allclose(logit_B, right[best].decision_function(unseen_BF), atol=1e-4)


def test_seeds_of_a_linear_head_on_a_frozen_backbone_are_refused():
    with pytest.raises(InputError, match="same head for every seed"):
        FinetuneConfig(hidden=0, n_seeds=3)
    assert FinetuneConfig(hidden=0, n_seeds=3, unfreeze="all").hidden == 0


@pytest.mark.slow
@pytest.mark.parametrize("unfreeze", ["none", "all"])
def test_a_linear_head_is_exported_and_read_as_it_is(checkpoint, planted, tmp_path, capsys, unfreeze):
    settings = {"head_input": "history", "unfreeze": unfreeze, "max_epochs": 1}
    config = FinetuneConfig(model=str(checkpoint), store=str(planted.path), hidden=0, **settings)
    model = finetune(config, replace(QUIET, register_model=False)).model
    said = capsys.readouterr().out
    assert ("best C " in said) == (unfreeze == "none")
    assert "head.layers.1.weight, head.layers.1.bias" in said
    export_risk_model(model, tmp_path / "model", {})
    again = read_risk_model(tmp_path / "model")
    stays = labelled_stays(planted.vocabulary, planted, "valid")
    np.testing.assert_array_equal(again.predict(stays.packed), model.predict(stays.packed))


@pytest.mark.slow
def test_the_whole_way_finds_the_planted_severity(checkpoint, planted, capsys):
    config = FinetuneConfig(model=str(checkpoint), store=str(planted.path), head_lr=3e-3, max_epochs=40, patience=10)
    result = finetune(config, QUIET)
    assert result.val_metrics[names.FINETUNE_AUC] > 0.85
    said = capsys.readouterr().out
    assert "✅ Loaded" in said
    assert "head.layers.1.weight" in said

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    run = client.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags[names.TAG_KIND] == "finetune"
    assert run.data.metrics[names.FINETUNE_AUC] == pytest.approx(result.val_metrics[names.FINETUNE_AUC], abs=1e-6)
    assert {"history/val_auc", "posterior_history/val_auprc", "posterior/train_loss"} <= run.data.metrics.keys()
    assert all(0.0 < run.data.metrics[f"val_{name}"] < 1.0 for name in ("auprc", "accuracy", "pred"))

    # Served, in batch, and after a round trip: the same risk; a bad row spares the others.
    import mlflow

    served = mlflow.pyfunc.load_model("models:/seqsetvae-mortality@champion")
    variable = planted.vocabulary.names[0]
    events = pd.DataFrame(
        {
            "subject": ["a", "a", "b", "c"],
            "minute": [0.0, 30.0, 0.0, 0.0],
            "variable": [variable, variable, variable, "Pulse"],
            "value": [1.0, 2.0, 3.0, 4.0],
        }
    )
    answer, batch = served.predict(events), result.model.risk(events)
    np.testing.assert_allclose(answer["risk"], batch["risk"], atol=1e-6)
    assert answer["error"].tolist() == ["", "", "row 4: variable 'Pulse' is unknown to the model"]
    assert np.isnan(answer["risk"][2])
    assert answer["model"].tolist() == ["seqsetvae-mortality/1"] * 3
    alone = result.model.risk(events[events["subject"] == "b"])
    assert alone["risk"][0] == pytest.approx(batch["risk"][1], abs=1e-6)


@pytest.mark.slow
def test_lineage_names_the_version_and_a_forced_one_is_refused(checkpoint, planted):
    from seqsetvae.config import RegisterConfig
    from seqsetvae.training.pretrained.registration import register_run

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    run_id = load(checkpoint).recipe.run_id
    client.set_tag(run_id, names.TAG_COLLAPSE, "red")
    version = register_run(RegisterConfig(run=run_id, force=True), QUIET).version
    config = FinetuneConfig(model=version.uri, store=str(planted.path), max_epochs=1, head_input="history")
    with pytest.raises(InputError, match="by force"):
        finetune(config, QUIET)
    for unregistered in (run_id, str(checkpoint)):
        with pytest.raises(InputError, match=rf"{run_id}\), whose posterior collapsed"):
            finetune(replace(config, model=unregistered), QUIET)
    result = finetune(replace(config, allow_collapsed=True), QUIET)
    inputs = client.get_run(result.run_id).inputs.model_inputs
    assert [one.model_id for one in inputs] == [version.model_id]
    assert result.version is not None
    assert result.version.tags["pretrained"] == version.uri


@pytest.mark.slow
def test_features_do_not_depend_on_the_batch_and_a_model_survives_its_export(checkpoint, planted, tmp_path):
    model = load(checkpoint)
    stays = labelled_stays(model.vocabulary, planted, "valid")
    parts = (POSTERIOR, HISTORY, SUMMARIES)
    together = compute_features(model.vae, stays, parts)
    alone = compute_features(model.vae, replace(stays, packed=stays.packed.take(np.array([3]))), parts)
    for name, features in together.items():
        torch.testing.assert_close(features[3:4], alone[name], rtol=1e-4, atol=1e-5, equal_nan=True)
    config = FinetuneConfig(
        model=str(checkpoint), store=str(planted.path), max_epochs=1, head_input="posterior+history", n_seeds=2
    )
    trained = finetune(config, replace(QUIET, register_model=False)).model
    export_risk_model(trained, tmp_path / "model", {})
    again = read_risk_model(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(stays.packed), trained.predict(stays.packed))
    with pytest.raises(InputError, match="holds a risk model"):
        load(tmp_path / "model")


def test_pooling_takes_last_mean_and_greatest(planted):
    batch = planted.gather("train", 0, np.arange(5))
    x_SF = torch.randn(batch.n_sets, 3)
    pooled = pool_over_time(x_SF, batch)
    for subject in range(5):
        own = x_SF[batch.subject_S == subject]
        torch.testing.assert_close(pooled[subject], torch.cat([own[-1], own.mean(0), own.max(0).values]))


@pytest.mark.slow
def test_subjects_without_an_outcome_are_left_out_never_counted_as_0(checkpoint, planted, monkeypatch):
    model = load(checkpoint)
    label_B = planted.shard("train", 0).label_B
    known = labelled_stays(model.vocabulary, planted, "train")
    positive = np.flatnonzero(label_B == 1)
    label_B[positive[:5]] = np.nan
    stays = labelled_stays(model.vocabulary, planted, "train")
    assert stays.unlabelled == 5
    assert len(stays.label_B) == len(known.label_B) - 5
    assert stays.label_B.sum() == known.label_B.sum() - 5
    assert "5 without one are left out" in stays.describe()
    label_B[:] = 0
    with pytest.raises(InputError, match="0 positive outcomes"):
        labelled_stays(model.vocabulary, planted, "train")


def test_a_pretrained_model_is_required():
    with pytest.raises(InputError, match="needs a pretrained model"):
        finetune(FinetuneConfig(), QUIET)


@pytest.mark.slow
@pytest.mark.parametrize("ema_decay", [None, 0.8])
def test_an_unfrozen_backbone_learns_and_its_members_are_averaged(checkpoint, planted, ema_decay):
    config = FinetuneConfig(
        model=str(checkpoint),
        store=str(planted.path),
        head_input="history",
        unfreeze="all",
        n_seeds=2,
        max_epochs=6,
        head_lr=3e-3,
        backbone_lr=3e-3,
        ema_decay=ema_decay,
        progress_bar=False,
    )
    before = load(checkpoint).vae.state_dict()
    result = finetune(config, replace(QUIET, register_model=False))
    assert result.val_metrics[names.FINETUNE_AUC] > 0.85
    first, second = result.model.net.backbones
    changed = {key for key, weights in first.state_dict().items() if not torch.equal(weights, before[key])}
    assert {key.split(".")[0] for key in changed} == {"set_encoder", "history"}  # never the decoder
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    saved = {one.path for one in client.list_artifacts(result.run_id, names.ARTIFACT_CHECKPOINTS)}
    assert saved == {"checkpoints/best_seed0.ckpt", "checkpoints/best_seed1.ckpt"}
    history = [point.value for point in client.get_metric_history(result.run_id, "seed_1/val_auc")]
    stays = labelled_stays(result.model.pretrained.vocabulary, planted, "valid")
    alone = RiskNet([cast(Any, second)], [cast(Any, result.model.net.heads[1])], "history")
    reached = auroc(stays.label_B.numpy(), mean_logits(alone, stays.packed, stays.vocabulary).numpy())
    assert max(history) == pytest.approx(
        reached, abs=1e-4
    )  # the best epoch's weights, not the last, and averaged if wanted
    kept = read_tensors(Path(client.download_artifacts(result.run_id, "checkpoints/best_seed0.ckpt")))
    assert ("averaging_state" in kept) == (ema_decay is not None)


def test_an_outlook_needs_heads(checkpoint, planted):
    with pytest.raises(InputError, match=r"--head_input outlook: .* has no heads on its history.*--model.remember"):
        finetune(FinetuneConfig(model=str(checkpoint), store=str(planted.path), head_input="outlook"), QUIET)


@pytest.mark.slow
def test_only_what_is_unfrozen_changes(checkpoint, planted):
    config = FinetuneConfig(
        model=str(checkpoint),
        store=str(planted.path),
        head_input="history",
        unfreeze="history",
        max_epochs=1,
        progress_bar=False,
    )
    before = load(checkpoint).vae.state_dict()
    (vae,) = finetune(config, replace(QUIET, register_model=False)).model.net.backbones
    changed = {key.split(".")[0] for key, weights in vae.state_dict().items() if not torch.equal(weights, before[key])}
    assert changed == {"history"}


def test_fewer_labels_keep_the_share_of_each_outcome(planted):
    stays = labelled_stays(planted.vocabulary, planted, "train")
    some = stays.some(0.25, seed=3)
    assert some.label_B.sum() == round(0.25 * float(stays.label_B.sum()))
    assert len(some.label_B) == pytest.approx(0.25 * len(stays.label_B), abs=1)
    assert set(some.subject_id) < set(stays.subject_id)
    assert some.subject_id == stays.some(0.25, seed=3).subject_id != stays.some(0.25, seed=4).subject_id


def test_event_dropout_thins_stays_and_keeps_every_subject(planted):
    torch.manual_seed(0)
    batch = planted.gather("train", 0, np.arange(50))
    thin = drop_events(batch, 0.5)
    assert thin.n_events == pytest.approx(0.5 * batch.n_events, rel=0.1)
    assert torch.equal(thin.subject_S.unique(), torch.arange(50))
    assert torch.equal(thin.set_N.unique(), torch.arange(thin.n_sets))  # no set is empty

    def events(of: EventBatch) -> set[tuple[int, float, int, float]]:
        columns = (of.subject_S[of.set_N], of.minute_S[of.set_N], of.variable_N, of.value_N)
        return set(zip(*(column.tolist() for column in columns), strict=True))

    assert events(thin) < events(batch)
    for subject in range(50):
        assert thin.position_S[thin.subject_S == subject].tolist() == list(
            range(int((thin.subject_S == subject).sum()))
        )
    nearly_nothing = drop_events(batch, 0.999)
    assert torch.equal(nearly_nothing.subject_S.unique(), torch.arange(50))


def test_summaries_are_those_of_pandas(planted):
    batch = planted.gather("train", 0, np.arange(40))
    found = variable_summaries(batch, 6).view(40, len(KINDS), 6).double()
    frame = pd.DataFrame(
        {
            "subject": batch.subject_S[batch.set_N].numpy(),
            "variable": batch.variable_N.numpy(),
            "minute": batch.minute_S[batch.set_N].numpy(),
            "value": batch.value_N.double().numpy(),
        }
    )
    groups = frame.groupby(["subject", "variable"])
    value = groups["value"]
    end = frame.groupby("subject")["minute"].max()
    expected = {
        "last": value.last(),
        "mean": value.mean(),
        "min": value.min(),
        "max": value.max(),
        "std": value.std(ddof=0),
        "change": value.last() - value.first(),
        "log_count": np.log1p(value.count()),
        "measured": value.count().astype(float).clip(upper=1.0),
        "log_age": np.log1p(groups["minute"].max().rsub(end, level="subject")),
    }
    assert list(expected) == list(KINDS)
    for number, (kind, series) in enumerate(expected.items()):
        wanted = cast(pd.Series, series).unstack().reindex(index=range(40), columns=range(6))
        wanted = wanted.fillna(0.0) if kind in ("log_count", "measured") else wanted
        np.testing.assert_allclose(found[:, number], wanted.to_numpy(), atol=2e-5, err_msg=kind)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"head_input": "both"}, "must be auto, or one or more of posterior, history, summaries"),
        ({"head_input": "history+history"}, "must be auto, or one or more of"),
        ({"head_input": "summaries", "unfreeze": "all"}, "there is nothing to unfreeze"),
        ({"from_scratch": True}, "needs --finetune.unfreeze all"),
        ({"from_scratch": True, "unfreeze": "all"}, "named --finetune.head_input"),
        ({"label_share": 0.0}, "above 0 and at most 1"),
        ({"n_seeds": 0}, "must be at least 1"),
        ({"ema_decay": 0.9}, "give --finetune.unfreeze all or history"),
        ({"ema_decay": 1.0, "unfreeze": "all"}, "above 0 and below 1"),
        ({"auxiliary": "days"}, "give --finetune.unfreeze all or history"),
        (
            {"auxiliary": "days", "unfreeze": "all", "auxiliary_weight": 0.0},
            "auxiliary_weight is 0.0, but must be above 0",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, said):
    with pytest.raises(InputError, match=re.escape(said)):
        FinetuneConfig(**settings)
