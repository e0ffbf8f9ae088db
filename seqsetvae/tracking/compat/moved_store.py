"""A sqlite store whose folder was moved or copied: its artifacts are those that lie beside it now.

MLflow stores the place of a run's artifacts as an absolute path. In a folder that has another name since then, files would be looked for,
and worse, written, in the old one.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from seqsetvae.tracking.compat.schema import KNOWN, version_of_file

PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's database that hold a place of artifacts."""
ARTIFACTS = "mlruns"
"""MLflow's own name for the folder of artifacts, in the working directory."""


def settle_moved(database: Path) -> str | None:
    """Set the places right in a database that was moved with its artifacts; return where it was before, or None if it was not moved.

    It was moved if the folder of a run (its id is the only one in the world) lies beside the database, while the database says that it
    lies elsewhere. A database that may not be written, is none of MLflow's or of a version
    that is not known, is left as it is.
    """
    here = database.parent
    if not database.is_file() or not (here / ARTIFACTS).is_dir():
        return None
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(database, timeout=5.0)) as connection, connection:
        before = _old_place(connection, here) if version_of_file(connection) in KNOWN else None
        if before is None:
            return None
        for table, column in PLACES:
            for scheme in ("", "file://"):
                old, new = f"{scheme}{before}/{ARTIFACTS}/", f"{scheme}{here}/{ARTIFACTS}/"
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, len(old), old),
                )
        return before
    return None


def _old_place(connection: sqlite3.Connection, here: Path) -> str | None:
    """The folder from which a run beside the database has come."""
    rows = connection.execute("SELECT run_uuid, experiment_id, artifact_uri FROM runs").fetchall()
    for run_id, experiment_id, uri in rows:
        path, tail = str(uri).removeprefix("file://"), f"/{ARTIFACTS}/{experiment_id}/{run_id}/artifacts"
        if not path.startswith("/") or not path.endswith(tail):
            continue
        before = path.removesuffix(tail)
        if before != str(here) and (here / tail[1:]).is_dir() and not _same(Path(before), here):
            return before
    return None


def _same(one: Path, other: Path) -> bool:
    """Whether two names mean one folder."""
    try:
        return one.samefile(other)
    except OSError:
        return False
