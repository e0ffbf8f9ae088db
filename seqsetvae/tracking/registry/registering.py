"""A model into the registry: a folder under its run becomes the next version of a name.

Everything goes through a client of one store: the fluent API's global state would end up in the caller's own runs.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqsetvae import names
from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.tracking.connection.trouble import readable_errors
from seqsetvae.tracking.registry.requirements import constraints, requirements
from seqsetvae.tracking.registry.versions import Registered, registered

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = Path(__file__).parents[2]
DEMO = "code/seqsetvae/data/demo"
"""Where the demo data lie in a saved model's copy of the package. They are no part of it."""


@dataclass(frozen=True)
class Candidate:
    """A model that is ready to be registered."""

    name: str
    folder: Path
    """Weights and description, as :mod:`seqsetvae.training.pretrained.exported` writes them."""
    code: Path
    """File that serves the folder: models from code, nothing is pickled."""
    run_id: str
    tags: Mapping[str, str]
    example: pd.DataFrame
    """A table of events."""
    output: Mapping[str, Any]
    """Columns that serving gives, by name: the type as MLflow calls it."""
    description: str
    """Of the version, Markdown."""
    card: str
    """Of the registered model, Markdown; one that somebody has written stays."""


def register(tracking_uri: str, candidate: Candidate) -> Registered:
    """Upload a model under its run and make it the next version of its name. Takes about half a second on a local store.

    Raises:
        InputError: the store cannot be used.
    """
    client = open_client(tracking_uri)
    with readable_errors(tracking_uri), _quiet_mlflow(), tempfile.TemporaryDirectory() as scratch:
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException

        experiment_id = client.get_run(candidate.run_id).info.experiment_id
        logged = client.create_logged_model(
            experiment_id, candidate.name, candidate.run_id, tags=dict(candidate.tags), model_type="seqsetvae"
        )
        try:
            _save(candidate, Path(scratch) / "model", logged.model_id, logged.artifact_location)
            for spare in [Path(scratch, "model", DEMO), *Path(scratch, "model").rglob("__pycache__")]:
                shutil.rmtree(spare, ignore_errors=True)
            client.log_model_artifacts(logged.model_id, str(Path(scratch) / "model"))
        except BaseException:
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(candidate.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        try:
            client.create_registered_model(candidate.name, description=candidate.card)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            if not client.get_registered_model(candidate.name).description:
                client.update_registered_model(candidate.name, candidate.card)
        made = client.create_model_version(
            candidate.name,
            logged.artifact_location,  # with models:/ID the registry would look in the store of the process's own settings
            candidate.run_id,
            tags=dict(candidate.tags),
            description=candidate.description,
            model_id=logged.model_id,
        )
        return registered(made)


def _save(candidate: Candidate, folder: Path, model_id: str, location: str) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import AnyType, ColSpec, Schema

    # Of any type: MLflow would refuse a whole table for one cell, and numbers for names of subjects. The model checks row by row, and
    # says itself which column is missing: MLflow would print the schema and the table.
    events = Schema([ColSpec(AnyType(), name, required=False) for name in names.EVENT_COLUMNS])
    pinned = folder.with_name("constraints.txt")
    pinned.write_text("\n".join(constraints()), encoding="utf-8")
    mlflow.pyfunc.save_model(
        path=str(folder),
        mlflow_model=Model(artifact_path=location, run_id=candidate.run_id, model_uuid=model_id, model_id=model_id),
        python_model=str(candidate.code),
        model_config={"model": f"{candidate.name}, model id {model_id}"},
        artifacts={"model": str(candidate.folder)},
        code_paths=[str(PACKAGE)],
        signature=ModelSignature(events, Schema([ColSpec(kind, name) for name, kind in candidate.output.items()])),
        input_example=candidate.example,
        pip_requirements=[*requirements(), f"-c {pinned}"],
    )


@contextmanager
def _quiet_mlflow() -> Iterator[None]:
    """MLflow reports each step of this as if it were news."""
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR

    loud = [logging.getLogger(name) for name in ("mlflow.models.model", "mlflow.pyfunc", "mlflow.store.model_registry")]
    before = [logger.level for logger in loud]
    for logger in loud:
        logger.setLevel(logging.ERROR)
    shown = MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.get_raw()
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its own type hints when it is imported, and its own use of pandas
            yield
    finally:
        if shown is None:
            MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.unset()
        else:
            MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(shown)
        for logger, level in zip(loud, before, strict=True):
            logger.setLevel(level)


def float_array() -> Any:
    """The type of a column that holds a list of numbers."""
    from mlflow.types.schema import Array, DataType

    return Array(DataType.double)
