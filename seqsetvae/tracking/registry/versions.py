"""MLflow's model registry: folders in, versions out, and an alias that moves only on purpose.

Everything goes through a client of one store: the fluent API's global state would end up in the caller's own runs.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqsetvae import names
from seqsetvae.errors import InputError
from seqsetvae.tracking.connection.address import local_folder, without_password
from seqsetvae.tracking.connection.opening import check_there, open_store
from seqsetvae.tracking.connection.trouble import readable_errors
from seqsetvae.tracking.registry.requirements import constraints, requirements

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

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


@dataclass(frozen=True)
class Registered:
    """A version of a registered model."""

    name: str
    version: str
    model_id: str
    run_id: str
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


def register(tracking_uri: str, candidate: Candidate) -> Registered:
    """Upload a model under its run and make it the next version of its name. Takes about half a second on a local store.

    Raises:
        InputError: the store cannot be used.
    """
    client = open_store(tracking_uri)
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
        return _registered(made)


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


def champion(tracking_uri: str, name: str) -> Registered | None:
    """The version that carries the alias, or None."""
    from mlflow.exceptions import MlflowException

    client = open_store(tracking_uri)
    try:
        return _registered(client.get_model_version_by_alias(name, names.ALIAS_CHAMPION))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def make_champion(tracking_uri: str, version: Registered) -> None:
    """Move the alias to a version."""
    open_store(tracking_uri).set_registered_model_alias(version.name, names.ALIAS_CHAMPION, version.version)


def versions_of(tracking_uri: str, name: str, run_id: str) -> list[Registered]:
    """The versions of a name that come from a run."""
    found = open_store(tracking_uri).search_model_versions(f"name = '{name}'")
    return [_registered(one) for one in found if one.run_id == run_id]


def find_version(tracking_uri: str, uri: str) -> Registered:
    """The version that `models:/name@alias` or `models:/name/number` means. Raises :class:`InputError` if there is none."""
    from mlflow.exceptions import MlflowException

    parts = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
    if parts is None:
        raise InputError(
            f"{uri} is not the address of a model version: write models:/NAME@{names.ALIAS_CHAMPION} or models:/NAME/3."
        )
    name, alias, number = parts.groups()
    check_there(tracking_uri)
    client = open_store(tracking_uri)
    try:
        if alias:
            return _registered(client.get_model_version_by_alias(name, alias))
        return _registered(client.get_model_version(name, number))
    except MlflowException as error:
        raise InputError(
            f"{uri}: there is no such model version in {without_password(tracking_uri)}. {_known(client)}"
        ) from error


def model_folder(tracking_uri: str, version: Registered) -> Path:
    """Where the folder of a version lies on this machine, downloaded if need be. Raises :class:`InputError`."""
    from mlflow.artifacts import download_artifacts

    client = open_store(tracking_uri)
    with readable_errors(tracking_uri):
        location = client.get_logged_model(version.model_id).artifact_location
        folder = local_folder(location)
        if folder is None:
            folder = Path(download_artifacts(artifact_uri=location, tracking_uri=tracking_uri))
    return folder / "artifacts" / "model" if (folder / "artifacts" / "model").is_dir() else folder / "artifacts"


def tag_version(tracking_uri: str, version: Registered, tags: Mapping[str, str]) -> None:
    """Add to what a version is known by."""
    client = open_store(tracking_uri)
    with readable_errors(tracking_uri):
        for key, value in tags.items():
            client.set_model_version_tag(version.name, version.version, key, value)


def record_input(tracking_uri: str, run_id: str, version: Registered) -> None:
    """Lineage: the run has used this model version."""
    from mlflow.entities import LoggedModelInput

    with readable_errors(tracking_uri):
        open_store(tracking_uri).log_inputs(run_id, models=[LoggedModelInput(model_id=version.model_id)])


def _known(client: MlflowClient) -> str:
    found = [one.name for one in client.search_registered_models(max_results=20)]
    return (
        f"Registered are: {', '.join(found)}."
        if found
        else "Nothing is registered there yet: `seqsetvae register --run RUN_ID`."
    )


def _registered(found: ModelVersion) -> Registered:
    # `model_id` is empty in what the registry gives back; the place of its artifacts holds it as well.
    model_id = re.search(r"m-[0-9a-f]{32}", str(found.source))
    return Registered(
        found.name, str(found.version), model_id[0] if model_id else "", str(found.run_id), dict(found.tags)
    )


def float_array() -> Any:
    """The type of a column that holds a list of numbers."""
    from mlflow.types.schema import Array, DataType

    return Array(DataType.double)
