"""One life of a run: a process of its own that runs a command of `seqsetvae`, and may be made to die at a certain point.

Processes are forked from a server that has imported everything already, so that a life takes as long as its training and no longer.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.commands import ROOT, fork, settle_in

LONGEST_LIFE = 300.0
"""Seconds."""
STRUCK = "struck.txt"
"""File in the folder of a life: when a process sent itself its signal."""
FOR_WORKER = "FAULT_OF_WORKER"
"""Environment variable: the fault of the first worker of `tune` that comes to it, as JSON."""


@dataclass(frozen=True)
class Fault:
    """What happens to a process, and when.

    `moment`: `at` seconds after its start. `file`: at its `at`-th operation on a file below its folder (opened for writing, renamed or
    removed). `statement`: at the `at`-th statement that it sends to a database, of those that hold the text `hook`. `hook`: at the
    `at`-th call of the trainer's `hook`.
    """

    kind: str
    at: float
    signum: int = signal.SIGKILL
    hook: str = ""
    times: int = 1
    """How often: a tenth of a second apart at a moment, at once at a statement."""
    whom: str = "command"
    """`command`: the process itself. `worker`: one that it has started, or itself while there is none. `all`: both, as a machine does."""

    def __str__(self) -> str:
        return f"{signal.Signals(self.signum).name} of {self.whom} at {self.kind} {self.hook or ''} {self.at:g}"

    @property
    def where(self) -> str:
        """In words, for the table."""
        kinds = {
            "moment": "a random moment",
            "file": "a random operation on a file",
            "statement": "a random SQL statement",
        }
        return kinds.get(self.kind, self.hook)


@dataclass(frozen=True)
class Life:
    """How it went."""

    code: int
    """Exit code; negative: the signal that ended it."""
    seconds: float
    seconds_after_signal: float
    """From a signal that the process may answer to its end; 0 without one."""
    output: str
    pid: int
    """Of the process: a run names the last one that opened it."""


def live(
    folder: Path, arguments: Sequence[str], fault: Fault | None = None, environment: dict[str, str] | None = None
) -> Life:
    """Run `seqsetvae ARGUMENTS` in `folder`."""
    log, struck = folder / "output.txt", folder / STRUCK
    struck.unlink(missing_ok=True)
    log.write_text("")  # a process may die before it opens it
    here = {**os.environ, **(environment or {})}
    started = time.monotonic()
    process = fork(_live, str(folder), list(arguments), fault, here)
    told = 0.0
    if fault is not None and fault.kind == "moment":
        process.join(fault.at)
        if process.is_alive():
            told = time.monotonic()
            for _ in range(fault.times):
                _strike(process.pid or 0, fault)
                process.join(0.1)
    process.join(LONGEST_LIFE)
    ended = time.monotonic()
    if process.is_alive():
        process.kill()
        raise AssertionError(f"still running after {LONGEST_LIFE} s, {fault}:\n{log.read_text()[-3000:]}")
    assert process.exitcode is not None
    if struck.exists():
        told = float(struck.read_text())
    return Life(process.exitcode, ended - started, ended - told if told else 0.0, log.read_text(), process.pid or 0)


def _strike(pid: int, fault: Fault) -> None:
    """Send the signal from outside."""
    try:
        command = psutil.Process(pid)
        workers = command.children(recursive=True)
    except psutil.NoSuchProcess:
        return
    struck = {"command": [command], "worker": workers[:1] or [command], "all": [command, *workers]}[fault.whom]
    for process in struck:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(fault.signum)


def _live(folder: str, arguments: list[str], fault: Fault | None, environment: dict[str, str]) -> None:
    """In the process."""
    settle_in(folder, environment, "output.txt", "output.txt")
    if fault is not None and fault.whom == "worker" and fault.kind != "moment":
        # Python imports what is called `sitecustomize`: see the folder.
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests" / "faults" / "in_worker"), str(ROOT)])
        os.environ[FOR_WORKER] = json.dumps(asdict(fault))
    elif fault is not None:
        prepare_to_die(folder, fault)
    from seqsetvae.app.main import main

    main(arguments)


def prepare_to_die(folder: str, fault: Fault) -> None:
    """Lay the fault into this process."""
    if fault.kind == "file":
        _die_at_file(folder, fault)
    elif fault.kind == "statement":
        _die_at_statement(folder, fault)
    elif fault.kind == "hook":
        _die_at_hook(folder, fault)


def _die(folder: str, fault: Fault) -> None:
    """Once: of all workers that would, the first does."""
    try:
        file = os.open(f"{folder}/{STRUCK}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return
    os.write(file, str(time.monotonic()).encode())  # the same clock for all processes
    os.close(file)
    for _ in range(fault.times):
        os.kill(os.getpid(), fault.signum)


def _die_at_statement(folder: str, fault: Fault) -> None:
    import sqlalchemy as sa

    number = itertools.count(1)

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if fault.hook in statement and next(number) == fault.at:
            _die(folder, fault)


def _die_at_file(folder: str, fault: Fault) -> None:
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        path = os.path.abspath(os.fsdecode(arguments[0])) if isinstance(arguments[0], str | bytes) else ""
        if path.startswith(folder):
            seen += 1
            if seen == fault.at:
                _die(folder, fault)

    sys.addaudithook(watch)


def _die_at_hook(folder: str, fault: Fault) -> None:
    import lightning.pytorch as pl

    from seqsetvae.training import fit

    class Dying(pl.Callback):
        seen = 0

    def hook(self: Dying, *_: object, **__: object) -> None:
        self.seen += 1
        if self.seen == fault.at:
            _die(folder, fault)

    setattr(Dying, fault.hook, hook)
    original = fit.pretrain
    fit.pretrain = lambda config, **more: original(config, **more | {"callbacks": [*more["callbacks"], Dying()]})
