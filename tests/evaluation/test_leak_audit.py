"""The leak audit passes what is cut at the prediction time, and catches a reader, a model and a table that look ahead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from seqsetvae.config import EvaluateConfig
from seqsetvae.data import tasks
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.packed import Packed
from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Meds
from seqsetvae.data.sources.demo import DEMO_FILE
from seqsetvae.data.store import ALL, Store
from seqsetvae.data.times import MICROSECONDS
from seqsetvae.errors import InputError, RunFailure
from seqsetvae.evaluation.leak_audit import leak_audit, scrambled
from seqsetvae.evaluation.predictions import whose_answers
from seqsetvae.model.classifier import RiskHead, RiskNet
from seqsetvae.tasks.binary import Binary
from seqsetvae.tasks.multiclass import MultiClass
from seqsetvae.tasks.multilabel import MultiLabel
from seqsetvae.tasks.regression import Regression
from seqsetvae.tasks.time_to_event import TimeToEvent
from seqsetvae.training.finetuning.mortality import RiskModel
from tests.support.meds_data import write_events

CHOSEN = "history"


@pytest.fixture(scope="module")
def store() -> Store:
    return open_store("demo")


@pytest.fixture
def labels(store: Store, tmp_path: Path) -> Path:
    """Of 40 stays of the test split the same outcome at two hours, 12 and 30."""
    rows = [
        f"{name},{hour * 60},{number % 2}"
        for number, name in enumerate(store.subject_ids("test", range(40)))
        for hour in (12, 30)
    ]
    path = tmp_path / "tasks.csv"
    path.write_text("subject_id,prediction_time,t\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def model(store: Store, untrained) -> RiskModel:
    """With random weights: what it says depends on all that it sees."""
    backbone = untrained(store.vocabulary)
    torch.manual_seed(0)
    head = RiskHead(3 * backbone.config.width, 8, 0.0)
    return RiskModel(backbone, RiskNet([backbone.vae], [head], CHOSEN).eval(), 8)


def audit(model: RiskModel, store: Store, config: EvaluateConfig):
    return leak_audit(whose_answers({"the model": (model, None)}, baselines=True), store, config)


def config(labels: Path, **settings) -> EvaluateConfig:
    return EvaluateConfig("m", labels=str(labels), task="t", **settings)


def test_every_event_after_a_moment_becomes_another_and_none_before_it(store: Store) -> None:
    packed = store.shard("test", 0)
    moment_B = packed.start_B + 20 * 60 * MICROSECONDS
    found = scrambled(packed, moment_B, len(store.vocabulary), np.random.default_rng(0))
    for row in range(packed.n_subjects):
        before, after = packed.rows(row, row + 1), found.rows(row, row + 1)
        kept = before.minute_S <= 20 * 60
        events = before.first_event[int(kept.sum())]
        assert after.minute_S[: kept.sum()].tolist() == before.minute_S[kept].tolist()
        assert after.value_N[:events].tolist() == before.value_N[:events].tolist()
        assert after.variable_N[:events].tolist() == before.variable_N[:events].tolist()
        assert (np.diff(after.minute_S) > 0).all()
        assert not set(after.minute_S[kept.sum() :]) & set(before.minute_S[~kept])
        assert not set(after.value_N[events:]) & set(before.value_N[events:])


def test_what_is_cut_at_its_time_passes(store: Store, labels: Path, model: RiskModel) -> None:
    found = audit(model, store, config(labels))
    assert found.predictions == 80
    packed = store.shard("test", 0).rows(0, 40)
    hour_N = np.repeat(packed.minute_S, np.diff(packed.first_event)) / 60
    assert found.events == (hour_N > 12).sum() + (hour_N > 30).sum()
    assert str(found).startswith("Leak audit of task 't': everything after the times of 80 predictions was scrambled")
    assert audit(model, store, config(labels, split=ALL)).predictions == 80


def test_a_reader_that_looks_ahead_is_caught(
    store: Store, labels: Path, model: RiskModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tasks.up_to
    monkeypatch.setattr(tasks, "up_to", lambda packed, last_B: cut(packed, last_B + MICROSECONDS * 60))
    with pytest.raises(RunFailure, match=r"of 40 answers of the model change .* looks ahead"):
        audit(model, store, config(labels))


@dataclass(frozen=True)
class LooksAtOutcomes(RiskModel):
    def predict(self, packed: Packed) -> np.ndarray:
        return packed.label_B.astype(np.float64)


def test_a_model_that_looks_at_the_outcome_is_caught(store: Store, labels: Path, model: RiskModel) -> None:
    with pytest.raises(RunFailure, match="40 of 40 answers of the model change"):
        audit(LooksAtOutcomes(model.pretrained, model.net, 8), store, config(labels))


SPLIT_AT = 1500.0
"""Minutes at which the second admission of a subject begins."""
KINDS = {
    "t": Binary(),
    "score": Regression(50.0, 10.0, half_width=2.0),
    "ward": MultiClass(("home", "icu", "ward"), "plain", 0.0, (0.3, 0.3, 0.4)),
    "t,u": MultiLabel(("t", "u"), "plain", 0.0, (0.5, 0.5)),
    "died": TimeToEvent((12.0, 24.0, 48.0)),
}


@pytest.fixture(scope="module")
def admissions(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Fifty stays of the demo data as MEDS subjects of two admissions each."""
    root = tmp_path_factory.mktemp("admissions")
    frame = pd.read_parquet(DEMO_FILE).astype({"subject_id": str, "variable": str})
    long = frame.groupby("subject_id")["minute"].transform("max") > 1.8 * SPLIT_AT
    frame = frame[long & frame["subject_id"].isin(frame[long]["subject_id"].unique()[:60])]
    who = frame.groupby("subject_id", as_index=False)["split"].first()
    begins = [who.assign(minute=at, variable="HOSPITAL_ADMISSION", value=np.nan) for at in (0.0, SPLIT_AT)]
    write_events(root / "meds", pd.concat([*begins, frame]))
    prepare(Meds(root / "meds", stay="admission"), root / "store", min_subjects=1, progress=False)
    return Store.open(root / "store")


