"""For every test and doctest: none is skipped unseen, each has a folder and a store of its own, none writes into the checkout."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.checkout import Untouched

if TYPE_CHECKING:
    from seqsetvae.data.vocabulary import Vocabulary
    from seqsetvae.training.pretrained.exported import Pretrained

CHECKOUT = pytest.StashKey[Untouched]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the whole run")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "nightly" in item.keywords:
            item.add_marker("slow")
    slow = {item.path for item in items if "slow" in item.keywords and "nightly" not in item.keywords}
    # Files with slow tests first: processes share them out, and end together.
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: the collector of garbage need not walk over it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[CHECKOUT] = Untouched()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Fails a test whose set-up, call or tear-down wrote into the checkout; of two that run side by side, perhaps the other one too."""
    result = yield
    if changes := list(item.config.stash[CHECKOUT].changes()):
        pytest.fail(f"written into the checkout while this test ran: {', '.join(changes)}", pytrace=False)
    return result


@pytest.fixture(scope="session", autouse=True)
def outside_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a fixture of several tests writes to its working directory does not lie in the checkout either."""
    with contextlib.chdir(tmp_path_factory.mktemp("nowhere")):
        yield


@pytest.fixture(scope="session", autouse=True)
def terminal() -> None:
    """What is logged is shown, as by the command line, also where a test calls a function within it."""
    from seqsetvae.console import attach

    attach()


SYS_PATH = tuple(sys.path)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory and an MLflow store of its own for each test and the processes it starts, and no pickles read from it."""
    # A registered model that a test has loaded puts its own copy of the code there, which processes of later tests would import.
    monkeypatch.setattr(sys, "path", list(SYS_PATH))
    # A process in the background of a shell is born deaf to Ctrl-C, and a training rightly stays so.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "SEQSETVAE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Puts an empty MLflow database into a folder and returns its address. A copy: making its tables takes MLflow four seconds."""
    from filelock import FileLock
    from mlflow import MlflowClient

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    template = shared / "empty" / "mlflow.db"
    with FileLock(shared / "empty.lock"):
        if not template.exists():
            template.parent.mkdir()
            MlflowClient(f"sqlite:///{template}").search_experiments(max_results=1)

    def put(folder: Path) -> str:
        shutil.copy(template, folder / "mlflow.db")
        return f"sqlite:///{folder / 'mlflow.db'}"

    return put


@pytest.fixture
def empty_store(tmp_path: Path, new_store: Callable[[Path], str]) -> str:
    """The test's own store has its tables already; its address, which MLFLOW_TRACKING_URI has, too."""
    return new_store(tmp_path)


@pytest.fixture(scope="session")
def untrained() -> Callable[[Vocabulary], Pretrained]:
    """Makes a small model of some vocabulary with random weights, always the same: a random backbone already carries much to a head."""

    def make(vocabulary: Vocabulary) -> Pretrained:
        import torch

        from seqsetvae.config import ModelConfig
        from seqsetvae.model.vae import SeqSetVAE
        from seqsetvae.training.checkpoints import Recipe
        from seqsetvae.training.pretrained.exported import Pretrained

        torch.manual_seed(0)
        config = ModelConfig(width=16, latent_dim=8, levels=1, heads=2, ff_dim=16, history_layers=1)
        scale = vocabulary.center_V.tolist(), vocabulary.spread_V.tolist()
        recipe = Recipe({"model": asdict(config)}, list(vocabulary.names), *scale, 1, "0" * 32)
        return Pretrained(SeqSetVAE(config, len(vocabulary)).eval(), vocabulary, config, recipe)

    return make
