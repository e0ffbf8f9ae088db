"""What is wrong with a store that cannot be used, in a sentence and within seconds."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from seqsetvae.errors import InputError, MlflowStoreError
from seqsetvae.tracking.connection.address import without_password

REQUEST_SECONDS = 30
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
        "The tracking store {where} was made by another version of MLflow ({reason}). If by a newer one, use that; if by an older one, "
        "back the store up and run `mlflow db upgrade` on it; or {elsewhere}.",
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


@contextmanager
def readable_errors(uri: str) -> Iterator[None]:
    """Turn any failure to use the store into a :class:`MlflowStoreError` that names it, within about `OPEN_SECONDS`."""
    try:
        with patience(OPEN_SECONDS):
            yield
    except InputError:
        raise
    except Exception as error:
        raise MlflowStoreError(without_password(said(error, without_password(uri)))) from error


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


@contextmanager
def patience(seconds: int) -> Iterator[None]:
    """Let MLflow's HTTP client notice a dead server within `seconds`; what the user has set in the environment wins."""
    wanted = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def set_patience() -> None:
    """Short HTTP timeouts for the life of this process: the shipper does its own retries, and for ever."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_SECONDS))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # Run prints its own link.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # A locked database is no news here, but MLflow prints a traceback for it.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
