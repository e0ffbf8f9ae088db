"""The exceptions that a user is meant to meet."""

from __future__ import annotations

import signal


class InputError(ValueError):
    """Something the user gave (a file, a flag, a store) cannot be used as it is.

    The message names the file, row, column or flag, says what is wrong and what to do about it. The command line prints it
    without a traceback and exits with code 2; library callers catch it as a :class:`ValueError`.

    >>> raise InputError("demo.csv, row 7, column 'minute': NaN is not a time. Remove the row.")
    Traceback (most recent call last):
    seqsetvae.errors.InputError: demo.csv, row 7, column 'minute': NaN is not a time. Remove the row.
    """


class MlflowStoreError(InputError):
    """An MLflow store cannot be used now: nothing answers, the login is refused, a file cannot be opened."""


class StoppedBySignal(Exception):
    """The work was asked to stop by a signal, and has stopped; what was done until then is kept."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """128 + signal, as shells report it: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.signum


class RunFailure(Exception):
    """A run that cannot go on, for a reason that its message explains: exit code 1 and no traceback."""
