"""Trials of seconds; and a real PostgreSQL from Debian's package, on the loopback interface."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from seqsetvae.config import (
    DataConfig,
    ModelConfig,
    MonitorConfig,
    OptimizerConfig,
    PretrainConfig,
    SpaceConfig,
    TrackingConfig,
    TrainerConfig,
)
from tests.support.mlflow_server import free_port

TINY = PretrainConfig(
    data=DataConfig(batch_size=16),  # 20 batches an epoch
    model=ModelConfig(width=16, latent_dim=4, levels=1, heads=2, ff_dim=16, history_layers=1),
    optimizer=OptimizerConfig(lr=0.01),
    trainer=TrainerConfig(max_epochs=3, accelerator="cpu", progress_bar=False),
    monitor=MonitorConfig(verbose=False),
    tracking=TrackingConfig(log_system_metrics=False, register_model=False),
)
NARROW = SpaceConfig(max_beta_range=(0.01, 0.1), free_bits_range=None, warmup_range=(0.0, 0.3))
"""Nothing in here collapses."""
POSTGRES_USER = "postgres"
"""Who runs the server where the tests are root, whom PostgreSQL refuses to run as."""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_store: Callable[[Path], str]) -> PretrainConfig:
    """Its stores and outputs lie in the working directory, which is the test's own; one thread, whatever else runs."""
    monkeypatch.chdir(tmp_path)
    new_store(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("SEQSETVAE_STORAGE", raising=False)
    return TINY


def programs() -> Path:
    """The folder of `initdb` and `pg_ctl`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    if (path := shutil.which("initdb")) is not None:
        return Path(path).resolve().parent
    pytest.fail("These tests need a PostgreSQL server: install it with `apt-get install postgresql` (as root).")


def as_server(command: list[str]) -> None:
    """Run one of PostgreSQL's programs, which refuse to be run by root."""
    account: dict[str, Any] = {}
    if os.getuid() == 0:
        entry = pwd.getpwnam(POSTGRES_USER)
        account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, **account)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Address of a server of its own, with a password and without a database: `postgresql://user:password@127.0.0.1:port`.

    Started here, not by pytest-postgresql or testing.postgresql: both start PostgreSQL as whoever runs the tests, and it refuses root,
    who runs them in a container. Given a `pg_ctl` that changes the account, pytest-postgresql 10 makes a data folder that only root may
    enter; its `noproc` wants a server that somebody else has started.
    """
    bin_folder = programs()
    folder = Path(tempfile.mkdtemp(prefix="seqsetvae-postgres-"))  # not pytest's, whose folders only root may enter
    password = secrets.token_hex(8)
    (folder / "password").write_text(password)
    if os.getuid() == 0:
        for path in (folder, folder / "password"):
            shutil.chown(path, POSTGRES_USER)
    port = free_port()
    data = folder / "data"
    as_server(
        [
            f"{bin_folder}/initdb",
            "-D",
            str(data),
            "-U",
            "seqsetvae",
            "--pwfile",
            str(folder / "password"),
            "-A",
            "scram-sha-256",
        ]
    )
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    as_server([f"{bin_folder}/pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-o", options, "-w", "start"])
    try:
        yield f"postgresql://seqsetvae:{password}@127.0.0.1:{port}"
    finally:
        as_server([f"{bin_folder}/pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop"])
        shutil.rmtree(folder)


@pytest.fixture
def database(postgres: str) -> Callable[[str], str]:
    """Makes an empty database and returns its address."""

    def make(name: str) -> str:
        full = f"{name}_{secrets.token_hex(4)}"
        with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
            connection.execute(f'create database "{full}"')
        return f"{postgres}/{full}"

    return make
