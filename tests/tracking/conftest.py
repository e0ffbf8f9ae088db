"""Real stores: a fresh sqlite file for each test, one real `mlflow server` for the session behind a proxy that can misbehave."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seqsetvae.config import TrackingConfig
from seqsetvae.tracking.write import lane
from seqsetvae.tracking.write.run import Run
from seqsetvae.tracking.write.start import start_run
from tests.support.mlflow_server import MlflowServer, Proxy

with warnings.catch_warnings():
    # MLflow's import hooks are written for an older Python; tests run with warnings as errors.
    warnings.simplefilter("ignore")
    import mlflow  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """MLflow 3.17 uses what SQLAlchemy 2.1 deprecates; tests run with warnings as errors."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"))


@pytest.fixture(autouse=True)
def _clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory and MLflow variables of the test's own; short pauses, so that a returned server is noticed at once."""
    monkeypatch.chdir(tmp_path)
    for name in ("TRACKING_URI", "RUN_ID", "EXPERIMENT_ID", "EXPERIMENT_NAME"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)
    # Set here first, so that what start_run sets for its process is undone after the test.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(lane, "LONGEST_PAUSE", 1.0)


@pytest.fixture
def store(tmp_path: Path, new_store: Callable[[Path], str]) -> str:
    """Address of a fresh sqlite store."""
    return new_store(tmp_path)


@pytest.fixture(scope="session")
def sqlite_template(new_store: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a fresh sqlite store, to be laid wherever a test wants it."""
    folder = tmp_path_factory.mktemp("template")
    new_store(folder)
    return (folder / "mlflow.db").read_bytes()


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    new_store(server.folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(_server: MlflowServer) -> Iterator[MlflowServer]:
    """The session's server; whatever a test does to it is undone."""
    yield _server
    _server.signal(signal.SIGCONT)


@pytest.fixture
def proxy(server: MlflowServer) -> Iterator[Proxy]:
    """The session's server, seen through a proxy of the test's own."""
    proxy = Proxy(server.uri)
    proxy.run_in_thread()
    yield proxy
    proxy.shutdown()
    proxy.server_close()


@pytest.fixture
def open_run() -> Iterator[Callable[..., Run]]:
    """`start_run` with settings a test does not care about. Runs that a test leaves open are ended without waiting."""
    runs: list[Run] = []

    def open_one(
        uri: str | None, *, resume_run_id: str | None = None, finish_seconds: float = 20.0, **given: Any
    ) -> Run:
        config = TrackingConfig(tracking_uri=uri, log_system_metrics=given.pop("log_system_metrics", False))
        defaults: dict[str, Any] = {
            "kind": "pretrain",
            "run_name": None,
            "params": {},
            "config_yaml": "seed: 0\n",
            "tags": {},
        }
        runs.append(
            start_run(config, **{**defaults, **given}, resume_run_id=resume_run_id, finish_seconds=finish_seconds)
        )
        return runs[-1]

    yield open_one
    for run in runs:
        run._finish_seconds = 0.0
        run.finish("FAILED", "left open by its test")
