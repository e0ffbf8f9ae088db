"""One life of a run: a process of its own that runs a command of `seqsetvae`, and may be made to die at a certain point.

Processes are forked from a server that has imported everything already, so that a life takes as long as its training and no longer.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.preloaded"])


@dataclass(frozen=True)
class Fault:
    """What happens to a process, and when.

    `moment`: `at` seconds after its start. `file`: at its `at`-th operation on a file below its folder (opened for writing, renamed or
    removed). `hook`: at the `at`-th call of the trainer's `hook`.
    """

    kind: str
    at: float
    signum: int = signal.SIGKILL
    hook: str = ""

    def __str__(self) -> str:
        return f"{signal.Signals(self.signum).name} at {self.kind} {self.hook or ''} {self.at:g}"


@dataclass(frozen=True)
class Life:
    """How it went."""

    code: int
    """Exit code; negative: the signal that ended it."""
    seconds: float
    seconds_after_signal: float
    """From a signal that the process may answer to its end; 0 without one."""
    output: str


def live(
    folder: Path, arguments: Sequence[str], fault: Fault | None = None, environment: dict[str, str] | None = None
) -> Life:
    """Run `seqsetvae ARGUMENTS` in `folder`."""
    log = folder / "output.txt"
    process = CONTEXT.Process(target=_live, args=(str(folder), list(arguments), fault, environment or {}))
    started = time.monotonic()
    process.start()
    told = 0.0
    if fault is not None and fault.kind == "moment":
        process.join(fault.at)
        if process.is_alive():
            told = time.monotonic()
            os.kill(process.pid or 0, fault.signum)
    process.join(120.0)
    ended = time.monotonic()
    if process.is_alive():
        process.kill()
        raise AssertionError(f"still running after 120 s, {fault}:\n{log.read_text()[-3000:]}")
    assert process.exitcode is not None
    return Life(process.exitcode, ended - started, ended - told if told else 0.0, log.read_text())


def _live(folder: str, arguments: list[str], fault: Fault | None, environment: dict[str, str]) -> None:
    """In the process."""
    os.chdir(folder)
    os.environ.update(environment)
    log = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if fault is not None and fault.kind == "file":
        _die_at_file(folder, fault)
    if fault is not None and fault.kind == "hook":
        _die_at_hook(fault)
    from seqsetvae.app.main import main

    main(arguments)


def _die_at_file(folder: str, fault: Fault) -> None:
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in ("open", "os.rename", "os.remove") or threading.current_thread().name == "dying":
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        path = os.path.abspath(os.fsdecode(arguments[0])) if isinstance(arguments[0], str | bytes) else ""
        if path.startswith(folder):
            seen += 1
            if seen == fault.at:
                os.kill(os.getpid(), fault.signum)

    sys.addaudithook(watch)


def _die_at_hook(fault: Fault) -> None:
    import lightning.pytorch as pl

    from seqsetvae.training import fit

    class Dying(pl.Callback):
        seen = 0

    def hook(self: Dying, *_: object, **__: object) -> None:
        self.seen += 1
        if self.seen == fault.at:
            os.kill(os.getpid(), fault.signum)

    setattr(Dying, fault.hook, hook)
    original = fit.pretrain
    fit.pretrain = lambda config, **more: original(config, **more, callbacks=[Dying()])
