"""A password that is typed, exported or mistyped stands nowhere afterwards: not in the store, not in a file, not on the screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seqsetvae.app.main import main
from tests.integrity.conftest import SETTINGS
from tests.support import commands
from tests.support.mlflow_server import MlflowServer, free_port

PASSWORD, TOKEN = "pl4nted-passw0rd", "pl4nted-t0ken"


@pytest.fixture
def server(tmp_path: Path, new_store: Callable[[Path], str]) -> Iterator[MlflowServer]:
    (tmp_path / "server").mkdir()
    new_store(tmp_path / "server")
    running = MlflowServer(tmp_path / "server")
    running.start()
    yield running
    running.kill()


def run(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str, str]:
    """Exit code of a verb, and all that it says."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code or 0, "".join(capfd.readouterr())


def files_with_a_secret(folder: Path) -> list[str]:
    secrets = (PASSWORD.encode(), TOKEN.encode())
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    return [str(path) for path in files if any(secret in path.read_bytes() for secret in secrets)]


@pytest.mark.slow
def test_a_planted_secret_is_found_nowhere(stays, server, tmp_path, monkeypatch, capfd):
    """One verb is a process of its own, to which a token is exported; the others are called."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("SEQSETVAE_NOTIFY", f"json://me:{TOKEN}@127.0.0.1:{free_port()}/alerts")
    address = f"http://me:{PASSWORD}@127.0.0.1:{server.port}"
    # A model that collapses, so that an alert is sent, to nobody who answers.
    collapsing = ["--store", str(stays), "--tracking_uri", address, "--max_beta", "50", *SETTINGS.split()]
    trained = commands.run("pretrain", *collapsing)
    told = [trained.stdout + trained.stderr]
    assert trained.returncode in (0, 3), told
    nobody = free_port()
    for arguments in (
        ["sync", "--tracking_uri", address],
        ["analyze", "--tracking_uri", address, "--save_dir", "analysis"],
        ["pretrain", "--store", str(stays), "--tracking_uri", f"http://me:{PASSWORD}@127.0.0.1:{nobody}"],
        ["pretrain", "--store", str(stays), "--tracking_uri", f"postgresql://me:{PASSWORD}@127.0.0.1:{nobody}/mlflow"],
        ["tune", "--store", str(stays), "--storage", f"postgresql://me:{PASSWORD}@127.0.0.1:{nobody}/tune"],
    ):
        code, said = run(capfd, *arguments)
        assert "Traceback" not in said
        assert code == (2 if str(nobody) in " ".join(arguments) else 0), said
        told.append(said)
    assert [text for text in told if PASSWORD in text or TOKEN in text] == []
    assert files_with_a_secret(tmp_path) == []
