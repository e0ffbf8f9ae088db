"""What a command names in a store: an experiment, a run."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from seqsetvae.config import TrackingConfig
from seqsetvae.errors import InputError
from seqsetvae.tracking.compat.experiment_page import furnish
from seqsetvae.tracking.connection.address import resolve_uri, sqlite_path, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as StoredRun

DEFAULT_EXPERIMENT = "seqsetvae"


def get_run(client: MlflowClient, uri: str, run_id: str) -> StoredRun:
    """A run of a store. Raises :class:`InputError` where there is none of this id; any other trouble is MLflow's exception."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise InputError(
            f"There is no run {run_id} in {without_password(uri)}. Run ids stand in the MLflow UI and in what `pretrain` prints; "
            "another store is chosen with --tracking.tracking_uri."
        ) from error


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
    """Where the artifacts of an experiment of a file go.

    MLflow puts them under `mlruns` in the working directory. It reads a path with `%` in it as encoded, which this one is not: there it
    gets the address.
    """
    if sqlite_path(resolve_uri(config)) is None or "%" not in str(Path.cwd()):
        return client.create_experiment(name)
    return client.create_experiment(
        name, artifact_location=Path.cwd().joinpath("mlruns", quote(name, safe="")).as_uri()
    )
