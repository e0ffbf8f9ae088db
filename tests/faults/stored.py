"""What a run has left, read without MLflow and without the code under test: its database, its artifacts, its checkpoints."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

BY_THE_CLOCK = ("patients_per_second", "collapse/training_hours")
"""A metric whose values differ from run to run; its steps do not. Nor do those under `system/` count."""


@dataclass(frozen=True)
class Stored:
    """A run."""

    run_id: str
    status: str
    points: Counter[tuple[str, int, str]]
    """(metric, step, value), with how often it is there."""
    alerts: list[list[Any]]
    files: frozenset[str]
    """Best, healthy and final checkpoints, and figures."""
    weights: dict[str, torch.Tensor]
    """Of the final checkpoint."""
    steps: int
    tags: dict[str, str]
    opened_by: int
    """Process."""

    def differences(self, other: Stored) -> list[str]:
        """Of this run, which should be like the other; empty if it is."""
        found = [f"missing {point}" for point in (other.points - self.points).elements()]
        found += [f"extra {point}" for point in (self.points - other.points).elements()]
        found += [f"missing file {name}" for name in sorted(other.files - self.files)]
        found += [f"extra file {name}" for name in sorted(self.files - other.files)]
        for name in ("status", "alerts", "steps", "tags"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                found.append(f"{name}: {mine} instead of {theirs}")
        if self.weights.keys() != other.weights.keys() or any(
            not torch.equal(tensor, other.weights[name]) for name, tensor in self.weights.items()
        ):
            found.append("the weights differ")
        return found


def newest_run(folder: Path) -> Stored:
    """The run of a store in `folder` that was begun last."""
    with closing(sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=rw", uri=True)) as database:
        run_id, status = database.execute(
            "SELECT run_uuid, status FROM runs ORDER BY start_time DESC LIMIT 1"
        ).fetchone()
        rows = database.execute("SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = ?", [run_id]).fetchall()
        tags = dict(database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", [run_id]).fetchall())
    points = Counter(
        (key, step, "" if key in BY_THE_CLOCK else "nan" if is_nan else repr(value))
        for key, step, value, is_nan in rows
        if not key.startswith("system/")
    )
    (artifacts,) = folder.glob(f"mlruns/*/{run_id}/artifacts")
    checkpoints = artifacts / "checkpoints"
    kinds = ("best", "healthy", "early", "model", "final", "collapsed")
    kept = {path.name for path in checkpoints.glob("*.ckpt") if path.name.startswith(kinds)}
    figures = [path.name.split("+timestamp")[0] for path in artifacts.glob("images/*.png")]
    figures = [f"{name} ({times} times)" for name, times in Counter(figures).items()]
    table = artifacts / "collapse" / "alerts.json"
    ends = sorted([*checkpoints.glob("final_*.ckpt"), *checkpoints.glob("collapsed_*.ckpt")])
    end = torch.load(ends[-1], weights_only=True) if ends else {"state_dict": {}, "global_step": -1}
    return Stored(
        run_id=run_id,
        status=status,
        points=points,
        alerts=_without_times(json.loads(table.read_text())) if table.is_file() else [],
        files=frozenset(kept) | frozenset(figures),
        weights=end["state_dict"],
        steps=end["global_step"],
        tags={key: value for key, value in tags.items() if key.startswith("collapse")},
        opened_by=int(tags.get("seqsetvae.pid", 0)),
    )


def _without_times(table: dict[str, Any]) -> list[list[Any]]:
    kept = [number for number, column in enumerate(table["columns"]) if column != "time"]
    return [[_timeless(row[number]) for number in kept] for row in table["data"]]


def _timeless(cell: Any) -> Any:
    """A cell may hold the whole alert as JSON, with its time."""
    if isinstance(cell, str) and cell.startswith("{"):
        return {key: value for key, value in json.loads(cell).items() if key != "time"}
    return cell
