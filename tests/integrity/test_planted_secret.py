"""A password that is typed, exported or mistyped stands nowhere afterwards: not in the store, not in a file, not on the screen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrity.conftest import SETTINGS
from tests.support.mlflow_server import MlflowServer, free_port

PASSWORD, TOKEN = "pl4nted-passw0rd", "pl4nted-t0ken"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    (tmp_path / "server").mkdir()
    running = MlflowServer(tmp_path / "server")
    running.start()
    yield running
    running.kill()


def seqsetvae(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a verb in `folder` with a token in the address that alerts go to."""
    environment = os.environ | {"SEQSETVAE_NOTIFY": f"json://me:{TOKEN}@127.0.0.1:{free_port()}/alerts"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, "-m", "seqsetvae", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def files_with_a_secret(folder: Path) -> list[str]:
    secrets = (PASSWORD.encode(), TOKEN.encode())
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    return [str(path) for path in files if any(secret in path.read_bytes() for secret in secrets)]


@pytest.mark.slow
def test_a_planted_secret_is_found_nowhere(stays, server, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    address = f"http://me:{PASSWORD}@127.0.0.1:{server.port}"
    # A model that collapses, so that an alert is sent, to nobody who answers.
    trained, said = seqsetvae(
        folder, "pretrain", "--store", str(stays), "--tracking_uri", address, "--max_beta", "50", *SETTINGS.split()
    )
    assert trained in (0, 3), said
    told = [said]
    nobody = free_port()
    for arguments in (
        ["sync", "--tracking_uri", address],
        ["analyze", "--tracking_uri", address, "--save_dir", "analysis"],
        ["pretrain", "--store", str(stays), "--tracking_uri", f"http://me:{PASSWORD}@127.0.0.1:{nobody}"],
        ["pretrain", "--store", str(stays), "--tracking_uri", f"postgresql://me:{PASSWORD}@127.0.0.1:{nobody}/mlflow"],
        ["tune", "--store", str(stays), "--storage", f"postgresql://me:{PASSWORD}@127.0.0.1:{nobody}/tune"],
    ):
        code, said = seqsetvae(folder, *arguments)
        assert "Traceback" not in said
        assert code == (2 if str(nobody) in " ".join(arguments) else 0), said
        told.append(said)
    assert [text for text in told if PASSWORD in text or TOKEN in text] == []
    assert files_with_a_secret(tmp_path) == []
