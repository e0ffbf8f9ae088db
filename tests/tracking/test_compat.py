"""What compat/ leans on inside MLflow is there, and does what is relied on: an upgrade of MLflow that changes it fails here, by name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from mlflow import MlflowClient
from mlflow.entities import Metric

from seqsetvae.tracking.compat import experiment_page, sqlite_tables, tables
from seqsetvae.tracking.compat.image_series import image_series
from seqsetvae.tracking.compat.moved_store import PLACES
from seqsetvae.tracking.compat.run_backend import _replace_local_backend
from seqsetvae.tracking.compat.schema import KNOWN, MAKING
from seqsetvae.tracking.compat.server import LARGEST_ANSWER, context_tags, newest_points, points_between
from seqsetvae.tracking.compat.system_monitors import make_monitors
from seqsetvae.tracking.connection.address import local_folder


def parameters(function) -> list[str]:
    return list(inspect.signature(inspect.unwrap(function)).parameters)


def versions_of_mlflow() -> list[str]:
    """The versions of its database, first to last."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    return [one.revision for one in ScriptDirectory.from_config(_get_alembic_config("")).walk_revisions()][::-1]


def test_every_version_of_its_database_is_known():
    """A newer MLflow: look at its migrations; where the tables that are read stay as they are, add its versions to compat/schema.py."""
    versions = versions_of_mlflow()
    assert set(versions) == KNOWN | MAKING
    assert versions[: len(MAKING)] == sorted(MAKING, key=versions.index)


def columns(engine: sa.Engine) -> set[tuple[str, str]]:
    look = sa.inspect(engine)
    return {(table, column["name"]) for table in look.get_table_names() for column in look.get_columns(table)}


@pytest.mark.slow
def test_a_database_of_each_known_version_has_the_columns_that_are_read(tmp_path):
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base

    uri = f"sqlite:///{tmp_path / 'growing.db'}"
    engine = sa.create_engine(uri, poolclass=sa.pool.NullPool)
    Base.metadata.create_all(engine)
    read = {(table.name, column.name) for table in tables.READ for column in table.columns}
    for version in versions_of_mlflow():
        command.upgrade(_get_alembic_config(uri), version)
        if version in KNOWN:
            assert read <= columns(engine), version
    assert set(PLACES) <= columns(engine), "where artifacts lie"


def test_the_run_backend_is_an_entry_of_a_table_that_is_asked_for_each_run():
    from mlflow.projects import env_type
    from mlflow.projects.backend import loader
    from mlflow.projects.backend.local import LocalBackend
    from mlflow.projects.utils import PROJECT_ENV_MANAGER, load_project
    from mlflow.utils.conda import get_conda_bin_executable
    from mlflow.utils.import_hooks import register_post_import_hook

    assert parameters(LocalBackend.run)[:6] == [
        "self",
        "project_uri",
        "entry_point",
        "params",
        "version",
        "backend_config",
    ]
    _replace_local_backend(loader)
    assert type(loader.load_backend("local")) is loader.MLFLOW_BACKENDS["local"]
    assert issubclass(loader.MLFLOW_BACKENDS["local"], LocalBackend)
    assert callable(register_post_import_hook)
    project = load_project(str(Path(__file__).parents[2]))
    assert (project.name, project.env_type) == ("seqsetvae", env_type.CONDA)
    assert get_conda_bin_executable("conda")
    assert PROJECT_ENV_MANAGER in inspect.getsource(LocalBackend)


def test_the_scoring_server_calls_what_is_replaced_by_its_name_in_the_module():
    from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT
    from mlflow.pyfunc import scoring_server
    from mlflow.store.artifact.models_artifact_repo import REGISTERED_MODEL_META_FILE_NAME, ModelsArtifactRepository

    invocations = inspect.unwrap(scoring_server.invocations)
    assert parameters(invocations) == ["data", "content_type", "model", "input_schema"]
    assert parameters(scoring_server.infer_and_parse_data) == ["data", "schema"]
    assert parameters(scoring_server.parse_csv_input) == ["csv_input", "schema"]
    source = inspect.getsource(scoring_server)
    for called in ("invocations", "infer_and_parse_data", "parse_csv_input"):
        assert re.search(rf"(?<!def )\b{called}\(|\(\s*{called},", source), called
    assert _MLFLOW_IS_IN_SERVING_ENVIRONMENT.get() is None
    assert "model_version" in inspect.getsource(ModelsArtifactRepository)
    assert REGISTERED_MODEL_META_FILE_NAME in {"registered_model_meta"}


def test_connections_to_a_file_are_kept_until_they_are_forgotten(store):
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    MlflowClient(store).search_experiments()
    assert store in SqlAlchemyStore._engine_map
    sqlite_tables.forget_engine(store)
    assert store not in SqlAlchemyStore._engine_map


