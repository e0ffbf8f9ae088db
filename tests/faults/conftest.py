"""Faults of every kind. `make faults` tries many of each and writes the table of docs/faults.md; the slow tests try a few."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.tally import Tally
from tests.tuning.conftest import postgres  # noqa: F401

TALLY = pytest.StashKey[Tally]()
WHOLE = "FAULTS"
"""Environment variable: how many random faults of each kind; unset: a sample."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long is tried by `make faults` alone."""
    if not os.environ.get(WHOLE):
        left_out = [item for item in items if item.get_closest_marker("whole")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def how_many() -> int:
    """Random faults of a kind to try; 0: only those that are written down."""
    return int(os.environ.get(WHOLE) or 0)


def pytest_configure(config: pytest.Config) -> None:
    """One tally for each process; those of workers are added to that of the command."""
    config.stash[TALLY] = Tally()


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    """Where tests write down what they tried."""
    return pytestconfig.stash[TALLY]


def pytest_testnodedown(node: Any) -> None:
    """A worker has ended."""
    node.config.stash[TALLY].join(getattr(node, "workeroutput", {}).get("faults", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With FAULTS_PAGE the table goes into that page."""
    tally = session.config.stash[TALLY]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = tally.plain()
    elif tally.tried:
        print(f"\n{tally.table()}")
        if page := os.environ.get("FAULTS_PAGE"):
            tally.write(Path(page))


@pytest.fixture(scope="session")
def store_template(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Path:
    """An empty store with its tables."""
    folder = tmp_path_factory.mktemp("template")
    new_store(folder)
    return folder / "mlflow.db"
