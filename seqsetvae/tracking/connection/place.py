"""Whether a run can be recorded where it is to be: asked before anything heavy is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from seqsetvae.config import TrackingConfig
from seqsetvae.errors import MlflowStoreError
from seqsetvae.tracking.compat.sqlite_tables import has_experiment
from seqsetvae.tracking.connection.address import resolve_uri, sqlite_path
from seqsetvae.tracking.connection.lookup import no_experiment
from seqsetvae.tracking.connection.sqlite_file import check_file, require_writable


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
        raise MlflowStoreError(f"--tracking.work_dir {config.work_dir}: {there} is no folder. Name another.")
    require_writable(there, f"--tracking.work_dir {config.work_dir} holds the journal of the run", "or name another")
