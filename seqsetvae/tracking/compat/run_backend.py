"""Lets a plain `mlflow run . -e pretrain` work where there is no conda.

MLproject declares `conda_env: conda.yaml`, the one declaration that conda, virtualenv, uv and local all accept. Its price: without
`--env-manager` MLflow insists on conda, and no setting of a project or of the environment changes that. So, for this project
alone, and only when neither `--env-manager` was given nor a conda executable is found, the run uses the Python that runs
`mlflow`, and says so in one line.

MLflow loads :class:`CondaFallback` through the entry point `mlflow.run_context_provider` in pyproject.toml each time it is
imported; no other group is loaded early enough. Hence nothing heavy here, and MLflow itself only inside the functions. What is
replaced is one entry of MLflow's table of backends, by a subclass; neither is public, which is one reason for the exact pin of
mlflow in pyproject.toml.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

_log = logging.getLogger(__name__)


class CondaFallback:
    """A run context provider that adds no tags to any run; being made is its whole work."""

    def __init__(self) -> None:
        from mlflow.utils.import_hooks import register_post_import_hook

        register_post_import_hook(_replace_local_backend, "mlflow.projects.backend.loader")

    def in_context(self) -> bool:
        return False

    def tags(self) -> dict[str, str]:
        return {}


def _replace_local_backend(loader: ModuleType) -> None:
    from mlflow.projects.backend.local import LocalBackend
    from mlflow.projects.utils import PROJECT_ENV_MANAGER

    class FallbackBackend(LocalBackend):
        def run(self, project_uri: str, entry: str, params: Any, version: Any, backend_config: Any, *rest: Any) -> Any:
            if backend_config[PROJECT_ENV_MANAGER] is not None or not _lacks_conda(project_uri):
                return super().run(project_uri, entry, params, version, backend_config, *rest)
            _log.warning(f"seqsetvae: no conda found, so this run uses {sys.executable}, as with --env-manager local.")
            local = {**backend_config, PROJECT_ENV_MANAGER: "local"}
            with _first_on_path(Path(sys.executable).parent):
                return super().run(project_uri, entry, params, version, local, *rest)

    loader.MLFLOW_BACKENDS["local"] = FallbackBackend


def _lacks_conda(project_uri: str) -> bool:
    """Whether MLflow would look for conda on behalf of this project, in vain."""
    from mlflow.projects import env_type
    from mlflow.projects.utils import load_project
    from mlflow.utils.conda import get_conda_bin_executable

    if not Path(project_uri).is_dir():
        return False
    project = load_project(project_uri)
    ours = project.name == "seqsetvae" and project.env_type == env_type.CONDA
    return ours and shutil.which(get_conda_bin_executable("conda")) is None


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """MLflow starts `python` from PATH: with `.venv/bin/mlflow` called by its path, that would be another Python."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before
