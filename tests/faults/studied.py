"""What a study has left, read from its two databases without MLflow or the code under test; from sqlite without Optuna as well."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

RIGHT_ENDS = {
    "COMPLETE": ({"FINISHED"}, "complete"),
    "PRUNED": ({"KILLED"}, "pruned"),
    # Its process may have died behind the end of the training, before it could tell the study.
    "FAIL": ({"KILLED", "FINISHED"}, "failed"),
}
"""State of a trial in the study -> statuses that its run may have, and the run's tag."""


def problems(folder: Path, storage: str, n_trials: int) -> list[str]:
    """Of a study of `n_trials` that has come to its end: every slot has one result, every run its right end, the best is the best."""
    trials, runs = read_trials(storage), read_runs(folder / "mlflow.db")
    wrong = [f"trial {one['number']} is {one['state']}" for one in trials if one["state"] not in RIGHT_ENDS]
    results = Counter(one["slot"] for one in trials if one["state"] in ("COMPLETE", "PRUNED"))
    if results != Counter(range(n_trials)):
        wrong.append(f"results by slot: {dict(results)}")
    parents = [one for one in runs.values() if one["tags"]["seqsetvae.kind"] == "tune"]
    children = {run_id: one for run_id, one in runs.items() if one not in parents}
    by_number = Counter(one["tags"]["seqsetvae.trial"] for one in children.values())
    wrong += [f"trial {number} has {times} runs" for number, times in by_number.items() if times > 1]
    for run_id, run in children.items():
        trial = trials[int(run["tags"]["seqsetvae.trial"])]
        statuses, word = RIGHT_ENDS.get(trial["state"], (set(), ""))
        if run["status"] not in statuses or run["tags"]["seqsetvae.trial_state"] != word:
            wrong.append(f"run {run_id} of trial {trial['number']} ({trial['state']}): {run['status']}, {run['tags']}")
        if trial["state"] == "COMPLETE" and trial["run_id"] != run_id:
            wrong.append(f"trial {trial['number']} is of another run")
    wrong += [
        f"trial {one['number']} has no run"
        for one in trials
        if one["state"] == "COMPLETE" and one["run_id"] not in runs
    ]
    return wrong + wrong_parent(trials, runs, parents)


def wrong_parent(trials: list[dict[str, Any]], runs: dict[str, Any], parents: list[dict[str, Any]]) -> list[str]:
    """The parent run that all children have is FINISHED and names the best; one that died before it had a study is KILLED."""
    of_children = {one["tags"]["mlflow.parentRunId"] for one in runs.values() if one not in parents}
    (parent_id,) = of_children
    parent = runs[parent_id]
    wrong = [
        f"an abandoned parent is {one['status']}" for one in parents if one is not parent and one["status"] != "KILLED"
    ]
    if parent["status"] != "FINISHED":
        wrong.append(f"the parent is {parent['status']}")
    kept = [one for one in trials if one["state"] == "COMPLETE" and max(one["missed"]) <= 0.0]
    best = min(kept, key=lambda one: one["value"])
    reached = runs[best["run_id"]]["last"]["val_recon"]
    told = parent["tags"]["seqsetvae.best_run"], parent["last"]["study/best_val_recon"]
    if told != (best["run_id"], best["value"]) or best["value"] != reached:
        wrong.append(f"best: told {told}, is {best['run_id']} with {best['value']}, whose run reached {reached}")
    return wrong


def read_trials(storage: str) -> list[dict[str, Any]]:
    """Of the only study, by number."""
    scheme, _, path = storage.partition(":///")
    if scheme == "sqlite":
        return read_tables(Path(path))
    opened = JournalStorage(JournalFileBackend(path)) if scheme == "journal" else RDBStorage(storage)
    (name,) = optuna.get_all_study_names(opened)
    trials = optuna.load_study(study_name=name, storage=opened).get_trials()
    if isinstance(opened, RDBStorage):
        opened.remove_session()
        opened.engine.dispose()
    return [
        {
            "number": one.number,
            "state": one.state.name,
            "value": one.value if one.values else None,
            "slot": one.user_attrs.get("slot"),
            "run_id": one.user_attrs.get("run_id"),
            "missed": [missed for key, missed in one.system_attrs.items() if key.startswith("constraints:")],
        }
        for one in sorted(trials, key=lambda one: one.number)
    ]


def read_tables(database: Path) -> list[dict[str, Any]]:
    """The same without Optuna."""
    with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True)) as store:
        rows = store.execute(
            "SELECT t.trial_id, t.number, t.state, v.value FROM trials AS t LEFT JOIN trial_values AS v "
            "ON v.trial_id = t.trial_id ORDER BY t.number"
        ).fetchall()
        attributes = store.execute("SELECT trial_id, key, value_json FROM trial_user_attributes").fetchall()
        more = store.execute("SELECT trial_id, value_json FROM trial_system_attributes WHERE key LIKE 'constraints:%'")
        missed = more.fetchall()
    known = {(trial_id, key): json.loads(text) for trial_id, key, text in attributes}
    return [
        {
            "number": number,
            "state": state,
            "value": value,
            "slot": known.get((trial_id, "slot")),
            "run_id": known.get((trial_id, "run_id")),
            "missed": [float(text) for one, text in missed if one == trial_id],
        }
        for trial_id, number, state, value in rows
    ]


def read_runs(database: Path) -> dict[str, dict[str, Any]]:
    """Id -> status, tags, and the last value of each metric."""
    with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True)) as store:
        found = store.execute("SELECT run_uuid, status FROM runs").fetchall()
        tags = store.execute("SELECT run_uuid, key, value FROM tags").fetchall()
        points = store.execute("SELECT run_uuid, key, value FROM metrics ORDER BY step").fetchall()
    return {
        run_id: {
            "status": status,
            "tags": {key: value for run, key, value in tags if run == run_id},
            "last": {key: value for run, key, value in points if run == run_id},
        }
        for run_id, status in found
    }
