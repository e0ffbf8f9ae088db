"""A whole sweep whose range contains collapsing settings: what its runs and their parent hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import mlflow
import optuna
import pytest
import yaml
from mlflow import MlflowClient

from seqsetvae import names
from seqsetvae.app.arguments import pretrain_config
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.config import SpaceConfig, TuneConfig
from seqsetvae.errors import RunFailure
from seqsetvae.training.fit import pretrain
from seqsetvae.tuning.lead import tune
from seqsetvae.tuning.space import apply
from seqsetvae.tuning.trial import TrialWatcher
from tests.tuning.conftest import NARROW, TINY

pytestmark = pytest.mark.slow
N_TRIALS = 7
WIDE = SpaceConfig(max_beta_range=(0.01, 50.0))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Iterator[SimpleNamespace]:
    """7 trials with max_beta from 0.01 to 50; which ones collapse is up to the seed."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        uri = new_store(folder)
        base = replace(
            TINY,
            monitor=replace(TINY.monitor, grace_steps=10),
            tracking=replace(TINY.tracking, tracking_uri=uri),
        )
        result = tune(base, WIDE, TuneConfig(study="wide", n_trials=N_TRIALS, pruner="none"))
        client = MlflowClient(uri)
        runs = client.search_runs([client.get_experiment_by_name("seqsetvae").experiment_id])
        children = {
            int(run.data.tags[names.TAG_TRIAL]): run
            for run in runs
            if run.data.tags.get("mlflow.parentRunId") == result.run_id
        }
        yield SimpleNamespace(
            result=result, base=base, client=client, children=children, runs=runs, folder=folder, uri=uri
        )


def artifact(swept: SimpleNamespace, run_id: str, path: str, folder: Path) -> Path:
    return Path(
        mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=path, dst_path=str(folder), tracking_uri=swept.uri
        )
    )


def test_every_trial_is_a_child_run_with_all_metrics_of_a_pretraining_run(swept):
    assert sorted(swept.children) == list(range(N_TRIALS))
    assert len(swept.runs) == N_TRIALS + 1
    for row in swept.result.results.rows:
        run = swept.children[row.number]
        assert run.data.tags[names.TAG_KIND] == "pretrain"
        assert run.data.tags[names.TAG_STUDY] == "wide"
        assert run.data.tags[names.TAG_TRIAL_STATE] == row.state
        assert run.data.metrics[names.VAL_RECON] == pytest.approx(row.val_recon)
        assert {names.TRAIN_LOSS, names.COLLAPSE_LEVEL, names.COLLAPSE_MUTUAL_INFORMATION} <= set(run.data.metrics)
        assert float(run.data.params["objective/max_beta"]) == row.params["max_beta"]


def test_red_trials_are_pruned_at_once_and_say_why(swept):
    pruned = [row for row in swept.result.results.rows if row.state == "pruned"]
    assert pruned, "this seed should try a beta that collapses"
    for row in pruned:
        run = swept.children[row.number]
        assert run.info.status == "KILLED"
        assert run.data.tags[names.TAG_COLLAPSE] == Level.RED.word
        assert run.data.tags[names.TAG_TRIAL_REASON] == row.reason
        assert run.data.tags["mlflow.note.content"].startswith(f"✂️ **Pruned:** {row.reason}\n")
        assert row.reason.startswith("posterior collapse, red since step")
        assert row.steps == int(run.data.tags[names.TAG_COLLAPSE_STEP]) < row.planned_steps
    assert swept.result.results.compute_saved > 0.05


def test_every_trial_shows_figures_that_were_drawn_once_when_it_ended(swept):
    for row in swept.result.results.rows:
        run_id = swept.children[row.number].info.run_id
        images = [one.path for one in swept.client.list_artifacts(run_id, "images")]
        drawn = [re.search(r"collapse~metrics\+step\+(\d+)\+.*png$", path) for path in images]
        # The panel opens at step 0, where the newest is shown once more.
        assert sorted(int(one[1]) for one in drawn if one) == [0, row.steps], images
        (path,) = re.findall(r"get-artifact\?path=(.*)&", swept.children[row.number].data.tags["mlflow.note.content"])
        assert unquote(path) == names.ARTIFACT_COLLAPSE_THUMBNAIL


def test_the_winner_keeps_every_constraint(swept):
    best = swept.result.results.best
    assert best.feasible
    candidates = [row for row in swept.result.results.rows if row.candidate]
    assert best.val_recon == min(row.val_recon for row in candidates)
    assert swept.children[best.number].data.tags[names.TAG_TRIAL_FEASIBLE] == "true"


