"""`mlflow run .` as a user types it, on a machine without conda and on one with it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seqsetvae.tracking.compat.run_backend import _first_on_path, _lacks_conda

ROOT = Path(__file__).parents[1]
PYTHON_FOLDER = Path(sys.executable).parent
FALLBACK_LINE = re.compile(
    rf"^seqsetvae: no conda found, so this run uses {re.escape(str(PYTHON_FOLDER))}/python\S*, as with .*$",
    re.MULTILINE,
)


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a shell and git: no conda, pyenv or uv, and no Python either."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "git", "uname"):
        program = shutil.which(name)
        assert program is not None, f"these tests need {name}"
        (folder / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CONDA_EXE", raising=False)
    return folder


def add_program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!{shutil.which('bash')}\n{script}\n")
    (folder / name).chmod(0o755)


def add_project(folder: Path, name: str = "seqsetvae", environment: str = "conda_env: conda.yaml") -> Path:
    """A project that needs nothing but Python; its entry point prints which Python that is, and its arguments."""
    folder.mkdir()
    for file in ("conda.yaml", "python_env.yaml"):
        shutil.copy(ROOT / "conda.yaml", folder / file)
    (folder / "show.py").write_text("import sys; print('ran', sys.executable, sys.argv[1:])")
    command = "entry_points: {pretrain: {command: python show.py}}"
    (folder / "MLproject").write_text(f"name: {name}\n{environment}\n{command}\n")
    return folder


def mlflow_run(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [PYTHON_FOLDER / "mlflow", "run", ".", "-e", "pretrain", *options]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    ("name", "environment", "lacks_conda"),
    [
        ("seqsetvae", "conda_env: conda.yaml", True),
        ("another", "conda_env: conda.yaml", False),
        ("seqsetvae", "python_env: python_env.yaml", False),
    ],
)
def test_only_this_project_is_looked_after(bare_path, tmp_path, name, environment, lacks_conda):
    assert _lacks_conda(str(add_project(tmp_path / "project", name, environment))) is lacks_conda


def test_a_git_address_is_left_to_mlflow(bare_path):
    assert not _lacks_conda("https://example.org/seqsetvae.git")


@pytest.mark.parametrize("found_by", ["PATH", "CONDA_EXE", "MLFLOW_CONDA_HOME"])
def test_conda_is_looked_for_where_mlflow_looks(bare_path, tmp_path, monkeypatch, found_by):
    project = add_project(tmp_path / "project")
    home = tmp_path / "conda"
    (home / "bin").mkdir(parents=True)
    add_program(home / "bin", "conda", "exit 0")
    value = {
        "PATH": f"{bare_path}{os.pathsep}{home}/bin",
        "CONDA_EXE": f"{home}/bin/conda",
        "MLFLOW_CONDA_HOME": str(home),
    }
    assert _lacks_conda(str(project))
    monkeypatch.setenv(found_by, value[found_by])
    assert not _lacks_conda(str(project))


def test_path_is_put_back(monkeypatch):
    monkeypatch.setenv("PATH", "/before")
    with contextlib.suppress(KeyError), _first_on_path(Path("/first")):
        assert os.environ["PATH"] == f"/first{os.pathsep}/before"
        raise KeyError
    assert os.environ["PATH"] == "/before"


@pytest.mark.nightly
def test_without_conda_the_python_that_runs_mlflow_is_used(bare_path, tmp_path):
    ended = mlflow_run(add_project(tmp_path / "project"), "-P", "max_beta=50")
    assert ended.returncode == 0, ended.stderr
    assert len(FALLBACK_LINE.findall(ended.stderr)) == 1, ended.stderr
    assert f"ran {PYTHON_FOLDER}/python ['--max_beta', '50']" in ended.stdout


@pytest.mark.nightly
def test_a_conda_on_the_path_is_used(bare_path, tmp_path):
    calls = tmp_path / "calls"
    answers = """[ "$2" = list ] && echo '{"envs": []}'; [ "$2" != create ]"""
    add_program(bare_path, "conda", f'echo "$@" >> "{calls}"; {answers}')
    ended = mlflow_run(add_project(tmp_path / "project"))
    assert ended.returncode != 0, "the pretended conda cannot create an environment"
    assert not FALLBACK_LINE.search(ended.stderr)
    assert re.search(r"^env create -n mlflow-\w+ --file .*/project/conda\.yaml$", calls.read_text(), re.MULTILINE)


@pytest.mark.nightly
def test_conda_asked_for_but_not_there_is_an_error(bare_path, tmp_path):
    ended = mlflow_run(add_project(tmp_path / "project"), "--env-manager", "conda")
    assert ended.returncode == 1
    assert not FALLBACK_LINE.search(ended.stderr)
    assert "Could not find Conda executable" in ended.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("empty_store")
def test_pretrain_makes_one_finished_run(bare_path, tmp_path):
    """The whole of it, where no conda is; what a conda changes is asked every night, and how it is looked for above."""
    from mlflow import MlflowClient

    project = tmp_path / "project"
    shutil.copytree(ROOT / "seqsetvae", project / "seqsetvae")
    for file in ("MLproject", "conda.yaml"):
        shutil.copy(ROOT / file, project)
    settings = {
        "trainer.max_steps": 3,
        "model.width": 32,
        "model.heads": 2,
        "latent_dim": 8,
        "monitor.plot_frequency": 3,
    }
    ended = mlflow_run(project, *(part for key, value in settings.items() for part in ("-P", f"{key}={value}")))
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert len(FALLBACK_LINE.findall(ended.stderr)) == 1, ended.stderr

    client = MlflowClient()
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert runs[0].data.params["latent_dim"] == "8", "as typed, written by `mlflow run`"
    assert runs[0].data.params["model/latent_dim"] == "8", "as resolved, written by the run itself"
