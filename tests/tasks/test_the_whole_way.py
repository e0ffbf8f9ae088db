"""Tasks of every kind, the whole way: finetuned, registered, evaluated beside baselines, served."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from seqsetvae.config import EvaluateConfig, FinetuneConfig, TrackingConfig
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Synthetic
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from seqsetvae.evaluation.evaluate import Evaluation, evaluate
from seqsetvae.training.finetuning.finetune import finetune
from seqsetvae.training.pretrained.exported import export

SOURCE = Synthetic(subjects=400, variables=6, sets=5, events_per_set=4, noise=0.3)
QUIET = TrackingConfig(log_system_metrics=False)
BASELINES = {
    "regression": ["median for all", "ridge regression", "gradient boosting"],
    "time_to_event": ["Kaplan-Meier for all", "logistic regression", "gradient boosting"],
}


def outcomes(store: Store) -> pd.DataFrame:
    """Of every stay numbers, categories, labels and times that its mean severity tells."""
    rows, rng = [], np.random.default_rng(0)
    for split in store.splits:
        severity_S, packed = SOURCE.severity(split)[:, 0], store.shard(split, 0)
        for row, name in enumerate(store.subject_ids(split, range(packed.n_subjects))):
            mean = float(severity_S[packed.first_set[row] : packed.first_set[row + 1]].mean())
            event, lost = rng.exponential(24.0 * np.exp(-2.0 * mean)), rng.exponential(60.0)
            rows.append(
                {
                    "subject_id": name,
                    "score": 50.0 + 10.0 * mean + rng.normal(),
                    "severe": int(mean > 0.5),
                    "mild": int(mean < -0.5),
                    "ward": "icu" if mean > 0.4 else "ward" if mean > -0.4 else "home",
                    "died": int(event <= lost),
                    "died_hours": min(event, lost),
                }
            )
    return pd.DataFrame(rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "kind", "score", "least"),
    [
        ("score", "regression", "r2", 0.6),
        pytest.param("severe,mild", "multilabel", "auroc", 0.85, marks=pytest.mark.nightly),
        pytest.param("ward", "multiclass", "auroc", 0.8, marks=pytest.mark.nightly),
        ("died", "time_to_event", "c_index", 0.7),
    ],
)
def test_the_whole_way(task, kind, score, least, untrained, tmp_path: Path, monkeypatch, new_store) -> None:
    monkeypatch.chdir(tmp_path)
    new_store(tmp_path)
    prepare(SOURCE, tmp_path / "store", progress=False)
    store = Store.open(tmp_path / "store")
    outcomes(store).to_csv("tasks.csv", index=False)
    export(untrained(store.vocabulary), tmp_path / "backbone")
    chosen = {"store": "store", "labels": "tasks.csv", "task": task}
    if kind in ("regression", "multiclass"):
        with pytest.raises(InputError, match="with --kind regression, multiclass"):
            finetune(FinetuneConfig("backbone", **chosen), QUIET)
        chosen["kind"] = kind
    settings = FinetuneConfig("backbone", head_input="summaries", head_lr=3e-3, max_epochs=20, patience=5, **chosen)
    done = finetune(settings, QUIET)
    assert done.version is not None
    assert done.version.tags["kind"] == kind
    check_data_report(done.run_id, task, store, kind)
    uri = done.version.uri
    found = evaluate(EvaluateConfig(uri, bootstrap=10, **chosen), QUIET)
    assert list(found.scores) == [uri, *BASELINES.get(kind, ["logistic regression", "gradient boosting"])]
    for name, scores in found.scores.items():
        assert scores[score].value > least or name.endswith("for all")
        assert scores[score].low <= scores[score].high
    assert found.scores[uri].keys() == found.scores["gradient boosting"].keys()
    check_floor(found, uri, done.model.kind.columns)

    # Served it says the same as in the evaluation, in columns of its own.
    packed = store.shard("test", 0).rows(0, 3)
    minute_N = np.repeat(packed.minute_S, np.diff(packed.first_event))
    events = pd.DataFrame(
        {
            "subject": np.repeat([str(name) for name in packed.subject_id], np.diff(packed.events_before_B)),
            "minute": minute_N,
            "variable": [store.vocabulary.names[number] for number in packed.variable_N],
            "value": packed.value_N,
        }
    )
    served = mlflow.pyfunc.load_model(uri).predict(events)
    columns = list(done.model.kind.columns)
    assert served.columns.tolist() == ["subject", *columns, "error", "warnings", "model"]
    np.testing.assert_allclose(served[columns].to_numpy(), found.risks[uri][:3], rtol=1e-4)
    unknown = done.model.risk(
        pd.DataFrame([("x", 0.0, "Pulse", 1.0)], columns=["subject", "minute", "variable", "value"])
    )
    assert unknown[columns].isna().all(axis=None)
    assert "unknown to the model" in unknown["error"][0]
    with pytest.raises(InputError, match=f"is of kind {kind}, but the outcomes are binary"):
        evaluate(EvaluateConfig(uri, store="store", baselines=False), QUIET)


def check_floor(found: Evaluation, uri: str, columns: tuple[str, ...]) -> None:
    """What is said of all stays alike is the training stays' median or Kaplan and Meier's share, and worse than the model."""
    frame, store = pd.read_csv("tasks.csv", dtype={"subject_id": str}), Store.open(Path("store"))
    train, test = (frame[frame["subject_id"].isin(ids(store, split))] for split in ("train", "test"))
    if median := found.scores.get("median for all"):
        assert median["mae"].value == pytest.approx((test["score"] - train["score"].median()).abs().mean(), abs=1e-4)
        assert median["mae"].value > found.scores[uri]["mae"].value
        assert median["spearman"].value == 0.0
    if curve := found.scores.get("Kaplan-Meier for all"):
        assert curve["c_index"].value == 0.5
        assert curve["brier_ipcw"].value > found.scores[uri]["brier_ipcw"].value
        edge = float(columns[0].removeprefix("risk_by_").removesuffix("h"))
        sure = train[(train["died_hours"] > edge) | (train["died"] == 1)]
        assert found.risks["Kaplan-Meier for all"][0, 0] == pytest.approx((sure["died_hours"] <= edge).mean(), abs=1e-6)


def ids(store: Store, split: str) -> list[str]:
    return store.subject_ids(split, range(store.n_subjects(split)))


def check_data_report(run_id: str, task: str, store: Store, kind: str) -> None:
    """Table and page of the run say of each split what pandas says of the rows of its stays."""
    frame = pd.read_csv("tasks.csv", dtype={"subject_id": str})
    first = task.split(",", maxsplit=1)[0]
    table = pd.DataFrame(**mlflow.artifacts.load_dict(f"runs:/{run_id}/task.json"))
    value = table.set_index(["split", "measure"])["value"]
    page = mlflow.artifacts.load_text(f"runs:/{run_id}/data_report.html")
    assert f"<h2>Task {task}</h2>" in page
    for split in store.splits:
        mine = frame[frame["subject_id"].isin(ids(store, split))]
        measure, of_frame = {
            "regression": ("median", pd.Series.median),
            "multilabel": (f"share with {first}", pd.Series.mean),
            "multiclass": ("share with icu", lambda ward: (ward == "icu").mean()),
            "time_to_event": ("share with the event", pd.Series.mean),
        }[kind]
        truth = of_frame(mine[first])
        assert value[split, "stays with an outcome"] == len(mine)
        assert value[split, measure] == pytest.approx(truth, abs=1e-4)
        assert f'<td class="number">{truth:.3g}</td>' in page


@pytest.mark.slow
def test_numbers_with_an_unfrozen_backbone(untrained, tmp_path: Path, monkeypatch, new_store) -> None:
    monkeypatch.chdir(tmp_path)
    new_store(tmp_path)
    prepare(SOURCE, tmp_path / "store", progress=False)
    store = Store.open(tmp_path / "store")
    outcomes(store).to_csv("tasks.csv", index=False)
    export(untrained(store.vocabulary), tmp_path / "backbone")
    config = FinetuneConfig(
        "backbone",
        store="store",
        labels="tasks.csv",
        task="score",
        kind="regression",
        head_input="history",
        unfreeze="all",
        max_epochs=3,
        head_lr=3e-3,
        backbone_lr=3e-3,
        progress_bar=False,
    )
    found = finetune(config, TrackingConfig(log_system_metrics=False, register_model=False))
    assert found.val_metrics["val_r2"] > 0.1
