"""However a finetuning is killed, it is recorded as such, and the same command makes the run and the model of one that never was."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.faults.finetuned import Finetuned, champions, runs
from tests.faults.life import Fault, live
from tests.faults.ordeal import ANSWERED, TINY, check_end, fresh
from tests.faults.tally import Tally

pytestmark = [pytest.mark.slow, pytest.mark.nightly]
FAULTS_PER_RUN = 3
FILES, STATEMENTS = 30, 250
"""Operations on files of a life, and statements to the store."""


@pytest.fixture(autouse=True)
def store_of_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory, store_template: Path) -> Path:
    """Checkpoint of a short pretraining, which lies in no store of these tests."""
    folder = fresh(tmp_path_factory.mktemp("pretrained") / "run", store_template)
    life = live(folder, ["pretrain", *TINY, "--on_collapse", "warn"], environment={"MLFLOW_TRACKING_URI": ""})
    assert life.code == 0, life.output
    (path,) = folder.rglob("final_*.ckpt")
    return path


def random_settings(dice: random.Random) -> list[str]:
    unfreeze = dice.choice(["none", "none", "history", "all"])
    chosen = ["--unfreeze", unfreeze, "--head_input", "posterior", "--n_seeds", dice.choice(["1", "2"])]
    return [
        *chosen,
        "--max_epochs",
        "3",
        "--accelerator",
        "cpu",
        "--progress_bar",
        "false",
        "--log_system_metrics",
        "false",
    ]


def random_fault(dice: random.Random, seconds: float) -> Fault:
    signum = dice.choice([signal.SIGKILL, signal.SIGKILL, *ANSWERED])
    kind = dice.choice(["moment", "moment", "file", "statement"])
    most = {"file": FILES, "statement": STATEMENTS}
    return Fault(kind, dice.uniform(0.05, seconds) if kind == "moment" else dice.randint(1, most[kind]), signum)


def ordeal(root: Path, template: Path, command: list[str], dice: random.Random, tally: Tally) -> list[str]:
    """What is wrong after some faults of a finetuning, each followed by the same command."""
    undisturbed = fresh(root / "undisturbed", template)
    life = live(undisturbed, command)
    assert life.code == 0, life.output
    killed = fresh(root / "killed", template)
    answers = {
        fault: answer(killed, command, fault)
        for fault in (random_fault(dice, life.seconds) for _ in range(FAULTS_PER_RUN))
    }
    life = live(killed, command)
    assert life.code == 0, life.output
    late = live(killed, ["sync"])  # what was killed between a run's end and its registration
    assert late.code == 0, late.output
    wrong = differences(runs(killed), runs(undisturbed))
    if champions(killed) != champions(undisturbed):
        wrong.append("the champion is another")
    for fault, problems in answers.items():
        tally.add(f"finetune: {signal.Signals(fault.signum).name}, {fault.where}", not wrong and not problems)
    return wrong + [f"{fault}: {problem}" for fault, problems in answers.items() for problem in problems]


def answer(folder: Path, command: list[str], fault: Fault) -> list[str]:
    """What is wrong about how the command took a fault."""
    before = len(runs(folder))
    life = live(folder, command, fault)
    problems = check_end(life, fault)
    made = runs(folder)[before:]
    # A signal that comes while the run is being closed finds it FINISHED.
    if life.code == 128 + fault.signum and made and made[-1].status not in ("KILLED", "FINISHED"):
        problems.append(f"the run's status is {made[-1].status}")
    return problems


def differences(found: list[Finetuned], undisturbed: list[Finetuned]) -> list[str]:
    """The last run is like the undisturbed one; each before it was KILLED on its way there, or is like it too, its model registered."""
    (right,), (*earlier, last) = undisturbed, found
    assert right.status == "FINISHED"
    assert len(right.models) == 1
    wrong = [] if last == right else [f"the run after them: {last} instead of {right}"]
    for number, run in enumerate(earlier):
        if run.status not in ("KILLED", "FINISHED"):
            wrong.append(f"run {number} is {run.status}")
        if run.status == "KILLED" and (run.models or run.points - right.points):
            wrong.append(f"run {number} is KILLED, with {len(run.models)} models and points that no other has")
        if run.status == "FINISHED" and run != right:
            wrong.append(f"run {number} is FINISHED and not whole: {run} instead of {right}")
    return wrong


def test_a_killed_finetuning_leaves_a_true_record_and_the_next_one_a_whole_one(
    tmp_path: Path, store_template: Path, pretrained: Path, tally: Tally, how_many: int
) -> None:
    wrong = []
    for seed in range(-(-how_many // FAULTS_PER_RUN // 2) or 1):
        dice = random.Random(seed)
        command = ["finetune", "--model", str(pretrained), *random_settings(dice)]
        (folder := tmp_path / str(seed)).mkdir()
        wrong += [f"{seed}, {problem}" for problem in ordeal(folder, store_template, command, dice, tally)]
    assert wrong == []


@pytest.mark.parametrize(
    "statement", ["INSERT INTO logged_models", "INSERT INTO model_versions", "registered_model_aliases"]
)
def test_a_finetuning_killed_while_its_model_is_registered_is_registered_by_sync(
    tmp_path: Path, store_template: Path, pretrained: Path, tally: Tally, statement: str
) -> None:
    command = ["finetune", "--model", str(pretrained), *random_settings(random.Random(0))]
    undisturbed, killed = fresh(tmp_path / "undisturbed", store_template), fresh(tmp_path / "killed", store_template)
    assert live(undisturbed, command).code == 0
    life = live(killed, command, Fault("statement", 1, hook=statement))
    assert life.code == -signal.SIGKILL, life.output
    late = live(killed, ["sync"])
    held = late.code == 0 and runs(killed) == runs(undisturbed) and champions(killed) == champions(undisturbed)
    tally.add("finetune: SIGKILL while its model is registered, then `sync`", held)
    assert held, (late.output, runs(killed), runs(undisturbed))
