"""However a training is killed, resumed with the same command it leaves the store of one that never was."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.faults.life import Fault, live
from tests.faults.ordeal import FINISHED, TINY, fresh, ordeal, random_fault, random_settings
from tests.faults.stored import newest_run
from tests.faults.tally import Tally

FAULTS_PER_RUN = 3
FILES = 120
"""Operations on files of a life."""


@pytest.fixture(autouse=True)
def store_of_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def differences(
    root: Path, template: Path, settings: list[str], faults: list[Fault] | random.Random, tally: Tally
) -> list[str]:
    """Between a run that suffered the faults and one that did not, and what was wrong about how it answered them."""
    undisturbed = fresh(root / "undisturbed", template)
    life = live(undisturbed, ["pretrain", *settings])
    assert life.code in FINISHED, life.output
    if isinstance(faults, random.Random):
        faults = [random_fault(faults, life.seconds, FILES) for _ in range(FAULTS_PER_RUN)]
    killed = fresh(root / "killed", template)
    outcomes = ordeal(killed, settings, faults)
    found = newest_run(killed).differences(newest_run(undisturbed))
    for outcome in outcomes:
        held = not found and not outcome.problems
        tally.add(f"pretrain: {signal.Signals(outcome.fault.signum).name}, {outcome.fault.where}", held)
        found += [f"{outcome.fault}: {problem}" for problem in outcome.problems]
    return found


@pytest.mark.slow
def test_a_kill_within_a_validation_and_another_one_later(tmp_path, store_template, tally):
    """The validation that the first kill lost is run first; a checkpoint by steps had been written just before it."""
    settings = [*TINY, "--checkpoint_every_n_steps", "5", "--val_check_interval", "0.5", "--on_collapse", "warn"]
    faults = [
        Fault("hook", 2, signal.SIGKILL, "on_validation_batch_end"),
        Fault("hook", 8, signal.SIGKILL, "on_train_batch_end"),
        Fault("hook", 2, signal.SIGTERM, "on_validation_batch_end"),
    ]
    assert differences(tmp_path, store_template, settings, faults, tally) == []


@pytest.mark.slow
def test_a_run_resumed_from_its_best_checkpoint_keeps_no_more_of_them(tmp_path, store_template, tally):
    """Killed between the first `best_*` and the `last.ckpt` of the same validation; `early_*` was written before both."""
    settings = [*TINY, "--val_check_interval", "0.5", "--save_top_k", "1", "--on_collapse", "warn"]
    faults = [Fault("hook", 3, signal.SIGKILL, "on_save_checkpoint")]
    assert differences(tmp_path, store_template, settings, faults, tally) == []


@pytest.mark.slow
def test_random_faults_in_random_settings(tmp_path, store_template, tally, how_many):
    """`make faults`; otherwise there are none."""
    wrong = []
    for seed in range(-(-how_many // FAULTS_PER_RUN)):
        dice = random.Random(seed)
        settings = [*TINY, *random_settings(dice)]
        (folder := tmp_path / str(seed)).mkdir()
        if found := differences(folder, store_template, settings, dice, tally):
            wrong.append(f"{seed}, {' '.join(settings[len(TINY) :])}: {'; '.join(found[:5])}")
    assert wrong == []
