"""Commands of `seqsetvae` as processes of their own that cost no start: forked from a server that has imported everything already."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any, Self

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.preloaded"])
ROOT = Path(__file__).parents[2]


def fork(work: Callable[..., None], *given: Any) -> ForkServerProcess:
    """`work(*given)` in a process of its own; both must be picklable."""
    # The server is told of no search path, and loads nothing that it does not find where it starts.
    with contextlib.chdir(ROOT):
        ensure_running()
    process = CONTEXT.Process(target=work, args=given)
    process.start()
    return process


def settle_in(folder: str, environment: dict[str, str], output: str, errors: str) -> None:
    """In a new process: its folder, its environment (the server has that of the test that came first), its streams."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, output), (2, errors)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]


class Command:
    """A running process, like a :class:`subprocess.Popen`, in the working directory and with the environment of the test."""

    def __init__(self, words: Sequence[str], *, pause: float = 0.0, script: bool = False) -> None:
        """Start `seqsetvae WORDS`.

        Args:
            words: a verb and its flags.
            pause: seconds that a training rests after each step, so that there is time to do something to it.
            script: start `python WORDS` instead.
        """
        number = len(list(Path.cwd().glob("command_*.out")))
        self._out, self._err = Path.cwd() / f"command_{number}.out", Path.cwd() / f"command_{number}.err"
        for file in (self._out, self._err):
            file.touch()
        streams = (str(Path.cwd()), dict(os.environ), str(self._out), str(self._err))
        self._process = fork(_run, streams, list(words), pause, script)
        self.pid = self._process.pid or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._out.read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return self._err.read_text(encoding="utf-8")

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = 300.0) -> int:
        """Its exit code. Raises :class:`AssertionError` if it has not ended within `timeout` seconds, and kills it."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise AssertionError(f"still running after {timeout} s:\n{self.stdout[-2000:]}{self.stderr[-2000:]}")
        return self._process.exitcode


def run(*words: str) -> Command:
    """`seqsetvae WORDS`, which has ended."""
    command = Command(words)
    command.wait()
    return command


def run_script(*words: str) -> Command:
    """`python WORDS`, which has ended; what the server has loaded is loaded already."""
    command = Command(words, script=True)
    command.wait()
    return command


def _run(streams: tuple[str, dict[str, str], str, str], words: list[str], pause: float, script: bool) -> None:
    settle_in(*streams)
    if script:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
        return
    if pause:
        _rest_after_each_step(pause)
    from seqsetvae.app.main import main

    main(words)


def _rest_after_each_step(seconds: float) -> None:
    import time

    from seqsetvae.training.module import PretrainModule

    PretrainModule.on_train_batch_end = lambda *_: time.sleep(seconds)  # a hook that it leaves to others
