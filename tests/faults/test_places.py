"""A project folder that was moved or copied, and an experiment that is not there."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.life import Fault, live
from tests.faults.ordeal import TINY, fresh
from tests.faults.stored import newest_run
from tests.faults.tally import Tally

pytestmark = [pytest.mark.slow, pytest.mark.nightly]
SETTINGS = ["pretrain", *TINY, "--checkpoint_every_n_steps", "7", "--on_collapse", "warn"]
SECONDS_TO_REFUSE = 10.0


@pytest.fixture(autouse=True)
def store_of_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def everything(folder: Path) -> dict[str, str]:
    """Path -> hash of every file below."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_run_goes_on_in_a_moved_or_copied_folder(
    tmp_path: Path, store_template: Path, tally: Tally, how_many: int
) -> None:
    """Named by its path there; of a copy also by its path in the old folder, which is read and not written to."""
    undisturbed = fresh(tmp_path / "undisturbed", store_template)
    assert live(undisturbed, SETTINGS).code == 0
    wrong = []
    cases = (("copied", "old"), ("moved", "new"), ("copied", "new"))
    for how, named in cases if how_many else cases[:1]:
        old, new = fresh(tmp_path / f"{how} {named}", store_template), tmp_path / f"{how} {named} here"
        assert live(old, SETTINGS, Fault("hook", 16, signal.SIGKILL, "on_train_batch_end")).code == -signal.SIGKILL
        (shutil.copytree if how == "copied" else shutil.move)(old, new)
        before = everything(old)
        (checkpoint,) = {"old": old, "new": new}[named].rglob("last.ckpt")
        life = live(new, [*SETTINGS, "--resume_from_checkpoint", str(checkpoint)])
        found = [life.output[-1000:]] if life.code else newest_run(new).differences(newest_run(undisturbed))
        found += [] if everything(old) == before else ["the old folder was written to"]
        tally.add(f"A {how} project folder, --resume_from_checkpoint with the path in the {named} one", not found)
        wrong += [f"{how}, {named}: {one}" for one in found]
    assert wrong == []


def test_an_experiment_that_is_not_there_is_refused_within_seconds(
    tmp_path: Path, store_template: Path, tally: Tally
) -> None:
    folder = fresh(tmp_path / "work", store_template)
    before = everything(folder)
    command = [sys.executable, "-m", "seqsetvae", "pretrain", *TINY]
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"MLFLOW_EXPERIMENT_ID": "987654"}, capture_output=True, text=True
    )
    seconds = time.monotonic() - started
    held = done.returncode == 2 and "no experiment 987654 in sqlite" in done.stderr and seconds < SECONDS_TO_REFUSE
    held = (
        held
        and "Start the server" not in done.stderr
        and "Traceback" not in done.stderr
        and everything(folder) == before
    )
    tally.add("An experiment that is not there is refused within 10 s", held)
    assert held, (seconds, done)
