"""Signals at chosen moments: in a validation there is a checkpoint within seconds; whoever presses Ctrl-C again gets a KILLED run."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.faults.life import Fault, live
from tests.faults.ordeal import ENDED, SECONDS_TO_STOP, TINY, fresh
from tests.faults.stored import newest_run
from tests.faults.tally import Tally

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def store_of_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def test_a_signal_in_a_validation_leaves_a_checkpoint_within_seconds(
    tmp_path: Path, store_template: Path, tally: Tally, how_many: int
) -> None:
    hooks = ("on_validation_start", "on_validation_batch_end", "on_validation_end")
    faults = [Fault("hook", 1, signum, hook) for signum in (signal.SIGTERM, signal.SIGUSR1) for hook in hooks]
    wrong = []
    for number, fault in enumerate(faults if how_many else faults[:1]):
        folder = fresh(tmp_path / str(number), store_template)
        life = live(folder, ["pretrain", *TINY, "--on_collapse", "warn"], fault)
        found = [path.name for path in folder.rglob("interrupted_*.ckpt")]
        quick = 0.0 < life.seconds_after_signal < SECONDS_TO_STOP
        held = life.code == 128 + fault.signum and len(found) == 1 and quick and newest_run(folder).status == "KILLED"
        tally.add("pretrain: a signal in a validation leaves a checkpoint within 10 s", held)
        wrong += (
            [] if held else [f"{fault}: {life.code}, {life.seconds_after_signal:.1f} s, {found}: {life.output[-1000:]}"]
        )
    assert wrong == []


def test_whoever_presses_ctrl_c_again_gets_a_killed_run(
    tmp_path: Path, store_template: Path, tally: Tally, how_many: int
) -> None:
    """The second one stops at once, without a checkpoint; a third one changes nothing more."""
    settings = ["pretrain", *TINY, "--max_epochs", "60", "--on_collapse", "warn"]
    dice = random.Random(0)
    wrong = []
    for number in range(how_many // 5 or 2):
        folder = fresh(tmp_path / str(number), store_template)
        fault = Fault("moment", dice.uniform(2.0, 5.0), signal.SIGINT, times=2 + number % 2)
        life = live(folder, settings, fault)
        begun = bool(list(folder.glob("mlruns/*/*")))
        held = life.code == 128 + signal.SIGINT and (not begun or newest_run(folder).status == "KILLED")
        held = held and "Traceback" not in life.output and life.seconds_after_signal < SECONDS_TO_STOP
        tally.add(f"pretrain: Ctrl-C {fault.times} times", held)
        wrong += [] if held else [f"{fault}: {life.code}, {life.seconds_after_signal:.1f} s: {life.output[-1000:]}"]
    assert wrong == []


def test_signals_while_the_run_is_being_opened_end_it_killed(
    tmp_path: Path, store_template: Path, tally: Tally, how_many: int
) -> None:
    """However many come: nothing is left half open."""
    wrong = []
    for number, statement in enumerate((8, 14, 20, 26, 32) if how_many else (14,)):
        folder = fresh(tmp_path / str(number), store_template)
        fault = Fault("statement", statement, signal.SIGHUP, times=2)
        life = live(folder, ["pretrain", *TINY, "--on_collapse", "warn"], fault)
        begun = bool(list(folder.glob("mlruns/*/*")))
        held = life.code == 128 + signal.SIGHUP and (not begun or newest_run(folder).status == "KILLED")
        tally.add("pretrain: a signal while the run is being opened", held)
        wrong += [] if held else [f"{fault}: {life.code}: {life.output[-1000:]}"]
    assert wrong == []


def test_a_signal_while_the_last_records_are_delivered_leaves_no_run_running(
    tmp_path: Path, store_template: Path, tally: Tally, how_many: int
) -> None:
    """The end of a run is the last that is sent to its database."""
    wrong = []
    for number, signum in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if how_many else (signal.SIGTERM,)):
        folder = fresh(tmp_path / str(number), store_template)
        fault = Fault("statement", 1, signum, "UPDATE runs SET status=?, end_time=?")
        life = live(folder, ["pretrain", *TINY, "--max_epochs", "1", "--on_collapse", "warn"], fault)
        struck = life.seconds_after_signal > 0.0
        held = struck and life.code == 128 + signum and newest_run(folder).status in ENDED
        held = held and life.seconds_after_signal < SECONDS_TO_STOP
        tally.add("pretrain: a signal while the last records are delivered", held)
        wrong += [] if held else [f"{fault}: {life.code}, {newest_run(folder).status}: {life.output[-1000:]}"]
    assert wrong == []
