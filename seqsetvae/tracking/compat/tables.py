"""Histories from a database: sqlite, PostgreSQL and whatever else MLflow keeps its tables in, by the same read-only SQL.

All points of a run are one query. The tracking client reads them metric by metric and makes an object of each: see `bench --only analyze`.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from dataclasses import replace
from itertools import count
from typing import Any
from urllib.parse import quote

import numpy as np
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from seqsetvae import names
from seqsetvae.errors import InputError
from seqsetvae.tracking.connection.address import sqlite_path, without_password
from seqsetvae.tracking.connection.opening import OPEN_SECONDS
from seqsetvae.tracking.read.alerts import read_alerts
from seqsetvae.tracking.read.run_history import ListedRun, RunHistory, Series, no_metrics

BUSY_SECONDS = 30
"""How long a database file that is being written to is waited for."""
ROW = np.dtype([("key", "i4"), ("step", "i8"), ("time", "i8"), ("value", "f8"), ("nan", "?")])


def table(name: str, *columns: str) -> sa.TableClause:
    """A table of MLflow's, with the columns that are read."""
    return sa.table(name, *map(sa.column, columns))


RUNS = table(
    "runs",
    *("run_uuid", "name", "status", "start_time", "end_time", "lifecycle_stage", "artifact_uri", "experiment_id"),
)
EXPERIMENTS = table("experiments", "experiment_id", "name")
TAGS = table("tags", "key", "value", "run_uuid")
PARAMS = table("params", "key", "value", "run_uuid")
METRICS = table("metrics", "key", "step", "timestamp", "value", "is_nan", "run_uuid")


class SqlHistories:
    """Made by :func:`seqsetvae.tracking.read.histories.open_histories`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._engine = read_only_engine(uri)

    def listing(self, experiment: str | None = None) -> list[ListedRun]:
        """The runs that are not deleted, newest first; of one experiment if it is named."""
        parent, kind = TAGS.alias(), TAGS.alias()
        found = (
            sa.select(RUNS.c.run_uuid, RUNS.c.name, RUNS.c.start_time, EXPERIMENTS.c.name, parent.c.value, kind.c.value)
            .join(EXPERIMENTS, EXPERIMENTS.c.experiment_id == RUNS.c.experiment_id)
            .outerjoin(parent, sa.and_(parent.c.run_uuid == RUNS.c.run_uuid, parent.c.key == "mlflow.parentRunId"))
            .outerjoin(kind, sa.and_(kind.c.run_uuid == RUNS.c.run_uuid, kind.c.key == names.TAG_KIND))
            .where(RUNS.c.lifecycle_stage == "active")
            .order_by(RUNS.c.start_time.desc())
        )
        if experiment:
            found = found.where(EXPERIMENTS.c.name == experiment)
        with self._engine.connect() as connection:
            rows = connection.execute(found).fetchall()
        return [
            ListedRun(row[0], row[1] or "", (row[2] or 0) / 1000, row[3], row[4] or "", row[5] or "") for row in rows
        ]

    def read(self, run_id: str) -> RunHistory:
        """Everything about one run. Raises :class:`InputError` where it has no metric."""
        with self._engine.connect() as connection:
            run = read_facts(connection, run_id, self.uri)
            metrics = read_points(connection, run_id)
        if not metrics:
            raise no_metrics(run.name, run_id, run.status, run.store)
        return replace(run, metrics=metrics, alerts=read_alerts(self.uri, run_id, run.artifact_uri))


def read_facts(connection: sa.Connection, run_id: str, uri: str) -> RunHistory:
    """A run without its points and alerts. Raises :class:`InputError` where there is none of this id."""
    facts = (
        sa.select(RUNS, EXPERIMENTS.c.name.label("experiment"))
        .join(EXPERIMENTS, EXPERIMENTS.c.experiment_id == RUNS.c.experiment_id)
        .where(RUNS.c.run_uuid == run_id)
    )
    where = without_password(uri)
    found = connection.execute(facts).one_or_none()
    if found is None:
        raise InputError(f"There is no run {run_id} in {where}.")
    run = found._mapping
    tags, params = (
        {str(key): str(value) for key, value in connection.execute(_pairs(pairs, run_id))} for pairs in (TAGS, PARAMS)
    )
    return RunHistory(
        run_id=run_id,
        name=run["name"] or "",
        status=run["status"],
        experiment=run["experiment"],
        start_time=run["start_time"] / 1000,
        end_time=None if run["end_time"] is None else run["end_time"] / 1000,
        params=params,
        tags=tags,
        metrics={},
        store=where,
        artifact_uri=run["artifact_uri"],
    )


def _pairs(pairs: sa.TableClause, run_id: str) -> sa.Select[Any]:
    return sa.select(pairs.c.key, pairs.c.value).where(pairs.c.run_uuid == run_id)


def read_points(connection: sa.Connection, run_id: str) -> dict[str, Series]:
    """Every point of a run, by metric."""
    columns = METRICS.c
    query = sa.select(columns.key, columns.step, columns.timestamp, columns.value, columns.is_nan)
    cursor = connection.execute(query.where(columns.run_uuid == run_id))
    # Straight from the driver into an array: a million points as Python objects, kept for a moment, would take twice the time.
    driver: Any = cursor.cursor
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    rows = ((numbers[key], step, timestamp, value, nan) for key, step, timestamp, value, nan in driver)
    row_N = np.fromiter(rows, ROW)
    value_N = np.where(row_N["nan"], np.nan, row_N["value"])
    number_N = row_N["key"]
    order_N = np.argsort(number_N, kind="stable")
    bounds = np.searchsorted(number_N[order_N], np.arange(len(numbers) + 1))
    parts = {key: order_N[bounds[number] : bounds[number + 1]] for key, number in numbers.items()}
    return {
        key: Series.of(row_N["step"][part], row_N["time"][part], value_N[part]) for key, part in sorted(parts.items())
    }


def read_only_engine(uri: str, busy_seconds: float = BUSY_SECONDS) -> sa.Engine:
    """Connections that cannot write to a file, and hold nothing between two uses."""
    path = sqlite_path(uri)
    if path is None:
        patience = {"connect_timeout": OPEN_SECONDS} if uri.startswith("postgresql") else {}
        return sa.create_engine(uri, poolclass=NullPool, connect_args=patience)
    address = f"file:{quote(str(path))}?mode=ro"
    return sa.create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(address, uri=True, timeout=busy_seconds), poolclass=NullPool
    )
