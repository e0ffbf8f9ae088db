"""The comparison on further tasks, in small: a table of scores for each, beside the baselines."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import tasks
from seqsetvae.data.demo_store import open_store
from seqsetvae.errors import InputError


@pytest.mark.slow
@pytest.mark.usefixtures("empty_store")
def test_a_task_has_a_table_of_its_heads_and_of_the_baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    demo = open_store("demo")
    shutil.copytree(demo.path, "store")
    names = [name for split in demo.splits for name in demo.subject_ids(split, np.arange(demo.n_subjects(split)))]
    lengths = np.random.default_rng(0).exponential(10.0, len(names)).round() + 1
    pd.DataFrame({"subject": names, "length_of_stay": lengths}).to_csv("store/tasks.csv", index=False)
    monkeypatch.setattr(tasks, "TASKS", {"length of stay": tasks.TASKS["length of stay"]})
    monkeypatch.setattr(tasks, "INPUTS", {"frozen, pooled state": "history"})
    [table] = tasks.measure(quick=True, store="store")
    assert table.columns[:3] == ("model", "R2", "mean absolute error")
    rows = {str(row[0]): row[2] for row in table.rows}
    assert list(rows) == ["frozen, pooled state", "median for all", "ridge regression", "gradient boosting"]
    # The median of the training stays, of the stays that are in the test split: by hand.
    length = dict(zip(names, lengths, strict=True))
    train, test = (
        np.array([length[name] for name in demo.subject_ids(split, np.arange(demo.n_subjects(split)))])
        for split in ("train", "test")
    )
    said = float(str(rows["median for all"]).split(" (")[0])
    assert said == pytest.approx(np.abs(test - np.median(train)).mean(), abs=1e-3)


def test_a_store_without_tasks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tasks\.csv: there is no such table of tasks"):
        tasks.measure(store=str(tmp_path))