def test_the_parent_holds_what_was_found(swept, tmp_path):
    parent = swept.client.get_run(swept.result.run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags[names.TAG_KIND] == "tune"
    assert parent.info.run_name == parent.data.tags[names.TAG_STUDY] == "wide"
    note = parent.data.tags["mlflow.note.content"]
    best = swept.result.results.best
    assert note.startswith(f"🏆 **[Trial {best.number}](#/experiments/{parent.info.experiment_id}/runs/{best.run_id}?")
    for path in re.findall(r"get-artifact\?path=(.*)&", note):
        assert artifact(swept, parent.info.run_id, unquote(path), tmp_path).stat().st_size > 1000
    assert parent.data.tags[names.TAG_BEST_RUN] == swept.result.results.best.run_id
    assert parent.data.metrics[names.STUDY_BEST] == pytest.approx(swept.result.results.best.val_recon)
    assert parent.data.metrics[names.STUDY_COMPUTE_SAVED] == pytest.approx(swept.result.results.compute_saved)
    for name in ("history", "parallel_coordinates", "pareto"):
        png = artifact(swept, parent.info.run_id, f"study/{name}.png", tmp_path).read_bytes()
        assert png.startswith(b"\x89PNG")
    table = json.loads(artifact(swept, parent.info.run_id, names.ARTIFACT_TRIALS, tmp_path).read_text())
    assert len(table["data"]) == N_TRIALS


def test_the_winners_settings_are_accepted_by_pretrain(swept, tmp_path):
    file = artifact(swept, swept.result.run_id, names.ARTIFACT_BEST_CONFIG, tmp_path)
    config = pretrain_config("pretrain", "", ["--config", str(file)])
    expected = apply(swept.base, swept.result.results.best.params, 60)
    assert asdict(config) == asdict(expected)
    assert yaml.safe_load(file.read_text())["monitor"]["on_collapse"] == "stop"


def test_a_trial_run_again_from_its_logged_settings_gives_the_same_nll(swept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    best = swept.result.results.best
    file = artifact(swept, best.run_id, names.ARTIFACT_CONFIG, tmp_path)
    config = pretrain_config("pretrain", "", ["--config", str(file), "--tracking_uri", f"sqlite:///{tmp_path}/x.db"])
    assert pretrain(config).val_metrics[names.VAL_RECON] == pytest.approx(best.val_recon, rel=1e-6)


@pytest.mark.nightly
def test_a_finished_study_can_be_taken_up_again(swept, monkeypatch):
    monkeypatch.chdir(swept.folder)
    again = tune(swept.base, WIDE, TuneConfig(study="wide", n_trials=N_TRIALS, pruner="none"))
    assert (again.run_id, again.results.winners) == (swept.result.run_id, swept.result.results.winners)


@pytest.mark.nightly
def test_a_front_of_nll_against_information(tiny, tmp_path):
    config = TuneConfig(study="front", n_trials=3, n_workers=2, goal="pareto")
    result = tune(tiny, NARROW, config)
    rows = [result.results.row(number) for number in result.results.winners]
    assert rows
    assert rows == sorted(rows, key=lambda row: (row.val_recon, row.mutual_information))
    assert [row.mutual_information for row in rows] == sorted(row.mutual_information for row in rows)
    listed = [item.path for item in MlflowClient().list_artifacts(result.run_id, "study/pareto")]
    assert sorted(listed) == sorted(f"study/pareto/trial_{row.number}.yaml" for row in rows)


@pytest.mark.nightly
def test_a_sweep_without_a_healthy_trial_says_so(tiny, tmp_path):
    dead = SpaceConfig(max_beta_range=(40.0, 50.0), free_bits_range=None, warmup_range=(0.0, 0.1))
    base = replace(tiny, monitor=replace(tiny.monitor, grace_steps=10))
    with pytest.raises(RunFailure, match="None of the 1 trials"):
        tune(base, dead, TuneConfig(study="dead", n_trials=1))
    (parent,) = MlflowClient().search_runs(["1"], "tags.`seqsetvae.kind` = 'tune'")
    assert parent.info.status == "FAILED"


@pytest.mark.nightly
def test_a_sweep_in_which_everything_fails_is_given_up(tiny, tmp_path):
    base = replace(tiny, optimizer=replace(tiny.optimizer, lr=1e30, lr_warmup_steps=0))
    with pytest.raises(RunFailure, match=r"The first \d+ trials have all failed: A posterior holds NaN or inf"):
        tune(base, NARROW, TuneConfig(study="broken", n_trials=9))
    runs = MlflowClient().search_runs(["1"], "tags.`seqsetvae.trial_state` = 'failed'")
    assert len(runs) >= 3
    assert {run.info.status for run in runs} <= {"FAILED", "KILLED"}
    assert any("NaN or inf" in run.data.tags[names.TAG_TRIAL_REASON] for run in runs)
    assert not MlflowClient().search_runs(["1"], "attributes.status = 'RUNNING'")


def test_the_ordinary_pruner_is_not_asked_before_the_warm_up_has_ended():
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.0))  # prunes whatever it is told
    watcher = TrialWatcher(study.ask(), warmup_steps=30, may_prune=True, total_steps=60, emit=lambda event: None)
    assert [watcher.validated(step, {names.VAL_RECON: 20.0}) for step in (10, 20, 29, 30)] == [
        False,
        False,
        False,
        True,
    ]
    assert watcher.trial.study.trials[0].intermediate_values == {30: 20.0}
    assert not TrialWatcher(study.ask(), 0, False, 60, lambda event: None).validated(10, {names.VAL_RECON: 20.0})
