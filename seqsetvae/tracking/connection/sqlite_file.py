"""A store in a sqlite file: looked at before MLflow opens it, which would try a hundred seconds long, and made as a whole."""

from __future__ import annotations

import os
import re
import time
import warnings
from pathlib import Path

import psutil

from seqsetvae.errors import MlflowStoreError
from seqsetvae.tracking.compat.sqlite_tables import forget_engine, read_tables
from seqsetvae.tracking.connection.address import sqlite_uri


def check_file(path: Path) -> None:
    """Say what keeps a file from being the store, or from becoming it. Takes milliseconds.

    Raises:
        MlflowStoreError: which file or folder it is, what is wrong with it, what to do.
    """
    elsewhere = "or choose another store with --tracking.tracking_uri or MLFLOW_TRACKING_URI"
    folder = path.parent
    if not folder.is_dir():
        raise MlflowStoreError(
            f"The tracking store {path} lies in a folder that does not exist. Create {folder} first, {elsewhere}."
        )
    if path.is_dir():
        raise MlflowStoreError(f"The tracking store {path} is a folder. Name a file in it, {elsewhere}.")
    require_writable(folder, f"the tracking store {path} keeps a journal beside its file", elsewhere)
    if not path.exists():
        return
    if not path.is_file():
        raise MlflowStoreError(f"The tracking store {path} is no file of data. Name another, {elsewhere}.")
    if not os.access(path, os.R_OK | os.W_OK):
        raise MlflowStoreError(
            f"The tracking store {path} cannot be opened: this user may not read and write it. Mend its permissions, {elsewhere}."
        )
    if (tables := read_tables(path)) and not {"experiments", "alembic_version"} & tables:
        shown = ", ".join(sorted(tables)[:3])
        raise MlflowStoreError(
            f"{path} is a database, but not one of MLflow: it holds the tables {shown}. Name another file, {elsewhere}."
        )


def require_writable(folder: Path, reason: str, otherwise: str) -> None:
    """Raises :class:`MlflowStoreError` for a folder in which this process may make no files."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise MlflowStoreError(
            f"Cannot write here: {folder} is not writable, and {reason}. Change to another folder, {otherwise}."
        )


def make_file(path: Path) -> None:
    """Make a new store beside its place and move it there: a process that is killed meanwhile leaves no half of one."""
    from mlflow import MlflowClient

    sweep(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MLflow's own migrations about its own tables
            MlflowClient(sqlite_uri(partial)).search_experiments(max_results=1)
        forget_engine(sqlite_uri(partial))
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
    forget_engine(sqlite_uri(path))
    for rest in path.parent.glob(f"{path.name}-journal"):
        rest.unlink(missing_ok=True)
    return path.rename(aside)
