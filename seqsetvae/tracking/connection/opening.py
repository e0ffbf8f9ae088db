"""Opening a tracking store, with an answer within seconds: it works, or a sentence about what is wrong with it."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from seqsetvae.errors import InputError
from seqsetvae.tracking.compat.moved_store import ARTIFACTS, settle_moved
from seqsetvae.tracking.compat.sqlite_tables import make_no_folders, may_hold_runs
from seqsetvae.tracking.compat.tables import knock
from seqsetvae.tracking.connection.address import sqlite_path
from seqsetvae.tracking.connection.sqlite_file import check_file, make_file, put_aside
from seqsetvae.tracking.connection.trouble import readable_errors
from seqsetvae.user import ensure_user

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)


def check_there(uri: str) -> None:
    """For what only reads: MLflow would make a file that is missing. Raises :class:`InputError`."""
    if (path := sqlite_path(uri)) is not None and not path.exists():
        raise InputError(
            f"There is no tracking store {path}. Give the one that the runs were recorded in with --tracking.tracking_uri or "
            "MLFLOW_TRACKING_URI, or change to the folder with its mlflow.db."
        )


def open_client(uri: str) -> MlflowClient:
    """Connect to the store; a new sqlite file gets its tables here.

    Raises :class:`MlflowStoreError` when it does not answer within seconds or cannot be used.
    """
    ensure_user()  # before MLflow is loaded
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # that a new file gets its tables is no news
    with readable_errors(uri), _one_at_a_time(uri):
        if (path := sqlite_path(uri)) is not None:
            return _open_file(path, uri)
        if not uri.startswith(("http", "databricks", "file")) and "://" in uri:
            knock(uri)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
        return client


def _open_file(path: Path, uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    check_file(path)
    if before := settle_moved(path):
        with suppress(OSError):  # nobody reads
            _log.info(f"This store was moved here from {before}: its artifacts are those in {path.parent / ARTIFACTS}.")
    make_no_folders()
    if not path.exists() or not path.stat().st_size:
        make_file(path)
    try:
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except Exception:
        if may_hold_runs(path):
            raise
        _log.warning("The making of %s was broken off. It is made anew; the old file is now %s.", path, put_aside(path))
        make_file(path)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def _one_at_a_time(uri: str) -> FileLock | nullcontext[None]:
    """Several processes that make the tables of one new sqlite file at once break it."""
    if (path := sqlite_path(uri)) is None:
        return nullcontext()
    name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return FileLock(Path(tempfile.gettempdir(), f"seqsetvae-{os.getuid()}-{name}.lock"))
