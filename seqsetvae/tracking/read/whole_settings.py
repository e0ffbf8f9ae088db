"""All settings of a run, read back: its params are few, and the rest stands in its `config.yaml`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from seqsetvae import names
from seqsetvae.tracking.connection.address import local_folder
from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.tracking.connection.trouble import readable_errors
from seqsetvae.tracking.params import flatten
from seqsetvae.tracking.read.recorded_run import RecordedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

MANY = 80
"""Params of a run of before: they are all of its settings."""


def whole_settings(uri: str, run: RecordedRun) -> Mapping[str, str]:
    """The params of a run, and below them what its file of settings says; the params alone where there is none, or none of ours."""
    if names.TAG_KIND not in run.tags or run.imported or len(run.params) >= MANY:
        return run.params
    folder = local_folder(run.artifact_uri)
    found = _download(uri, run.run_id) if folder is None else _read(folder)
    return {**found, **run.params}


def _read(folder: Path) -> dict[str, str]:
    import yaml  # only where there is something to read

    try:
        groups = yaml.load((folder / names.ARTIFACT_CONFIG).read_text(encoding="utf-8"), yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}  # it has not arrived yet, or is being written
    if not isinstance(groups, dict):
        return {}
    return flatten({group: settings for group, settings in groups.items() if isinstance(settings, dict)})


def _download(uri: str, run_id: str) -> dict[str, str]:
    client: MlflowClient = open_client(uri)
    with readable_errors(uri), tempfile.TemporaryDirectory() as folder:
        if names.ARTIFACT_CONFIG not in [one.path for one in client.list_artifacts(run_id)]:
            return {}
        return _read(Path(client.download_artifacts(run_id, names.ARTIFACT_CONFIG, folder)).parent)
