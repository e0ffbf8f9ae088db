"""The comparison of finetuned models, in small: it runs whole, keeps its models, and goes on with what is missing."""

from __future__ import annotations

import os
import shutil

import pytest
from mlflow import MlflowClient

from benchmarks import mortality
from benchmarks.backbones import FOLDER, TRACKING
from seqsetvae import names


def kinds() -> list[str]:
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name(TRACKING.experiment)
    return sorted(run.data.tags[names.TAG_KIND] for run in client.search_runs([experiment.experiment_id]))


@pytest.mark.nightly
@pytest.mark.usefixtures("empty_store")
def test_a_comparison_that_was_stopped_goes_on_with_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = {name: mortality.VARIANTS[name] for name in ("summaries alone", "unfrozen", "from scratch")}
    monkeypatch.setattr(mortality, "VARIANTS", few)
    monkeypatch.setattr(mortality, "PAIRS", (("unfrozen", "from scratch"), ("unfrozen", "gradient boosting")))
    first, differences = mortality.measure(quick=True)
    assert kinds() == ["evaluate", "finetune", "finetune", "finetune", "pretrain"]
    assert [row[0] for row in first.rows] == [*few, "logistic regression", "gradient boosting", mortality.FEW_BOOSTING]
    assert [row[:2] for row in differences.rows] == list(mortality.PAIRS)

    [kept] = FOLDER.glob("unfrozen_*")
    shutil.rmtree(kept)
    again, _ = mortality.measure(quick=True)
    assert kinds() == ["evaluate", "evaluate", "finetune", "finetune", "finetune", "finetune", "pretrain"]
    assert [list(map(str, row)) for row in again.rows] == [list(map(str, row)) for row in first.rows]
