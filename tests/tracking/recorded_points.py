"""What a test compares: all points of a metric as the store has it."""

from __future__ import annotations

from mlflow import MlflowClient


def stored_points(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    """(step, value) of every stored row, in order of steps; a row stored twice is listed twice."""
    rows = MlflowClient(uri).get_metric_history(run_id, key)
    return sorted((row.step, row.value) for row in rows)


def ramp(first: int, end: int) -> list[tuple[int, float]]:
    """What logging `value = step / 2` for each step leaves."""
    return [(step, step / 2) for step in range(first, end)]
