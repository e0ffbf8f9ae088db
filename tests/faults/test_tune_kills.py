"""However a search is killed, its lead, a worker or both, the same command completes it: no trial lost, none twice, the best right."""

from __future__ import annotations

import random
import shlex
import signal
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.faults.life import Fault, Life, live
from tests.faults.ordeal import ANSWERED, check_end, fresh
from tests.faults.studied import problems, read_runs
from tests.faults.tally import Tally

pytestmark = [pytest.mark.slow, pytest.mark.nightly]
TRIALS = 3
COMMAND = shlex.split(
    f"""tune --study mine --n_trials {TRIALS} --max_beta_range [0.01,0.1] --free_bits_range null --pruner none --width 16 --latent_dim 4
    --levels 1 --heads 2 --ff_dim 16 --history_layers 1 --batch_size 16 --lr 0.01 --max_epochs 2 --limit_val_batches 2 --accelerator cpu
    --progress_bar false --verbose false --log_system_metrics false --register_model false --on_collapse warn"""
)
"""Nothing in here collapses."""
SECONDS = 15.0
"""Of a life, on a quiet machine."""
FILES, STATEMENTS = 60, 400
"""Operations on files of a life, and statements to both databases."""
SECONDS_TO_STOP = 30.0
"""A worker that is just starting answers once it has loaded what it needs."""
FAULTS_PER_STUDY = 2


@pytest.fixture(autouse=True)
def store_of_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def random_fault(dice: random.Random) -> Fault:
    signum = dice.choice([signal.SIGKILL, signal.SIGKILL, *ANSWERED])
    kind = dice.choice(["moment", "moment", "file", "statement"])
    at = {
        "moment": dice.uniform(0.5, SECONDS),
        "file": dice.randint(1, FILES),
        "statement": dice.randint(1, STATEMENTS),
    }[kind]
    # Signals that can be answered are sent to the command, which passes them on; to all, where a terminal or a scheduler does.
    whom = dice.choice(["command", "worker", "all"] if kind == "moment" else ["command", "worker"])
    return Fault(kind, at, signum, whom=whom)


def storage_of(number: int, folder: Path, server: str) -> str:
    """Of the `number`-th study: each kind of storage in turn."""
    kinds = (f"sqlite:///{folder / 'tune.db'}", f"journal:///{folder / 'tune.log'}", f"{server}/kills{number}")
    if (storage := kinds[number % 3]).startswith("postgresql:"):
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE kills{number}")
    return storage


def answer(life: Life, fault: Fault, folder: Path, storage: str) -> list[str]:
    """What is wrong about how the command took a fault."""
    if fault.whom == "worker" and life.code == 0:
        return problems(folder, storage, TRIALS)  # it has gone on without being asked again
    found = check_end(replace(life, seconds_after_signal=0.0), fault)
    if life.seconds_after_signal > SECONDS_TO_STOP:
        found.append(f"{life.seconds_after_signal:.0f} s until it ended")
    parents = [
        one["status"] for one in read_runs(folder / "mlflow.db").values() if one["tags"].get("seqsetvae.kind") == "tune"
    ]
    if life.code == 128 + fault.signum and "RUNNING" in parents:
        found.append(f"the parent's status is {parents}")
    return found


def test_a_killed_search_is_completed_by_the_same_command(
    tmp_path: Path, store_template: Path, postgres: str, tally: Tally, how_many: int
) -> None:
    wrong = []
    for seed in range(-(-how_many // 10) or 1):
        dice = random.Random(seed)
        folder = fresh(tmp_path / str(seed), store_template)
        storage = storage_of(seed, folder, postgres)
        command = [*COMMAND, "--n_workers", dice.choice(["1", "1", "2"]), "--storage", storage]
        answers = {}
        for fault in [random_fault(dice) for _ in range(FAULTS_PER_STUDY)]:
            answers[fault] = answer(live(folder, command, fault), fault, folder, storage)
        life = live(folder, command)
        found = (
            problems(folder, storage, TRIALS) if life.code == 0 else [f"exit code {life.code}: {life.output[-1500:]}"]
        )
        for fault, of_answer in answers.items():
            tally.add(
                f"tune on {storage.split(':')[0]}: {signal.Signals(fault.signum).name} of {fault.whom}, {fault.where}",
                not found and not of_answer,
            )
            found += [f"{fault}: {one}" for one in of_answer]
        wrong += [f"{seed}, {list(map(str, answers))}: {one}" for one in found]
    assert wrong == []
