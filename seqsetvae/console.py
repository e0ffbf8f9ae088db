"""What is said while work goes on: records of the logger `seqsetvae`, which its one handler shows as plain sentences.

A module says something with `logging.getLogger(__name__)`: news with `info`, which goes to standard output, trouble with `warning`, which
goes to standard error. A program that has set up logging itself gets the records, and nothing is printed besides.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from seqsetvae.streams import SteadyStream, steady_streams

ALERTS = logging.getLogger("seqsetvae.alerts")
"""Alerts of the collapse monitor. They are warnings that stand among the news of their run, not among its troubles."""
_logger = logging.getLogger("seqsetvae")


class Console(logging.Handler):
    """Writes messages to the standard streams as they are at that moment, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        if _somebody_else_listens():
            return
        from tqdm import tqdm

        trouble = record.levelno >= logging.WARNING and record.name != ALERTS.name
        stream = sys.stderr if trouble else sys.stdout
        if stream is None:  # a descriptor that was closed when Python started
            return
        encoding = getattr(stream, "encoding", None) or "utf-8"
        try:
            tqdm.write(self.format(record).encode(encoding, "replace").decode(encoding), file=stream)
            stream.flush()
        except (OSError, ValueError):  # nobody reads; the work goes on
            if isinstance(stream, SteadyStream):  # which lets an error through only where the command is to end with it
                raise


_console = Console()


def _somebody_else_listens() -> bool:
    others = [handler for handler in _logger.handlers if handler is not _console]
    return bool(others or (_logger.propagate and logging.getLogger().handlers))


def attach() -> None:
    """From now on what is logged is shown, unless the program has set up logging by itself."""
    if _somebody_else_listens():
        if _console in _logger.handlers:
            _logger.removeHandler(_console)
            _logger.setLevel(logging.NOTSET)
    elif _console not in _logger.handlers:
        _logger.addHandler(_console)
        _logger.setLevel(logging.INFO)


@contextmanager
def console(outlives_readers: bool = True, *, command_line: bool = False) -> Iterator[None]:
    """Within, what is logged is shown, and neither that nor a `print` raises.

    Args:
        outlives_readers: go on when whoever read has gone.
        command_line: the terminal is ours, whatever a library may do to the root logger.
    """
    propagate = _logger.propagate
    _logger.propagate = propagate and not command_line
    attach()
    try:
        with steady_streams(outlives_readers):
            yield
    finally:
        _logger.propagate = propagate
