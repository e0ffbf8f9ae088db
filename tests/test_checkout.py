"""Tests leave the checkout alone, whatever a person has done in it before; one that does not is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT, Untouched


def test_what_has_appeared_changed_or_gone_is_named_once(tmp_path):
    (tmp_path / "mlruns").mkdir()
    for name in ("mlruns/kept", "mlruns/changed", "gone"):
        (tmp_path / name).write_text("before")
    untouched = Untouched(tmp_path)
    assert list(untouched.changes()) == []
    (tmp_path / "mlruns" / "changed").write_text("and after")
    (tmp_path / "gone").unlink()
    (tmp_path / "outputs").mkdir()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / ".cache").mkdir()
    assert list(untouched.changes()) == ["gone", "mlruns/changed", "outputs"]
    assert list(untouched.changes()) == []


def test_each_test_starts_in_an_empty_folder_outside_the_checkout(tmp_path):
    assert Path.cwd() == tmp_path
    assert not Path.cwd().is_relative_to(ROOT)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(("place", "outcome"), [("Path()", "1 passed"), ("ROOT", "1 error")])
def test_a_test_that_writes_into_the_checkout_fails(tmp_path, place, outcome):
    """In a checkout of its own, where a run was made before."""
    checkout = tmp_path / "checkout"
    (checkout / "tests" / "support").mkdir(parents=True)
    (checkout / "mlruns").mkdir()
    for name in ("conftest.py", "pyproject.toml", "tests/support/checkout.py"):
        shutil.copy(ROOT / name, checkout / name)
    (checkout / "tests" / "test_it.py").write_text(
        "from pathlib import Path\nfrom tests.support.checkout import ROOT\n\n"
        f"def test_it():\n    ({place} / 'mlflow.db').touch()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert outcome in done.stdout, done.stdout + done.stderr
    assert ("written into the checkout while this test ran: mlflow.db" in done.stdout) is (place == "ROOT")
