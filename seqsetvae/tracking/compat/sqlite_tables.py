"""What is asked of a sqlite file before MLflow opens it, which would try a hundred seconds long, and what MLflow keeps of one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from seqsetvae.errors import MlflowStoreError
from seqsetvae.tracking.compat.schema import KNOWN, MAKING, version_of_file

FIRST_LOOK = "SELECT 1 FROM sqlite_master"
LEFT_HALF_WRITTEN = (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY)


def open_to_read(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """A connection that cannot write, and waits so long for those who do.

    A process that was killed in the middle of a transaction leaves half of it in the file, and what was there before in a journal
    beside it: reading is refused until somebody who may write has put that back, which is done here.
    """
    address = f"file:{quote(str(path))}?mode="
    connection = sqlite3.connect(f"{address}ro", uri=True, timeout=busy_seconds)
    try:
        connection.execute(FIRST_LOOK).fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode not in LEFT_HALF_WRITTEN:
            raise
        with closing(sqlite3.connect(f"{address}rw", uri=True, timeout=busy_seconds)) as mending:
            mending.execute(FIRST_LOOK).fetchone()
        connection = sqlite3.connect(f"{address}ro", uri=True, timeout=busy_seconds)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_to_read(path, 5.0)) as connection:
        yield connection


def read_tables(path: Path) -> set[str]:
    """Names of the tables in a file; none in an empty one.

    Raises:
        MlflowStoreError: it is no database, or a damaged one.
    """
    try:
        with _reading(path) as connection:
            return {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return {"experiments"}  # somebody makes or writes it: MLflow waits for that
        raise MlflowStoreError(f"The tracking store {path} cannot be opened: {error}.") from error
    except sqlite3.DatabaseError as error:
        raise MlflowStoreError(
            f"{path} is not an SQLite database, or a damaged one ({error}). Name another file with --tracking.tracking_uri, or restore it."
        ) from error


def has_experiment(path: Path, number: str) -> bool:
    """Whether a file has an experiment.

    One that is yet to be made will have `0` alone. Of tables that are not known it is assumed: MLflow will say.
    """
    if not path.exists() or "experiments" not in read_tables(path):
        return number == "0"
    with _reading(path) as connection:
        if version_of_file(connection) not in KNOWN:
            return True
        found = connection.execute("SELECT 1 FROM experiments WHERE CAST(experiment_id AS TEXT) = ?", (number,))
        return found.fetchone() is not None


def may_hold_runs(path: Path) -> bool:
    """Whether anything was ever recorded in a file, or it is of a version that is not known."""
    if "runs" not in read_tables(path):
        return False
    with _reading(path) as connection:
        if version_of_file(connection) not in KNOWN | MAKING | {None}:
            return True
        return connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is not None


def forget_engine(uri: str) -> None:
    """MLflow keeps the connections to each address for the life of the process; the file of this one is about to be moved."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    engine = SqlAlchemyStore._engine_map.pop(uri, None)
    if engine is not None:
        engine.dispose()


def make_no_folders() -> None:
    """Keep MLflow from making a folder whose name is an address.

    MLflow makes the folder of a new file, and takes an address for a path: for `what%3Fx/mlflow.db` it would make a folder of that name
    beside `what?x`. Here the folder is there already.
    """
    from mlflow.store.db import utils

    utils._make_parent_dirs_if_sqlite = lambda db_uri: None
