"""Which MLflow store and experiment this command writes to, and opening them with an answer within seconds."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock

from seqsetvae.config import TrackingConfig
from seqsetvae.errors import InputError
from seqsetvae.tracking.experiment_page import furnish
from seqsetvae.tracking.shipper import patience

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_EXPERIMENT = "seqsetvae"
OPEN_SECONDS = 8


def resolve_uri(config: TrackingConfig) -> str:
    """The flag, else MLFLOW_TRACKING_URI, else `mlflow.db` in the working directory; sqlite paths made absolute."""
    uri = config.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if (path := sqlite_path(uri)) is not None:
        return f"sqlite:///{path}"
    return uri


def sqlite_path(uri: str) -> Path | None:
    """The file of a sqlite store, else None."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def without_password(uri: str) -> str:
    """The address as it may be printed."""
    parts = urlsplit(uri)
    return uri.replace(f":{parts.password}@", ":***@") if parts.password else uri


@contextmanager
def readable_errors(uri: str) -> Iterator[None]:
    """Turn any failure to use the store into an :class:`InputError` that names it, within about `OPEN_SECONDS`."""
    try:
        with patience(OPEN_SECONDS):
            yield
    except InputError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"The tracking store {without_password(uri)} cannot be used: {reason} Start the server, or choose another store with "
            "--tracking.tracking_uri or MLFLOW_TRACKING_URI (sqlite:///mlflow.db needs no server)."
        ) from error


def open_store(uri: str) -> MlflowClient:
    """Connect to the store; a new sqlite file gets its tables here.

    Raises :class:`InputError` when it does not answer within about `OPEN_SECONDS` or cannot be used.
    """
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # that a new file gets its tables is no news
    with readable_errors(uri), _one_at_a_time(uri):
        if (path := sqlite_path(uri)) is not None and not path.parent.is_dir():
            raise InputError(
                f"The tracking store {uri} lies in a folder that does not exist. Create {path.parent} first."
            )
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
        return client


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
        furnish(client, client.get_experiment(given))
        return given
    name = config.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        # Another process may be faster; any other reason is raised again.
        with suppress(MlflowException):
            client.create_experiment(name)
        found = client.get_experiment_by_name(name) or client.get_experiment(client.create_experiment(name))
    if found.lifecycle_stage == "deleted":
        raise InputError(
            f"Experiment {name!r} was deleted. Restore it (`mlflow experiments restore -x {found.experiment_id}`) or choose another "
            "with --tracking.experiment."
        )
    furnish(client, found)
    return found.experiment_id
