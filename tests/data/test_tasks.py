"""Tasks chosen after `prepare`: each outcome with what was known at its time, and nothing that came later."""

from __future__ import annotations

import datetime as dt
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from meds.schema import LabelSchema

from seqsetvae.data.aligned import align
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.packed import concatenate, gather
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Meds
from seqsetvae.data.store import ALL, Store
from seqsetvae.data.tasks import TaskStore, open_task, up_to
from seqsetvae.data.times import MICROSECONDS
from seqsetvae.errors import InputError
from seqsetvae.model.classifier import HISTORY, POSTERIOR, SUMMARIES, stay_features
from tests.support.meds_data import EPOCH, write_meds

BEGUN = 50_000_000
"""Minutes since 1970 of the first event of every subject."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Subjects 1 to 9, three in each split, with events at 0, 10, 20 and 30 minutes."""
    rows, number = {}, 0
    for split in ("train", "tuning", "held_out"):
        rows[f"{split}/0"] = [
            (n, BEGUN + minute, "HR", float(100 * n + minute), None)
            for n in range(number + 1, number + 4)
            for minute in (0, 10, 20, 30)
        ]
        number += 3
    prepare(Meds(write_meds(tmp_path / "meds", rows)), tmp_path / "store", min_subjects=1, progress=False)
    return Store.open(tmp_path / "store")


def meds_labels(path: Path, rows: list[tuple[int, float, bool]]) -> Path:
    """(subject, minutes after the first event, outcome), as ACES writes them."""
    subjects, minutes, outcomes = zip(*rows, strict=True)
    columns = {
        "subject_id": pa.array(subjects, pa.int64()),
        "prediction_time": pa.array([EPOCH + dt.timedelta(minutes=BEGUN + m) for m in minutes], pa.timestamp("us")),
        "boolean_value": pa.array(outcomes),
    }
    pq.write_table(LabelSchema.align(pa.table(columns)), path)
    return path


def seen(store: Store, split: str) -> dict[str, tuple[float, list[float]]]:
    """By subject: its outcome and the values that are left."""
    packed = store.shard(split, 0)
    edges = packed.events_before_B
    values = [packed.value_N[edges[b] : edges[b + 1]].tolist() for b in range(packed.n_subjects)]
    return dict(zip(map(str, packed.subject_id), zip(packed.label_B.tolist(), values, strict=True), strict=True))


def test_each_prediction_time_sees_what_was_known_then(store: Store, tmp_path: Path) -> None:
    rows = [(1, 10.0, True), (1, 25.0, False), (2, 30.0, False), (4, 0.0, True), (5, -1.0, True), (77, 5.0, True)]
    path = meds_labels(tmp_path / "readmission.parquet", rows)
    found = open_task(store, str(path), None, None)
    assert seen(found, "train") == {
        "1@1": (1.0, [100.0, 110.0]),
        "1@2": (0.0, [100.0, 110.0, 120.0]),
        "2": (0.0, [200.0, 210.0, 220.0, 230.0]),
    }
    assert seen(found, "valid") == {"4": (1.0, [400.0])}
    assert found.splits == ("train", "valid")
    assert isinstance(found, TaskStore)
    assert (found.rows, found.without_stay, found.without_events) == (6, 1, 1)
    assert found.n_subjects("train") == 3
    assert found.labels("train").tolist() == [1.0, 0.0, 0.0]
    assert found.subject_ids("train", [1]) == ["1@2"]
    assert found.content_hash != store.content_hash
    assert pickle.loads(pickle.dumps(found)).subject_ids("train", [0, 2]) == ["1@1", "2"]


def test_all_splits_are_one_after_another(store: Store, tmp_path: Path) -> None:
    path = meds_labels(tmp_path / "a.parquet", [(8, 10.0, True), (1, 25.0, False), (5, 0.0, False)])
    for one, names in (
        (store, [str(n) for n in range(1, 10)]),
        (open_task(store, str(path), None, None), ["1", "5", "8"]),
    ):
        assert one.n_subjects(ALL) == len(names)
        assert one.subject_ids(ALL, range(len(names))) == names
        assert align(one, ALL, store.vocabulary).packed.subject_id.tolist() == names
        assert one.row_of(ALL, names[-1]) == len(names) - 1


