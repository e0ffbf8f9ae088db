"""What finetunings have left, read without MLflow and without the code under test."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

BY_THE_CLOCK = "training_seconds"
"""A metric whose values differ from run to run."""


@dataclass(frozen=True)
class Finetuned:
    """A run."""

    status: str
    points: Counter[tuple[str, int, str]]
    """(metric, step, value), with how often it is there."""
    tables: dict[str, str]
    """Hashes of its tables."""
    models: list[str]
    """Hash of the weights of each version that was registered of it."""


def runs(folder: Path) -> list[Finetuned]:
    """Of a store in `folder`, oldest first."""
    with closing(sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=rw", uri=True)) as database:
        found = database.execute("SELECT run_uuid, status FROM runs ORDER BY start_time").fetchall()
        points = database.execute("SELECT run_uuid, key, step, value FROM metrics").fetchall()
        versions = database.execute("SELECT run_id, storage_location, source FROM model_versions").fetchall()
    return [
        Finetuned(
            status,
            Counter(
                (key, step, "" if key == BY_THE_CLOCK else repr(value))
                for run, key, step, value in points
                if run == run_id
            ),
            {path.name: hashed(path) for path in folder.glob(f"mlruns/*/{run_id}/artifacts/**/*.json")},
            [weights(folder, location or source) for run, location, source in versions if run == run_id],
        )
        for run_id, status in found
    ]


def champions(folder: Path) -> list[tuple[str, str]]:
    """(status of the run, weights) of the versions that carry the alias `champion`."""
    with closing(sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=rw", uri=True)) as database:
        rows = database.execute(
            "SELECT runs.status, storage_location, source FROM registered_model_aliases AS a "
            "LEFT JOIN model_versions AS v ON v.name = a.name AND v.version = a.version "
            "LEFT JOIN runs ON runs.run_uuid = v.run_id WHERE a.alias = 'champion'"
        ).fetchall()
    return [(status, weights(folder, location or source)) for status, location, source in rows]


def weights(folder: Path, location: str) -> str:
    """Hash of the weights of a version."""
    (path,) = Path(location.removeprefix("file://")).rglob("*.safetensors")
    assert path.is_relative_to(folder)
    return hashed(path)


def hashed(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
