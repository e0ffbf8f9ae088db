"""Standard streams on which nothing fails: a print never ends a training."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

NOBODY_READS = {errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO}
"""A closed pipe, a terminal that is gone, a descriptor that is none any more."""


class SteadyStream:
    """A text stream whose failures are nobody's: what nobody reads goes nowhere, what the encoding lacks is written as its number.

    Args:
        stream: where text goes as long as it can.
        outlives_readers: False: a closed pipe raises as usual, for a command that does nothing but print.
    """

    def __init__(self, stream: TextIO, outlives_readers: bool) -> None:
        self._stream = stream
        self._outlives_readers = outlives_readers

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:
            self._failed(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._failed(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _failed(self, error: OSError | ValueError) -> None:
        if isinstance(error, BrokenPipeError) and not self._outlives_readers:
            raise error
        if isinstance(error, OSError) and error.errno in NOBODY_READS:
            self._give_up()

    def let_go(self) -> None:
        """What still waits to be written is written, or goes nowhere: Python would try it again at its end and fail."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def _give_up(self) -> None:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def steady_streams(outlives_readers: bool = True) -> Iterator[None]:
    """Within, `print` to standard output or standard error never raises; closed descriptors are open to nowhere.

    Args:
        outlives_readers: go on when whoever read has gone.
    """
    _open_descriptors()
    before = sys.stdout, sys.stderr
    steady = [_steady(stream, outlives_readers) for stream in before]
    sys.stdout, sys.stderr = (cast(TextIO, stream) for stream in steady)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in steady:
            stream.let_go()


def _steady(stream: Any, outlives_readers: bool) -> SteadyStream:
    if stream is None:  # Python's answer to a descriptor that was closed when it started
        stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process
    return stream if isinstance(stream, SteadyStream) else SteadyStream(stream, outlives_readers)


def _open_descriptors() -> None:
    """Without this the next file that is opened, such as a database, would be what a child process prints into."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
