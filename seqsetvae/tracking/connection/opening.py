"""Opening a tracking store, with an answer within seconds: it works, or a sentence about what is wrong with it."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from filelock import FileLock

from seqsetvae.config import TrackingConfig
from seqsetvae.errors import InputError, StoreError
from seqsetvae.tracking.compat.experiment_page import furnish
from seqsetvae.tracking.compat.moved_store import ARTIFACTS, settle_moved
from seqsetvae.tracking.connection.address import resolve_uri, sqlite_path, without_password
from seqsetvae.tracking.connection.sqlite_file import (
    check_file,
    has_experiment,
    holds_runs,
    make_file,
    make_no_folders,
    put_aside,
)
from seqsetvae.tracking.write.shipper import patience
from seqsetvae.user import ensure_user

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

DEFAULT_EXPERIMENT = "seqsetvae"
OPEN_SECONDS = 8
ELSEWHERE = (
    "choose another store with --tracking.tracking_uri or MLFLOW_TRACKING_URI (sqlite:///mlflow.db needs no server)"
)

KNOWN_TROUBLE = (
    (
        r"error code 40[13]|authentication failed|no password supplied|PERMISSION_DENIED",
        "The tracking store {where} cannot be used: it refuses the login ({reason}). Set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD; of a database, user and password stand in its address.",
    ),
    (
        r"database .* does not exist|Unknown database",
        "There is no such database: {where} ({reason}). Create it, or {elsewhere}.",
    ),
    (
        r"out-of-date database schema|Can.t locate revision",
        "The tracking store {where} was made by another version of MLflow ({reason}). Back it up and run `mlflow db upgrade` on it, or "
        "{elsewhere}.",
    ),
    (
        r"error code 5\d\d|too many \d+ error|INTERNAL_ERROR",
        "The tracking store {where} cannot be used: the server answers with an error ({reason}). Its log says why.",
    ),
    (
        r"error code \d{3}|Expecting value|valid JSON",
        "The tracking store {where} cannot be used: what answers is no MLflow server ({reason}). Check the address, or "
        "{elsewhere}.",
    ),
)
"""What an error says, and what to say of it."""

_log = logging.getLogger(__name__)


def check_place(config: TrackingConfig) -> None:
    """Whether this process may write where the run is to be recorded. Loads nothing heavy: a refusal comes at once.

    Raises:
        InputError: names the folder, or an experiment that is not there.
    """
    if (path := sqlite_path(resolve_uri(config))) is not None:
        check_file(path)
        given = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if given and not config.experiment and not has_experiment(path, given):
            raise no_experiment(given, config)
    folder = Path(config.work_dir).absolute()
    for there in (folder, *folder.parents):
        if there.exists():
            break
    if not there.is_dir():
        raise StoreError(f"--tracking.work_dir {config.work_dir}: {there} is no folder. Name another.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise StoreError(
            f"Cannot write here: {there} is not writable, and --tracking.work_dir {config.work_dir} holds the journal of the run. "
            "Change to another folder, or name another."
        )


@contextmanager
def readable_errors(uri: str) -> Iterator[None]:
    """Turn any failure to use the store into a :class:`StoreError` that names it, within about `OPEN_SECONDS`."""
    try:
        with patience(OPEN_SECONDS):
            yield
    except InputError:
        raise
    except Exception as error:
        raise StoreError(without_password(said(error, without_password(uri)))) from error


def said(error: Exception, where: str) -> str:
    """What is wrong with a store, and what to do about just that."""
    reason = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
    if _silent(error):
        return f"The tracking store {where} cannot be used: nothing answers there ({reason}). Start the server, or {ELSEWHERE}."
    for pattern, sentence in KNOWN_TROUBLE:
        if re.search(pattern, reason):
            return sentence.format(where=where, reason=reason, elsewhere=ELSEWHERE)
    return f"The tracking store {where} cannot be used: {reason}. If that cannot be mended, {ELSEWHERE}."


def _silent(error: BaseException | None) -> bool:
    """Whether nothing has answered. MLflow and SQLAlchemy make an error of their own from that of the connection."""
    while error is not None:
        # Of requests and of Python, by name, so that neither needs to be loaded for it.
        if type(error).__name__ in ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ConnectionRefusedError"):
            return True
        if re.search(r"[Cc]onnection (refused|timed out|timeout)|could not translate host|resolve host", str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def open_store(uri: str) -> MlflowClient:
    """Connect to the store; a new sqlite file gets its tables here.

    Raises :class:`StoreError` when it does not answer within about `OPEN_SECONDS` or cannot be used.
    """
    ensure_user()  # before MLflow is loaded
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # that a new file gets its tables is no news
    with readable_errors(uri), _one_at_a_time(uri):
        if (path := sqlite_path(uri)) is not None:
            return _open_file(path, uri)
        _knock(uri)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
        return client


def _open_file(path: Path, uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    check_file(path)
    if before := settle_moved(path):
        with suppress(OSError):  # nobody reads
            print(
                f"This store was moved here from {before}: its artifacts are those in {path.parent / ARTIFACTS}.",
                flush=True,
            )
    make_no_folders()
    if not path.exists() or not path.stat().st_size:
        make_file(path)
    try:
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except Exception:
        if holds_runs(path):
            raise
        _log.warning("The making of %s was broken off. It is made anew; the old file is now %s.", path, put_aside(path))
        make_file(path)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def _knock(uri: str) -> None:
    """A database that does not answer is refused at once: MLflow would try it for minutes."""
    if uri.startswith(("http", "databricks", "file")) or "://" not in uri:
        return
    import sqlalchemy as sa
    from sqlalchemy.pool import NullPool

    waiting = {"connect_timeout": OPEN_SECONDS} if uri.startswith(("postgresql", "mysql")) else {}
    sa.create_engine(uri, poolclass=NullPool, connect_args=waiting).connect().close()


def _one_at_a_time(uri: str) -> FileLock | nullcontext[None]:
    """Several processes that make the tables of one new sqlite file at once break it."""
    if (path := sqlite_path(uri)) is None:
        return nullcontext()
    name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return FileLock(Path(tempfile.gettempdir(), f"seqsetvae-{os.getuid()}-{name}.lock"))


def resolve_experiment(client: MlflowClient, config: TrackingConfig) -> str:
    """Id of the experiment: the flag, MLFLOW_EXPERIMENT_ID, MLFLOW_EXPERIMENT_NAME, or `seqsetvae`; made if it is missing."""
    from mlflow.exceptions import MlflowException

    if not config.experiment and (given := os.environ.get("MLFLOW_EXPERIMENT_ID")):
        furnish(client, _experiment(client, given, config))
        return given
    name = config.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        # Another process may be faster; any other reason is raised again.
        with suppress(MlflowException):
            _create(client, name, config)
        found = client.get_experiment_by_name(name) or client.get_experiment(_create(client, name, config))
    if found.lifecycle_stage == "deleted":
        raise InputError(
            f"Experiment {name!r} was deleted. Restore it (`mlflow experiments restore -x {found.experiment_id}`) or choose another "
            "with --tracking.experiment."
        )
    furnish(client, found)
    return found.experiment_id


def _experiment(client: MlflowClient, number: str, config: TrackingConfig) -> Experiment:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment(number)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise no_experiment(number, config) from error


def no_experiment(number: str, config: TrackingConfig) -> InputError:
    """What to say of MLFLOW_EXPERIMENT_ID."""
    return InputError(
        f"There is no experiment {number} in {without_password(resolve_uri(config))}: MLFLOW_EXPERIMENT_ID names it. Unset it, or give "
        "the store that has this experiment with --tracking.tracking_uri."
    )


def _create(client: MlflowClient, name: str, config: TrackingConfig) -> str:
    """MLflow puts the artifacts of a file's experiments under `mlruns` in the working directory. It reads a path with `%` in it as
    encoded, which this one is not: there it gets the address.
    """
    if sqlite_path(resolve_uri(config)) is None or "%" not in str(Path.cwd()):
        return client.create_experiment(name)
    return client.create_experiment(
        name, artifact_location=Path.cwd().joinpath("mlruns", quote(name, safe="")).as_uri()
    )