@pytest.mark.parametrize("task", KINDS)
def test_every_kind_of_task_of_stays_that_are_admissions(
    task: str, admissions: Store, untrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted({name.partition("/")[0] for name in admissions.subject_ids("train", range(10))})
    assert {f"{name}/2" for name in names} <= set(
        admissions.subject_ids("train", range(admissions.n_subjects("train")))
    )
    head = "subject_id,prediction_time,t,u,score,ward,died,died_hours\n"
    rows = [
        f"{name},{at},{n % 2},{n % 3 % 2},{n},{('home', 'icu', 'ward')[n % 3]},{n % 2},{5 + n}"
        for n, name in enumerate(names)
        for at in (SPLIT_AT - 700, SPLIT_AT + 700)  # in the first admission, and in the second
    ]
    path = tmp_path / "tasks.csv"
    path.write_text(head + "\n".join(rows) + "\n")
    kind, backbone = KINDS[task], untrained(admissions.vocabulary)
    torch.manual_seed(0)
    head_of_kind = RiskHead(3 * backbone.config.width, 8, 0.0, outputs=kind.outputs)
    model = RiskModel(backbone, RiskNet([backbone.vae], [head_of_kind], CHOSEN).eval(), 8, kind)
    chosen = EvaluateConfig("m", labels=str(path), task=task, split="train", kind=kind.name)  # type: ignore[arg-type]
    found = audit(model, admissions, chosen)
    assert found.predictions == 2 * len(names)
    assert found.events > 100
    cut = tasks.up_to
    monkeypatch.setattr(tasks, "up_to", lambda packed, last_B: cut(packed, last_B + MICROSECONDS * 60))
    with pytest.raises(RunFailure, match="looks ahead"):
        audit(model, admissions, chosen)


def test_without_prediction_times_there_is_nothing_to_audit(store: Store, tmp_path: Path, model: RiskModel) -> None:
    with pytest.raises(InputError, match="needs a task with prediction times"):
        audit(model, store, EvaluateConfig("m", leak_audit=True))
    path = tmp_path / "labels.csv"
    path.write_text(f"subject_id,t\n{store.subject_ids('test', [0])[0]},1\n")
    with pytest.raises(InputError, match=r"has no prediction_time\. Choose one with --at_hours"):
        audit(model, store, config(path))
    assert audit(model, store, config(path, at_hours=10.0)).predictions == 1
