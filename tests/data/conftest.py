"""Small inputs of every kind, written by the tests themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from seqsetvae.data.prepare import prepare
from seqsetvae.data.sources import Synthetic
from seqsetvae.data.sources.demo import DEMO_FILE
from seqsetvae.data.store import Store

STAYS_PER_SPLIT = 4


@pytest.fixture(scope="session")
def demo_frame() -> pd.DataFrame:
    """The shipped events, as plain pandas."""
    return pq.read_table(DEMO_FILE).to_pandas()


@pytest.fixture
def ehr_folder(tmp_path: Path, demo_frame: pd.DataFrame) -> Path:
    """A few demo stays in the patient_ehr layout: splits, oc.csv, stats.csv and a cached.csv of width 3."""
    root = tmp_path / "ehr"
    labels = []
    train = []
    for split, events in demo_frame.groupby("split"):
        folder = root / "patient_ehr" / str(split)
        folder.mkdir(parents=True)
        for subject_id in sorted(events["subject_id"].unique())[:STAYS_PER_SPLIT]:
            stay = events[events["subject_id"] == subject_id].sort_values("minute", kind="stable")
            train += [stay] if split == "train" else []
            labels.append((subject_id, int(stay["label"].iloc[0])))
            columns = stay[["variable", "value", "minute"]].astype({"value": "float64", "minute": "float64"})
            columns.to_parquet(folder / f"{subject_id}.0.parquet", index=False)
    statistics = pd.concat(train).groupby("variable")["value"].agg(["mean", "std", "count"]).fillna(0.0).reset_index()
    pd.DataFrame(labels, columns=["ts_id", "in_hospital_mortality"]).to_csv(root / "oc.csv", index=False)
    statistics.to_csv(root / "stats.csv", index=False)
    keys = statistics["variable"]
    embedding = pd.DataFrame({"Key": keys, "0": range(len(keys)), "1": 0.5, "2": -1.0})
    embedding.to_csv(root / "cached.csv", index=False)
    return root


@pytest.fixture
def edit_stay(ehr_folder: Path) -> Callable[..., Path]:
    """Rewrite the first stay of a split: `edit_stay(lambda frame: ...)` returns its path."""

    def edit(change: Callable[[pd.DataFrame], pd.DataFrame], split: str = "train") -> Path:
        path = sorted((ehr_folder / "patient_ehr" / split).glob("*.parquet"))[0]
        change(pd.read_parquet(path)).to_parquet(path, index=False)
        return path

    return edit


@pytest.fixture(scope="session")
def synthetic_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """200 synthetic subjects in several shards."""
    path = tmp_path_factory.mktemp("synthetic") / "store"
    prepare(Synthetic(subjects=200, variables=6, sets=4, events_per_set=3), path, shard_events=600, progress=False)
    return Store.open(path)
