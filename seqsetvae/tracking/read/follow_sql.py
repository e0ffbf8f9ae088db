"""A run in a database, looked at by a handful of queries that its indexes answer: none of them walks through the run's points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa

from seqsetvae.tracking.compat.tables import METRICS, read_facts, read_only_engine, table
from seqsetvae.tracking.read.run_history import Series, Stamp

BUSY_SECONDS = 5.0
"""How long a database file that is being written to is waited for, before a look is given up."""
NEWEST = table("latest_metrics", "key", "value", "timestamp", "step", "is_nan", "run_uuid")
"""MLflow keeps the newest point of each metric apart, and writes it in the same transaction as the points."""


class SqlLook:
    """What one connection sees."""

    def __init__(self, connection: sa.Connection, uri: str, run_id: str) -> None:
        self._connection = connection
        self.run = read_facts(connection, run_id, uri)
        columns = NEWEST.c
        query = sa.select(columns.key, columns.step, columns.timestamp, columns.value, columns.is_nan)
        rows = connection.execute(query.where(columns.run_uuid == run_id))
        # NaN differs from itself, and would count as a change at every look.
        self.newest: Mapping[str, Stamp] = {
            key: (step, ms, 0.0 if nan else value) for key, step, ms, value, nan in rows
        }

    def points(self, key: str, first_step: int | None, most: int) -> Series:
        """The newest points of a metric, `most` at most, from a step on: MLflow's index has run, metric and step."""
        columns = METRICS.c
        query = sa.select(columns.step, columns.timestamp, columns.value, columns.is_nan)
        query = query.where(columns.run_uuid == self.run.run_id, columns.key == key)
        if first_step is not None:
            query = query.where(columns.step >= first_step)
        newest_first = query.order_by(columns.step.desc(), columns.timestamp.desc()).limit(most)
        rows = self._connection.execute(newest_first).fetchall()[::-1]
        values = [float("nan") if nan else value for _, _, value, nan in rows]
        return Series.of([row[0] for row in rows], [row[1] for row in rows], values)


class SqlSource:
    """Made by :func:`seqsetvae.tracking.read.follow.follow`."""

    def __init__(self, uri: str, run_id: str) -> None:
        self._uri, self._run_id = uri, run_id
        self.engine = read_only_engine(uri, BUSY_SECONDS)

    @contextmanager
    def look(self) -> Iterator[SqlLook]:
        """One connection for one look. Raises :class:`InputError` where there is no such run."""
        with self.engine.connect() as connection:
            yield SqlLook(connection, self._uri, self._run_id)
