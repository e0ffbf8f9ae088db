"""The versions of registered models: found, tagged, brought onto this machine, and an alias that moves only on purpose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seqsetvae import names
from seqsetvae.errors import InputError
from seqsetvae.tracking.connection.address import local_folder, without_password
from seqsetvae.tracking.connection.opening import check_there, open_client
from seqsetvae.tracking.connection.trouble import readable_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


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


def champion(tracking_uri: str, name: str) -> Registered | None:
    """The version that carries the alias, or None."""
    from mlflow.exceptions import MlflowException

    client = open_client(tracking_uri)
    try:
        return registered(client.get_model_version_by_alias(name, names.ALIAS_CHAMPION))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def make_champion(tracking_uri: str, version: Registered) -> None:
    """Move the alias to a version."""
    open_client(tracking_uri).set_registered_model_alias(version.name, names.ALIAS_CHAMPION, version.version)


def versions_of(tracking_uri: str, name: str, run_id: str) -> list[Registered]:
    """The versions of a name that come from a run."""
    found = open_client(tracking_uri).search_model_versions(f"name = '{name}'")
    return [registered(one) for one in found if one.run_id == run_id]


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
    client = open_client(tracking_uri)
    try:
        if alias:
            return registered(client.get_model_version_by_alias(name, alias))
        return registered(client.get_model_version(name, number))
    except MlflowException as error:
        raise InputError(
            f"{uri}: there is no such model version in {without_password(tracking_uri)}. {_known(client)}"
        ) from error


def model_folder(tracking_uri: str, version: Registered) -> Path:
    """Where the folder of a version lies on this machine, downloaded if need be. Raises :class:`InputError`."""
    from mlflow.artifacts import download_artifacts

    client = open_client(tracking_uri)
    with readable_errors(tracking_uri):
        location = client.get_logged_model(version.model_id).artifact_location
        folder = local_folder(location)
        if folder is None:
            folder = Path(download_artifacts(artifact_uri=location, tracking_uri=tracking_uri))
    return folder / "artifacts" / "model" if (folder / "artifacts" / "model").is_dir() else folder / "artifacts"


def tag_version(tracking_uri: str, version: Registered, tags: Mapping[str, str]) -> None:
    """Add to what a version is known by."""
    client = open_client(tracking_uri)
    with readable_errors(tracking_uri):
        for key, value in tags.items():
            client.set_model_version_tag(version.name, version.version, key, value)


def record_input(tracking_uri: str, run_id: str, model_id: str) -> None:
    """Lineage: the run has used this model version."""
    from mlflow.entities import LoggedModelInput

    with readable_errors(tracking_uri):
        open_client(tracking_uri).log_inputs(run_id, models=[LoggedModelInput(model_id=model_id)])


def _known(client: MlflowClient) -> str:
    found = [one.name for one in client.search_registered_models(max_results=20)]
    return (
        f"Registered are: {', '.join(found)}."
        if found
        else "Nothing is registered there yet: `seqsetvae register --run RUN_ID`."
    )


def registered(found: ModelVersion) -> Registered:
    """A version as the client gives it."""
    # `model_id` is empty in what the registry gives back; the place of its artifacts holds it as well.
    model_id = re.search(r"m-[0-9a-f]{32}", str(found.source))
    return Registered(
        found.name, str(found.version), model_id[0] if model_id else "", str(found.run_id), dict(found.tags)
    )
