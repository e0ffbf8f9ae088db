"""The alerts of a run, read back from the table that its monitor has left among the artifacts."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqsetvae import names
from seqsetvae.tracking.connection.address import local_folder
from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.tracking.connection.trouble import readable_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient


def read_alerts(uri: str, run_id: str, artifact_uri: str) -> tuple[dict[str, Any], ...]:
    """Rows, oldest first; none where there was no alert or nobody watched."""
    folder = local_folder(artifact_uri)
    return download_alerts(uri, run_id) if folder is None else alerts_in(folder)


def alerts_in(folder: Path) -> tuple[dict[str, Any], ...]:
    """Of a run whose artifacts lie in a folder of this machine."""
    path = folder / names.ARTIFACT_ALERTS
    return table_rows(path.read_text(encoding="utf-8")) if path.is_file() else ()


def download_alerts(uri: str, run_id: str) -> tuple[dict[str, Any], ...]:
    """Of a run whose artifacts lie elsewhere."""
    client: MlflowClient = open_client(uri)
    with readable_errors(uri), tempfile.TemporaryDirectory() as folder:
        if names.ARTIFACT_ALERTS not in [one.path for one in client.list_artifacts(run_id, names.ARTIFACT_COLLAPSE)]:
            return ()
        return alerts_in(Path(client.download_artifacts(run_id, names.ARTIFACT_COLLAPSE, folder)).parent)


def table_rows(text: str) -> tuple[dict[str, Any], ...]:
    """Rows of a table as MLflow stores one.

    >>> table_rows('{"columns": ["step", "level"], "data": [[10, "yellow"]]}')
    ({'step': 10, 'level': 'yellow'},)
    """
    table = json.loads(text)
    return tuple(dict(zip(table["columns"], row, strict=True)) for row in table["data"])