def test_the_folder_of_a_new_file_is_made_by_a_function_of_its_own(monkeypatch):
    from mlflow.store.db import utils

    monkeypatch.setattr(utils, "_make_parent_dirs_if_sqlite", utils._make_parent_dirs_if_sqlite)
    sqlite_tables.make_no_folders()
    assert parameters(utils._make_parent_dirs_if_sqlite) == ["db_uri"]
    assert "_make_parent_dirs_if_sqlite(" in inspect.getsource(utils)


def test_a_server_answers_points_from_a_step_on_and_the_client_has_the_newest(server):
    from mlflow.server.handlers import MAX_RESULTS_PER_RUN

    assert LARGEST_ANSWER == MAX_RESULTS_PER_RUN
    client = MlflowClient(server.uri)
    run_id = client.create_run(client.create_experiment("compat")).info.run_id
    client.log_batch(run_id, [Metric("loss", step / 2, 1000 * step, step) for step in range(10)])
    found = points_between(server.uri, run_id, "loss", 7, 9)
    assert [(one["step"], one["timestamp"], one["value"]) for one in found] == [
        (7, 7000, 3.5),
        (8, 8000, 4.0),
        (9, 9000, 4.5),
    ]
    assert newest_points(client.get_run(run_id)) == {"loss": (9, 9000, 4.5)}


def test_the_newest_points_of_a_run_in_a_file(store):
    client = MlflowClient(store)
    run_id = client.create_run("0").info.run_id
    client.log_batch(run_id, [Metric("loss", step / 2, 1000 * step, step) for step in (3, 5)])
    assert newest_points(client.get_run(run_id)) == {"loss": (5, 5000, 2.5)}


def test_the_tags_of_a_context_name_user_and_source(tmp_path):
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= context_tags(str(tmp_path)).keys()


def test_the_monitors_measure_without_their_thread():
    values: dict[str, Any] = {}
    for monitor in make_monitors():
        monitor.collect_metrics()
        values |= monitor.aggregate_metrics()
        monitor.clear_metrics()
    assert {"cpu_utilization_percentage", "system_memory_usage_megabytes", "disk_usage_percentage"} <= values.keys()
    assert any(key.startswith("network_") for key in values)


def test_an_image_has_the_name_that_the_client_gives_one(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import io

    from PIL import Image

    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "png")
    client = MlflowClient(store)
    run_id = client.create_run("0").info.run_id
    client.log_image(run_id, Image.open(content), key="a/b", step=3, timestamp=4000, synchronous=True)
    theirs = {re.sub(r"[0-9a-f-]{36}", "ID", one.path) for one in client.list_artifacts(run_id, "images")}
    assert {
        path.replace("unique", "ID") for path in image_series(content.getvalue(), "a/b", 3, 4000, "unique")
    } == theirs
    assert client.get_run(run_id).data.tags["mlflow.loggedImages"] == "True"


def test_tables_and_notes_are_known_by_these_tags():
    from mlflow.utils import mlflow_tags

    known = (mlflow_tags.MLFLOW_LOGGED_ARTIFACTS, mlflow_tags.MLFLOW_RUN_NOTE, mlflow_tags.MLFLOW_PARENT_RUN_ID)
    assert known == ("mlflow.loggedArtifacts", "mlflow.note.content", "mlflow.parentRunId")


def test_the_page_knows_saved_views_kinds_of_experiments_and_pictures_in_notes():
    import mlflow.server

    scripts = [path.read_text(errors="replace") for path in Path(mlflow.server.__file__).parent.rglob("build/**/*.js")]
    for word in ("mlflow.sharedViewState", "viewStateShareKey", "compareRunsMode", "deflate;", "get-artifact"):
        assert any(word in script for script in scripts), word
    for word in (experiment_page.TAG_KIND, experiment_page.TRAINING, *experiment_page._state()):
        assert any(word in script for script in scripts), word


@pytest.mark.parametrize(
    "address",
    ["/a/b c/50%25", "/a/b?", "file:///a/b%20c", "file:///a/%C3%A4", "file:/a/b", "relative/mlruns", "/a/x#y"],
)
def test_an_address_of_artifacts_is_the_folder_that_mlflow_takes_it_for(address):
    from mlflow.utils.file_utils import local_file_uri_to_path

    assert local_folder(address) == Path(local_file_uri_to_path(address)).absolute()


@pytest.mark.parametrize("address", ["", "s3://bucket/a", "mlflow-artifacts:/0/ab/artifacts", "http://host/a"])
def test_an_address_elsewhere_is_no_folder(address):
    assert local_folder(address) is None
