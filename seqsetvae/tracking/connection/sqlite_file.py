"""A store in a sqlite file: looked at before MLflow opens it, which would try a hundred seconds long, and made as a whole."""

from __future__ import annotations

import os
import re
import sqlite3
import time
import warnings
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psutil

from seqsetvae.errors import StoreError
from seqsetvae.tracking.connection.address import sqlite_uri


def check_file(path: Path) -> None:
    """Say what keeps a file from being the store, or from becoming it. Takes milliseconds.

    Raises:
        StoreError: which file or folder it is, what is wrong with it, what to do.
    """
    elsewhere = "or choose another store with --tracking.tracking_uri or MLFLOW_TRACKING_URI"
    folder = path.parent
    if not folder.is_dir():
        raise StoreError(
            f"The tracking store {path} lies in a folder that does not exist. Create {folder} first, {elsewhere}."
        )
    if path.is_dir():
        raise StoreError(f"The tracking store {path} is a folder. Name a file in it, {elsewhere}.")
    if not os.access(folder, os.W_OK | os.X_OK):  # sqlite keeps a journal beside the file
        raise StoreError(
            f"Cannot write here: the tracking store {path} needs a folder that it can write to. Change to another folder, {elsewhere}."
        )
    if not path.exists():
        return
    if not path.is_file():
        raise StoreError(f"The tracking store {path} is no file of data. Name another, {elsewhere}.")
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(
            f"The tracking store {path} cannot be opened: this user may not read and write it. Mend its permissions, {elsewhere}."
        )
    if (tables := read_tables(path)) and not {"experiments", "alembic_version"} & tables:
        shown = ", ".join(sorted(tables)[:3])
        raise StoreError(
            f"{path} is a database, but not one of MLflow: it holds the tables {shown}. Name another file, {elsewhere}."
        )


def read_tables(path: Path) -> set[str]:
    """Names of the tables in a file; none in an empty one.

    Raises:
        StoreError: it is no database, or a damaged one.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)) as connection:
            return {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return {"experiments"}  # somebody makes or writes it: MLflow waits for that
        raise StoreError(f"The tracking store {path} cannot be opened: {error}.") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{path} is not an SQLite database, or a damaged one ({error}). Name another file with --tracking.tracking_uri, or restore it."
        ) from error


def has_experiment(path: Path, number: str) -> bool:
    """Whether a file has an experiment; one that is yet to be made will have `0` alone."""
    if not path.exists() or "experiments" not in read_tables(path):
        return number == "0"
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)) as connection:
        found = connection.execute("SELECT 1 FROM experiments WHERE CAST(experiment_id AS TEXT) = ?", (number,))
        return found.fetchone() is not None


def holds_runs(path: Path) -> bool:
    """Whether anything was ever recorded in a file."""
    if "runs" not in read_tables(path):
        return False
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)) as connection:
        return connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is not None


def make_file(path: Path) -> None:
    """Make a new store beside its place and move it there: a process that is killed meanwhile leaves no half of one."""
    from mlflow import MlflowClient

    sweep(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MLflow's own migrations about its own tables
            MlflowClient(sqlite_uri(partial)).search_experiments(max_results=1)
        forget_engine(partial)
        partial.replace(path)
    finally:
        for rest in path.parent.glob(f"{partial.name}*"):
            rest.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove what processes that are gone have left of the making of a store."""
    for left in path.parent.glob(f".{path.name}.*.partial*"):
        number = re.search(r"\.(\d+)\.partial", left.name)
        if number is not None and not psutil.pid_exists(int(number[1])):
            left.unlink(missing_ok=True)


def put_aside(path: Path) -> Path:
    """Give up a store whose making was broken off, before anything was recorded in it; the file is kept under another name."""
    aside = path.with_name(f"{path.name}.unfinished-{time.strftime('%Y%m%d_%H%M%S')}")
    forget_engine(path)
    for rest in path.parent.glob(f"{path.name}-journal"):
        rest.unlink(missing_ok=True)
    return path.rename(aside)


def forget_engine(path: Path) -> None:
    """MLflow keeps the connections to each address for the life of the process; the file is about to be moved."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    engine = SqlAlchemyStore._engine_map.pop(sqlite_uri(path), None)
    if engine is not None:
        engine.dispose()


def make_no_folders() -> None:
    """MLflow makes the folder of a new file, and takes an address for a path: for `what%3Fx/mlflow.db` it would make a folder of that
    name beside `what?x`. Here the folder is there already.
    """
    from mlflow.store.db import utils

    utils._make_parent_dirs_if_sqlite = lambda db_uri: None
