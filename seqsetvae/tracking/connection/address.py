"""Addresses of stores: as they are used, and as they may be written and printed, which is without a password."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from seqsetvae.config import TrackingConfig
from seqsetvae.errors import MlflowStoreError
from seqsetvae.extras import require

MASK = "***"
SECRET_FIELD = re.compile(r"(?i)([?&][^=&\s]*(?:pass|pwd|token|secret|key)[^=&\s]*=)[^&\s'\"]+")
LOGIN = re.compile(r"([a-z][a-z0-9+.-]*://[^\s/:@'\"]*):([^\s/'\"]+)@", re.IGNORECASE)


def resolve_uri(config: TrackingConfig) -> str:
    """The flag, else MLFLOW_TRACKING_URI, else `mlflow.db` in the working directory; as :func:`usable` makes it."""
    return usable(config.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")


def usable(uri: str, *others: str | None) -> str:
    """An address that MLflow's client takes, from one that was given or recorded.

    Paths of sqlite files are made absolute. The login of a server leaves the address for the environment, where MLflow looks for it
    (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD), and where it is in no message and no record. What was recorded without the
    password of a database gets it back from `others` or MLFLOW_TRACKING_URI, if one of these is that address.

    Raises:
        MlflowStoreError: the password is not at hand.
    """
    if (path := sqlite_path(uri)) is not None:
        return sqlite_uri(path)
    known = [uri, *others, os.environ.get("MLFLOW_TRACKING_URI")]
    same = [one for one in known if one and recorded_uri(one) == recorded_uri(uri)]
    if uri.startswith(("http://", "https://")):
        for one in same:
            login = urlsplit(one)
            if login.username is not None and login.password != MASK:
                os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(login.username)
                os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(login.password or "")
                break
        return recorded_uri(uri)
    if uri.startswith("postgresql"):
        require("postgres", f"The store {recorded_uri(uri)}")
    if f":{MASK}@" not in uri:
        return uri
    for one in same:
        if f":{MASK}@" not in one:
            return one
    raise MlflowStoreError(
        f"The address {uri} was recorded without its password. Give the whole address with --tracking.tracking_uri or "
        "MLFLOW_TRACKING_URI."
    )


def recorded_uri(uri: str) -> str:
    """As it may be written anywhere: a server without login, a database without password.

    >>> recorded_uri("https://me:secret@host:5000/mlflow"), recorded_uri("postgresql://me:secret@db/mlflow")
    ('https://host:5000/mlflow', 'postgresql://me:***@db/mlflow')
    """
    if uri.startswith(("http://", "https://")):
        parts = urlsplit(uri)
        return without_password(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
    return without_password(uri)


def recorded(config: TrackingConfig) -> TrackingConfig:
    """The settings of a store as they may be recorded with a run."""
    return replace(config, tracking_uri=recorded_uri(config.tracking_uri)) if config.tracking_uri else config


def without_password(text: str) -> str:
    """An address, or any text with addresses in it, as it may be printed.

    >>> without_password("no answer from postgresql://me:a@b:c@db/mlflow?sslpassword=x&a=b")
    'no answer from postgresql://me:***@db/mlflow?sslpassword=***&a=b'
    """
    return SECRET_FIELD.sub(rf"\1{MASK}", LOGIN.sub(rf"\1:{MASK}@", text))


def sqlite_path(uri: str) -> Path | None:
    """The file of a sqlite store, absolute; None for any other store.

    In an address `%3F` stands for `?`; but who types an address, or a program that puts it together from a path, may well mean the
    characters as they stand. Where only one of the two readings names a folder that is there, it is that one.
    """
    found = re.fullmatch(r"sqlite(?:\+\w+)?:///(.*?)(?:\?\w+=.*)?", uri, re.DOTALL)
    if found is None:
        return None
    literal, decoded = Path(found[1]).absolute(), Path(unquote(found[1])).absolute()
    return literal if literal.parent.is_dir() and not decoded.parent.is_dir() else decoded


def sqlite_uri(path: Path) -> str:
    """The address of a sqlite store: SQLAlchemy reads `%` and `?` in one as more than characters.

    >>> sqlite_uri(Path("/runs/50% done?/mlflow.db"))
    'sqlite:////runs/50%25 done%3F/mlflow.db'
    """
    return "sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F")


def local_folder(artifact_uri: str) -> Path | None:
    """The folder of this machine that an address of artifacts means, or None: as MLflow reads it, which takes seconds to load.

    >>> local_folder("file:///runs/50%25/artifacts"), local_folder("s3://bucket/artifacts")
    (PosixPath('/runs/50%/artifacts'), None)
    """
    parts = urlsplit(artifact_uri)
    if not artifact_uri or parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path if parts.scheme else artifact_uri)).absolute()
