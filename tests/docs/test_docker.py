"""The image has all that the package needs and runs as no root; the services of compose.yaml fit together."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
STAGES = dict(re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL))


def copied() -> list[tuple[list[str], str]]:
    """Sources and target of each COPY."""
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
    return [(words[:-1], words[-1]) for words in map(str.split, lines)]


def test_what_is_copied_is_a_package_that_answers(tmp_path):
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for sources, target in copied():
        for source in sources:
            assert source in allowed, f".dockerignore keeps {source} from the image"
            into = tmp_path / target.removeprefix("/app/")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                into.mkdir(exist_ok=True)
                shutil.copy(ROOT / source, into)
    project = (tmp_path / "pyproject.toml").read_text()
    assert all((tmp_path / name).exists() for name in ("README.md", "LICENSE") if name in project)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "seqsetvae", "--version"],
        env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("seqsetvae ")


def test_both_images_run_as_no_root_and_take_the_locked_versions():
    for stage in ("server", "seqsetvae"):
        assert re.search(r"^USER seqsetvae$", STAGES[stage], re.MULTILINE)
        assert all(
            "--constraint /app/requirements.lock" in line for line in re.findall(r"pip install.*", STAGES[stage])
        )
    assert "useradd --uid 1000" in STAGES["base"]


def test_services_wait_for_those_that_are_there_and_the_server_keeps_no_password():
    services = COMPOSE["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert service.get("build", {}).get("target", "server") in STAGES
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])
    text = (ROOT / "compose.yaml").read_text()
    assert not re.search(r"PASSWORD: \"?[^\"$\s]", text)
    assert services["mlflow"]["ports"] == ["127.0.0.1:5000:5000"]
    host = services["pretrain"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert host in services["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