def test_several_tasks_in_one_file_and_a_fixed_hour(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "tasks.csv"
    path.write_text("ts_id,died,long_stay\n1,0,1\n2.0,1,\n3,,0\n4,1,1\n7,0,0\n")
    died, long_stay = (open_task(store, str(path), task, 10 / 60) for task in ("died", "long_stay"))
    assert seen(died, "train") == {"1": (0.0, [100.0, 110.0]), "2": (1.0, [200.0, 210.0])}
    assert seen(long_stay, "train") == {"1": (1.0, [100.0, 110.0]), "3": (0.0, [300.0, 310.0])}
    whole = open_task(store, str(path), "died", None)
    assert seen(whole, "train")["1"][1] == [100.0, 110.0, 120.0, 130.0]


def test_times_may_have_zones_and_be_minutes(store: Store, tmp_path: Path) -> None:
    moment = (EPOCH + dt.timedelta(minutes=BEGUN + 15)).replace(tzinfo=dt.UTC)
    abroad = moment.astimezone(dt.timezone(dt.timedelta(hours=-5)))
    (tmp_path / "a.csv").write_text(f"subject_id,prediction_time,t\n1,{abroad.isoformat()},1\n2,{BEGUN + 15},0\n")
    found = seen(open_task(store, str(tmp_path / "a.csv"), "t", None), "train")
    assert [len(values) for _, values in found.values()] == [2, 2]


def test_of_several_admissions_the_one_that_had_begun_by_then(tmp_path: Path) -> None:
    def rows(subject: int) -> list:
        codes = ((0, "HOSPITAL_ADMISSION"), (5, "HR"), (100, "HOSPITAL_ADMISSION"), (105, "HR"))
        return [(subject, BEGUN + minute, code, float(minute), None) for minute, code in codes]

    data = {"train/0": rows(1), "tuning/0": rows(2), "held_out/0": rows(3)}
    source = Meds(write_meds(tmp_path / "meds", data), stay="admission")
    prepare(source, tmp_path / "store", min_subjects=1, progress=False)
    path = meds_labels(tmp_path / "a.parquet", [(1, 50.0, True), (1, 101.0, False)])
    found = open_task(Store.open(tmp_path / "store"), str(path), None, None)
    assert seen(found, "train") == {"1/1": (1.0, [0.0, 5.0]), "1/2": (0.0, [100.0])}


def test_what_comes_after_the_prediction_time_changes_no_bit_of_the_features(untrained) -> None:
    """The leak audit: everything after that time is scrambled, and the model's features stay the same to the last bit."""
    store = open_store("demo")
    model = untrained(store.vocabulary)
    packed = concatenate([store.shard("test", 0)])
    last = np.full(packed.n_subjects, 24 * 60 * MICROSECONDS)
    late_N = np.repeat(packed.minute_S > 24 * 60, np.diff(packed.first_event))
    assert late_N.mean() > 0.3
    rng = np.random.default_rng(0)
    value_N, variable_N, minute_S = packed.value_N.copy(), packed.variable_N.copy(), packed.minute_S.copy()
    value_N[late_N] = rng.normal(0.0, 1e6, late_N.sum())
    variable_N[late_N] = rng.permutation(variable_N[late_N])
    minute_S[minute_S > 24 * 60] += rng.integers(0, 1000, (minute_S > 24 * 60).sum())
    scrambled = replace(packed, value_N=value_N, variable_N=variable_N, minute_S=minute_S)
    rows = np.arange(20)

    def features(one) -> dict[str, torch.Tensor]:
        with torch.inference_mode():
            return stay_features(
                model.vae, gather(up_to(one, last), rows, model.vocabulary), (POSTERIOR, HISTORY, SUMMARIES)
            )

    for name, part in features(packed).items():
        assert torch.equal(part.nan_to_num(-7.0), features(scrambled)[name].nan_to_num(-7.0))
    with torch.inference_mode():
        whole = [
            stay_features(model.vae, gather(one, rows, model.vocabulary), (HISTORY,))[HISTORY]
            for one in (packed, scrambled)
        ]
    assert not torch.equal(*whole)  # the audit would have seen it


@pytest.mark.parametrize(
    ("text", "task", "said"),
    [
        ("subject_id,t\n1,2\n", "t", r"row 1, column 't': '2' is not 0 or 1"),
        ("subject_id,t\n1,1\n", "other", "no column of task 'other'"),
        ("id,t\n1,1\n", "t", "no column of the subjects"),
        ("subject_id,prediction_time,t\n1,soon,1\n", "t", r"row 1, column 'prediction_time': 'soon' is no time"),
        ("subject_id,prediction_time,t\n1,,1\n", "t", r"column 'prediction_time': '' is no time"),
        ("subject_id,t\n1,\n", "t", "no row has an outcome"),
        ("subject_id,t\n0001,1\n", "t", "1 rows, 0 match a stay, e.g. '0001' against '1'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_words(
    store: Store, tmp_path: Path, text: str, task: str, said: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        open_task(store, str(path), task, None)


def test_options_of_a_task_need_its_table(store: Store) -> None:
    assert open_task(store, None, None, None) is store
    with pytest.raises(InputError, match="give it with --labels FILE"):
        open_task(store, None, "died", None)


@pytest.mark.slow
def test_a_task_is_finetuned_registered_under_its_name_and_evaluated(
    untrained, tmp_path: Path, monkeypatch, capsys
) -> None:
    from mlflow import MlflowClient

    from seqsetvae.config import EvaluateConfig, FinetuneConfig, TrackingConfig
    from seqsetvae.evaluation.evaluate import evaluate
    from seqsetvae.training.finetuning.finetune import finetune
    from seqsetvae.training.pretrained.exported import export

    monkeypatch.chdir(tmp_path)
    demo = open_store("demo")
    export(untrained(demo.vocabulary), Path("backbone"))
    ids = [name for split in demo.splits for name in demo.subject_ids(split, range(demo.n_subjects(split)))]
    lengths = np.concatenate([demo.events_per_subject(split, 0) for split in demo.splits])
    labels = pd.DataFrame({"subject_id": ids, "busy": (lengths > np.median(lengths)).astype(int)})
    labels.to_csv("tasks.csv", index=False)
    tracking = TrackingConfig(log_system_metrics=False)
    chosen = {"labels": "tasks.csv", "task": "busy", "at_hours": 24.0}
    done = finetune(FinetuneConfig("backbone", head_input="summaries", max_epochs=20, **chosen), tracking)
    assert done.version is not None
    assert done.version.uri == "models:/seqsetvae-busy/1"
    assert done.val_metrics["val_auc"] > 0.8  # a busy stay is busy in its first day
    [version] = MlflowClient().search_model_versions("name = 'seqsetvae-busy'")
    assert version.tags["task"] == "busy"
    scored = evaluate(EvaluateConfig("models:/seqsetvae-busy/1", bootstrap=10, subgroups=False, **chosen), tracking)
    assert scored.stays == 100
    assert scored.scores["models:/seqsetvae-busy/1"]["auroc"].value > 0.8
    capsys.readouterr()
    every = EvaluateConfig(
        "models:/seqsetvae-busy/1", split="all", leak_audit=True, bootstrap=10, subgroups=False, **chosen
    )
    scored = evaluate(every, tracking)
    assert (scored.stays, list(scored.scores)) == (500, ["models:/seqsetvae-busy/1"])
    said = capsys.readouterr().out
    assert "times of 500 predictions was scrambled" in said
    assert "has learned from some of these stays" in said
