"""Where workers meet: Optuna's storage on sqlite, a journal file or PostgreSQL."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from seqsetvae.errors import InputError
from seqsetvae.extras import require
from seqsetvae.tracking.connection.address import without_password

STORAGE_VARIABLE = "SEQSETVAE_STORAGE"
DEFAULT_STORAGE = "sqlite:///tune.db"
CONNECT_SECONDS = 8
BUSY_SECONDS = 60
"""How long a writer of a sqlite file waits for the others."""


def resolve_storage(given: str | None) -> str:
    """The flag, else SEQSETVAE_STORAGE, else a sqlite file in the working directory; paths made absolute.

    Raises:
        InputError: a kind of storage that is not supported.
    """
    url = given or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE
    scheme, separator, rest = url.partition(":///")
    if scheme in ("sqlite", "journal") and separator and rest:
        return f"{scheme}:///{Path(rest).absolute()}"
    if url.startswith(("postgresql://", "postgresql+psycopg://")):
        require("postgres", f"--tune.storage {without_password(url)}")
        return url
    raise InputError(
        f"--tune.storage is {without_password(url)!r}, but must be sqlite:///FILE, journal:///FILE or postgresql://USER@HOST/DATABASE."
    )


def open_storage(url: str, heartbeat_seconds: int) -> BaseStorage:
    """Connect; a new database gets its tables here.

    Raises:
        InputError: it cannot be reached or used; within about `CONNECT_SECONDS`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # progress is shown by the command itself
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        with exclusive(url, "tables"):  # two that make the tables of a new database at once are in each other's way
            return _connect(url, heartbeat_seconds)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"The storage {without_password(url)} cannot be used: {reason} Start the server, or choose another with --tune.storage or "
            f"{STORAGE_VARIABLE} (sqlite:///tune.db needs no server)."
        ) from error


def _connect(url: str, heartbeat_seconds: int) -> BaseStorage:
    path = _path_of(url)
    if path is not None and not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}.")
    if url.startswith("journal:"):
        return JournalStorage(JournalFileBackend(str(path)))
    sqlite = path is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna calls heartbeats experimental since 2.9
        return RDBStorage(
            url,
            engine_kwargs={
                "connect_args": {"timeout": BUSY_SECONDS} if sqlite else {"connect_timeout": CONNECT_SECONDS},
                "pool_pre_ping": not sqlite,
            },
            heartbeat_interval=heartbeat_seconds,
        )


def close_storage(storage: BaseStorage) -> None:
    """Let go of its connections."""
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def exclusive(url: str, purpose: str) -> Iterator[None]:
    """One process at a time, for one purpose (a study's name).

    On one machine by a file lock, else by a lock of PostgreSQL, which falls when its holder dies.

    Raises:
        StorageInternalError: PostgreSQL cannot be reached, or is lost.
    """
    if (path := _path_of(url)) is not None:
        name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        with FileLock(Path(tempfile.gettempdir(), f"seqsetvae-{os.getuid()}-{name}.lock")):
            yield
        return
    key = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], signed=True)
    address = url.replace("postgresql+psycopg://", "postgresql://", 1)
    import psycopg

    try:
        with psycopg.connect(address, connect_timeout=CONNECT_SECONDS, autocommit=True) as connection:
            connection.execute("select pg_advisory_lock(%s)", (key,))
            yield  # closing the connection releases the lock
    except psycopg.Error as error:
        raise StorageInternalError(str(error)) from error


def _path_of(url: str) -> Path | None:
    scheme, _, rest = url.partition(":///")
    return Path(rest) if scheme in ("sqlite", "journal") else None
