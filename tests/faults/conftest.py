"""Faults of every kind. `make faults` tries many of each and writes the table of docs/faults.md; the slow tests try a few."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.tally import Tally
from tests.tuning.conftest import postgres  # noqa: F401

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


@pytest.fixture(scope="session")
def tally() -> Iterator[Tally]:
    """Where tests write down what they tried; with FAULTS_PAGE the table goes into that page."""
    tally = Tally()
    yield tally
    print(f"\n{tally.table()}")
    if page := os.environ.get("FAULTS_PAGE"):
        tally.write(Path(page))


@pytest.fixture(scope="session")
def store_template(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Path:
    """An empty store with its tables."""
    folder = tmp_path_factory.mktemp("template")
    new_store(folder)
    return folder / "mlflow.db"
