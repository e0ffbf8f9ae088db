"""One run that is killed again and again, and resumed each time with the same command, as a cluster does it."""

from __future__ import annotations

import random
import shlex
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.faults.life import Fault, Life, live
from tests.faults.stored import newest_run

TINY = shlex.split(
    """--width 8 --latent_dim 4 --levels 1 --heads 2 --ff_dim 8 --history_layers 1 --dropout 0.1 --batch_size 32 --max_epochs 3
    --accelerator cpu --progress_bar false --log_every_n_steps 1 --update_frequency 2 --check_frequency 2 --grace_steps 4
    --log_system_metrics false --register_model false"""
)
"""10 batches an epoch, 3 epochs."""
ANSWERED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
FINISHED = (0, 3)
"""Exit codes of a run that came to its end, or was ended by a collapse."""
ENDED = ("KILLED", "FINISHED")
SECONDS_TO_STOP = 10.0
HOOKS = (
    *(
        "on_fit_start",
        "on_train_start",
        "on_train_epoch_start",
        "on_train_batch_start",
        "on_train_batch_end",
        "on_train_epoch_end",
    ),
    *(
        "on_validation_start",
        "on_validation_batch_end",
        "on_validation_end",
        "on_save_checkpoint",
        "on_train_end",
        "teardown",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """Of one fault."""

    fault: Fault
    problems: list[str]


def random_settings(dice: random.Random) -> list[str]:
    """Every setting that a place in the training depends on, in any combination."""
    chosen = {
        "--checkpoint_every_n_steps": dice.choice([None, "3", "7", "10"]),
        "--val_check_interval": dice.choice([None, "0.5", "0.25", "3", "7"]),
        "--gradient_accumulation_steps": dice.choice([None, "2", "3"]),
        "--max_steps": dice.choice([None, None, "11", "20"]),
        "--beta_schedule": dice.choice([None, "controller", "cyclical"]),
        "--num_workers": dice.choice([None, None, None, "1"]),
        "--on_collapse": dice.choice(["warn", "warn", "stop"]),
    }
    return [word for flag, value in chosen.items() if value is not None for word in (flag, value)]


def random_fault(dice: random.Random, seconds: float, files: int) -> Fault:
    """Anywhere in a life of so many seconds and operations on files."""
    signum = dice.choice([signal.SIGKILL, signal.SIGKILL, *ANSWERED])
    kind = dice.choice(["moment", "file", "hook"])
    if kind == "moment":
        return Fault(kind, dice.uniform(0.05, seconds), signum)
    if kind == "file":
        return Fault(kind, dice.randint(1, files), signum)
    hook = dice.choice(HOOKS)
    times = {
        "on_train_batch_start": 30,
        "on_train_batch_end": 30,
        "on_save_checkpoint": 12,
        "on_validation_batch_end": 9,
    }
    return Fault(kind, dice.randint(1, times.get(hook, 3)), signum, hook)


def fresh(folder: Path, template: Path) -> Path:
    """A folder with a store that has its tables already: making them takes longer than a life."""
    folder.mkdir()
    shutil.copy(template, folder / "mlflow.db")
    return folder


def check_end(life: Life, fault: Fault) -> list[str]:
    """What is wrong about how a process answered its fault; a signal may also come too late."""
    if fault.signum == signal.SIGKILL:
        return [] if life.code in (-signal.SIGKILL, 2, *FINISHED) else [f"exit code {life.code}: {life.output[-500:]}"]
    found = []
    if life.code not in (128 + fault.signum, -fault.signum, 2, *FINISHED):
        found.append(f"exit code {life.code}: {life.output[-500:]}")
    if "Traceback" in life.output:
        found.append(f"a traceback: {life.output[-1500:]}")
    if life.seconds_after_signal > SECONDS_TO_STOP:
        found.append(f"{life.seconds_after_signal:.0f} s until it ended")
    return found


def ordeal(folder: Path, arguments: list[str], faults: list[Fault]) -> list[Outcome]:
    """Run to the end through all `faults`; a run that has no checkpoint yet is started again."""
    outcomes = []
    resume: list[str] = []
    for fault in [*faults, None]:
        life = live(folder, ["pretrain", *arguments, *resume], fault)
        if life.code == 2 and resume:
            assert "has no checkpoint to continue from" in life.output, life.output
            life = live(folder, ["pretrain", *arguments], fault)
        if fault is None:
            assert life.code in FINISHED, life.output
            break
        problems = check_end(life, fault)
        # A signal while the run is being closed finds it FINISHED; one before it is opened, as an earlier life has left it.
        if life.code == 128 + fault.signum and list(folder.glob("mlruns/*/*")):
            newest = newest_run(folder)
            if newest.opened_by == life.pid and newest.status not in ENDED:
                problems.append(f"the run's status is {newest.status}")
        outcomes.append(Outcome(fault, problems))
        resume = ["--resume_from_checkpoint", "last.ckpt"] if list(folder.glob("mlruns/*/*")) else []
    return outcomes
