"""Runs in a database, by SQL: also while others write to it, and without loading MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import isnan

from seqsetvae import names
from seqsetvae.errors import InputError
from seqsetvae.tracking.compat import tables
from seqsetvae.tracking.connection.address import sqlite_path, without_password
from seqsetvae.tracking.read.alerts import read_alerts
from seqsetvae.tracking.read.recorded_run import ListedRun, RecordedRun, Series, Stamp, no_metrics
from seqsetvae.tracking.read.whole_settings import whole_settings

BUSY_SECONDS = 30.0
"""How long a database file that is being written to is waited for, by a command that reads once."""


class SqlRuns:
    """The runs of a database. Made by :func:`seqsetvae.tracking.read.run_reader.reader_of`."""

    def __init__(self, uri: str, busy_seconds: float = BUSY_SECONDS) -> None:
        self.uri = uri
        self.tables = tables.Tables(uri, sqlite_path(uri), busy_seconds)

    def listing(self, experiment: str | None = None) -> list[ListedRun]:
        """The runs that are not deleted, newest first; of one experiment if it is named."""
        with self.tables.connect() as connection:
            rows = tables.list_runs(connection, experiment, ("mlflow.parentRunId", names.TAG_KIND))
        return [
            ListedRun(run_id, name or "", (start or 0) / 1000, experiment, parent or "", kind or "")
            for run_id, name, start, experiment, parent, kind in rows
        ]

    def read(self, run_id: str) -> RecordedRun:
        """Everything about one run. Raises :class:`InputError` where it has no metric."""
        with self.look(run_id) as look:
            run, metrics = look.run, look.all_points()
        if not metrics:
            raise no_metrics(run.name, run_id, run.status, run.store)
        alerts = read_alerts(self.uri, run_id, run.artifact_uri)
        return replace(run, params=whole_settings(self.uri, run), metrics=metrics, alerts=alerts)

    @contextmanager
    def look(self, run_id: str) -> Iterator[SqlLook]:
        """One connection for one look. Raises :class:`InputError` where there is no such run."""
        with self.tables.connect() as connection:
            yield SqlLook(connection, self.uri, run_id)


class SqlLook:
    """What one connection sees of a run, by a handful of queries that the database's indexes answer."""

    def __init__(self, connection: tables.Connection, uri: str, run_id: str) -> None:
        self._connection = connection
        where = without_password(uri)
        run = tables.find_run(connection, run_id)
        if run is None:
            raise InputError(f"There is no run {run_id} in {where}.")
        self.run = RecordedRun(
            run_id=run_id,
            name=run["name"] or "",
            status=run["status"],
            experiment=run["experiment"],
            start_time=run["start_time"] / 1000,
            end_time=None if run["end_time"] is None else run["end_time"] / 1000,
            params=tables.pairs(connection, tables.PARAMS, run_id),
            tags=tables.pairs(connection, tables.TAGS, run_id),
            metrics={},
            store=where,
            artifact_uri=run["artifact_uri"],
        )

    def newest(self) -> Mapping[str, Stamp]:
        """The newest point of every metric."""
        return comparable(tables.newest_points(self._connection, self.run.run_id))

    def points(self, key: str, first_step: int | None, most: int) -> Series:
        """The newest points of a metric, `most` at most, from a step on."""
        return Series.of(*tables.last_points(self._connection, self.run.run_id, key, first_step, most))

    def all_points(self) -> dict[str, Series]:
        """Every point, by metric."""
        return {key: Series.of(*points) for key, points in tables.all_points(self._connection, self.run.run_id).items()}


def comparable(newest: Mapping[str, Stamp]) -> dict[str, Stamp]:
    """NaN differs from itself, and would count as a change at every look.

    >>> comparable({"loss": (1, 1000, float("nan"))})
    {'loss': (1, 1000, 0.0)}
    """
    return {key: (step, ms, 0.0 if isnan(value) else value) for key, (step, ms, value) in newest.items()}
