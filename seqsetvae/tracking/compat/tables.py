"""SQL on MLflow's tables, in sqlite, PostgreSQL and whatever else it keeps them in. Reads only, and only tables that are known.

All points of a run are one query. The tracking client reads them metric by metric and makes an object of each: see `bench --only analyze`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.pool import NullPool

from seqsetvae.tracking.compat.schema import require_known
from seqsetvae.tracking.compat.sqlite_tables import open_to_read

CONNECT_SECONDS = 8
ROW = np.dtype([("key", "i4"), ("step", "i8"), ("time", "i8"), ("value", "f8"), ("nan", "?")])
Connection = sa.Connection
Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Of points: step, milliseconds since the epoch, value."""


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
NEWEST = table("latest_metrics", "key", "step", "timestamp", "value", "is_nan", "run_uuid")
"""MLflow keeps the newest point of each metric apart, and writes it in the same transaction as the points."""
READ = (RUNS, EXPERIMENTS, TAGS, PARAMS, METRICS, NEWEST)


class Tables:
    """A database. Connections to it cannot write to a file, and nothing is held between two of them."""

    def __init__(self, uri: str, file: Path | None, busy_seconds: float) -> None:
        """`file`: of a sqlite store; it is waited for so long while others write to it."""
        if file is None:
            self.engine = _engine(uri)
        else:
            self.engine = sa.create_engine(
                "sqlite://", creator=lambda: open_to_read(file, busy_seconds), poolclass=NullPool
            )

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """One connection. Raises :class:`UnknownSchemaError` before anything else is asked of the database."""
        with self.engine.connect() as connection:
            require_known(connection)
            yield connection


def knock(uri: str) -> None:
    """Raises whatever SQLAlchemy does where a database does not answer: MLflow would try it for minutes."""
    _engine(uri).connect().close()


def _engine(uri: str) -> sa.Engine:
    waiting = {"connect_timeout": CONNECT_SECONDS} if uri.startswith(("postgresql", "mysql")) else {}
    return sa.create_engine(uri, poolclass=NullPool, connect_args=waiting)


def list_runs(connection: Connection, experiment: str | None, tags: Sequence[str]) -> Sequence[Sequence[Any]]:
    """The runs that are not deleted, newest first; of one experiment if it is named.

    Rows of id, name, start in milliseconds, experiment, and the values of some tags.
    """
    wanted = [(TAGS.alias(), key) for key in tags]
    found = sa.select(
        *(RUNS.c.run_uuid, RUNS.c.name, RUNS.c.start_time, EXPERIMENTS.c.name), *(tag.c.value for tag, _ in wanted)
    )
    joined: sa.FromClause = RUNS.join(EXPERIMENTS, EXPERIMENTS.c.experiment_id == RUNS.c.experiment_id)
    for tag, key in wanted:
        joined = joined.outerjoin(tag, sa.and_(tag.c.run_uuid == RUNS.c.run_uuid, tag.c.key == key))
    found = found.select_from(joined).where(RUNS.c.lifecycle_stage == "active").order_by(RUNS.c.start_time.desc())
    return connection.execute(found.where(EXPERIMENTS.c.name == experiment) if experiment else found).fetchall()


def find_run(connection: Connection, run_id: str) -> Mapping[str, Any] | None:
    """The columns of a run, with the name of its experiment as `experiment`; None where there is none of this id."""
    found = (
        sa.select(RUNS, EXPERIMENTS.c.name.label("experiment"))
        .join(EXPERIMENTS, EXPERIMENTS.c.experiment_id == RUNS.c.experiment_id)
        .where(RUNS.c.run_uuid == run_id)
    )
    row = connection.execute(found).one_or_none()
    return None if row is None else dict(row._mapping)


def pairs(connection: Connection, kind: sa.TableClause, run_id: str) -> dict[str, str]:
    """The tags or the params of a run."""
    found = sa.select(kind.c.key, kind.c.value).where(kind.c.run_uuid == run_id)
    return {str(key): str(value) for key, value in connection.execute(found)}


def all_points(connection: Connection, run_id: str) -> dict[str, Columns]:
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
    order_N = np.argsort(row_N["key"], kind="stable")
    bounds = np.searchsorted(row_N["key"][order_N], np.arange(len(numbers) + 1))
    parts = {key: order_N[bounds[number] : bounds[number + 1]] for key, number in numbers.items()}
    return {key: (row_N["step"][part], row_N["time"][part], value_N[part]) for key, part in sorted(parts.items())}


def newest_points(connection: Connection, run_id: str) -> dict[str, tuple[int, int, float]]:
    """Step, milliseconds since the epoch and value of the newest point of each metric."""
    columns = NEWEST.c
    query = sa.select(columns.key, columns.step, columns.timestamp, columns.value, columns.is_nan)
    rows = connection.execute(query.where(columns.run_uuid == run_id))
    return {key: (step, ms, float("nan") if nan else value) for key, step, ms, value, nan in rows}


def last_points(connection: Connection, run_id: str, key: str, first_step: int | None, most: int) -> Columns:
    """The newest points of a metric, `most` at most, from a step on: MLflow's index has run, metric and step."""
    columns = METRICS.c
    query = sa.select(columns.step, columns.timestamp, columns.value, columns.is_nan)
    query = query.where(columns.run_uuid == run_id, columns.key == key)
    if first_step is not None:
        query = query.where(columns.step >= first_step)
    newest_first = query.order_by(columns.step.desc(), columns.timestamp.desc()).limit(most)
    rows = connection.execute(newest_first).fetchall()[::-1]
    values = [float("nan") if nan else value for _, _, value, nan in rows]
    return np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.int64), np.array(values)
