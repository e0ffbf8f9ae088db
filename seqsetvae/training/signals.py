"""How a run answers the signals that ask it to end: the terminal's Ctrl-C and hang-up, and what a scheduler sends before it kills."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""SIGUSR1: what SLURM is usually asked to send some time before the end (`--signal=USR1@120`)."""

SOON = 0.01
"""Seconds."""


class StoppedAtOnce(BaseException):
    """A signal that nobody could wait for: outside the training loop, or the second one.

    Not a KeyboardInterrupt, which Lightning turns into another exception; nor an Exception, which may be handled on the way.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class Signals:
    """Listens while it is entered. A signal raises :class:`StoppedAtOnce`; within :meth:`patience` the first one is only noted.

    Signals that were ignored before (`nohup`) stay ignored. Outside the main thread, where Python has no signals, this does nothing.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        """The signal that was noted and has yet to be answered."""
        self._patient = self._held = self._ending = self._unbroken = False
        self._late: int | None = None
        self._previous: dict[int, Any] = {}
        self._terminals: list[int] = []
        self._unraisable: Callable[[sys.UnraisableHookArgs], object] | None = None

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._unraisable, sys.unraisablehook = sys.unraisablehook, self._not_raised
            self._terminals = [number for number in (0, 1, 2) if _is_terminal(number)]
            self._previous = {
                number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN
            }
            self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        if self._unraisable is not None:
            sys.unraisablehook, self._unraisable = self._unraisable, None
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def listen(self) -> None:
        """Take the signals back from whoever has put a handler of his own there, as Lightning does."""
        for number in self._previous:
            signal.signal(number, self._answer)

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """A stretch that must not be broken off: the first signal is noted in `requested`, a second one is raised all the same."""
        before, self._patient = self._patient, True
        try:
            yield
        finally:
            self._patient = before

    def be_patient(self, patient: bool) -> None:
        """As :meth:`patience`, from now on or until now."""
        self._patient = patient

    def hold(self) -> None:
        """Until :meth:`release` every signal is only noted, however many come: a run is being opened, which takes some seconds at most."""
        self._held = True

    def release(self) -> None:
        """End :meth:`hold`, and raise what came meanwhile. Called within the `try` that closes the run."""
        self._held = False
        self.check()

    def check(self) -> None:
        """Raise what was noted."""
        if self.requested is not None:
            raise StoppedAtOnce(self.requested)

    @contextlib.contextmanager
    def unbroken(self) -> Iterator[None]:
        """A stretch of a second at most in which nothing is raised; what should have been is raised behind it.

        Where an exception breaks into PyTorch while it writes a file, the process is aborted.
        """
        self._unbroken = True
        try:
            yield
        finally:
            self._unbroken, late, self._late = False, self._late, None
        if late is not None:
            raise StoppedAtOnce(late)

    def end(self) -> None:
        """From now on the run is being ended: no signal changes that any more."""
        self._ending = True

    def _answer(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGHUP:
            self._let_go_of_terminal()
        if self._ending:
            _say(f"{name}: the run is being ended already.")
        elif self._held:
            self.requested = number
            _say(f"{name}: stopping as soon as the run is open.")
        elif self._patient and self.requested is None:
            self.requested = number
            _say(f"{name}: stopping after this step, with a checkpoint. Once more stops at once.")
        else:
            self._ending = True
            _say(f"{name}: stopping at once.")
            if not self._unbroken:
                raise StoppedAtOnce(number)
            self._late = number

    def _not_raised(self, what: sys.UnraisableHookArgs) -> None:
        """Where a signal comes while Python frees an object, what it raises is lost there: it is sent once more, a moment later."""
        if isinstance(what.exc_value, StoppedAtOnce):
            self._ending = False
            again = (threading.main_thread().ident, what.exc_value.signum)
            threading.Timer(SOON, signal.pthread_kill, again).start()
        elif self._unraisable is not None:
            self._unraisable(what)

    def _let_go_of_terminal(self) -> None:
        """A terminal that has hung up takes no more text: whatever is still printed goes nowhere."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in self._terminals:
            os.dup2(nowhere, number)
        os.close(nowhere)
        self._terminals = []


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False


def _say(message: str) -> None:
    """From within a signal's handler: it may have come in the middle of another message, or whoever reads may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, f"\n{message}\n".encode())
