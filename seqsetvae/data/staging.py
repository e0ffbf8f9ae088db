"""All or nothing: a folder is built beside its destination and takes its place in one rename."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from seqsetvae.data.store import MANIFEST
from seqsetvae.errors import InputError


@contextmanager
def staged_store(output: Path) -> Iterator[Path]:
    """Yield an empty folder `<output>.partial-<host>-<pid>` that becomes `output` when the `with` ends well.

    On any error, Ctrl-C included, it is removed and an earlier store at `output` is left as it was; what a killed process has left is
    put right by the next one. Raises InputError if `output` is something other than a store, cannot be written, or the disk is full.
    """
    if output.exists() and not (output / MANIFEST).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: exists and is not a prepared store. Choose another --output; nothing was changed.")
    mine = f"{socket.gethostname()}-{os.getpid()}"
    partial, old = (output.with_name(f"{output.name}.{what}-{mine}") for what in ("partial", "old"))
    try:
        _put_right(output)
        partial.mkdir(parents=True)
        yield partial
        _take_place(partial, output, old)
    except OSError as error:
        raise _explained(error, output) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_right(output: Path) -> None:
    """Undo what processes of this machine have left that are no more.

    Half a store goes; an earlier one that had been moved aside, with the new one not yet in its place, comes back.
    """
    for what in ("old", "partial"):
        prefix = f"{output.name}.{what}-{socket.gethostname()}-"
        for left in [path for path in output.parent.glob("*") if path.name.startswith(prefix)]:
            pid = left.name.removeprefix(prefix)
            # This process has not begun: in a container the next one often has the number of the last.
            if not pid.isdigit() or (int(pid) != os.getpid() and psutil.pid_exists(int(pid))):
                continue
            if what == "old" and not output.exists() and (left / MANIFEST).is_file():
                left.rename(output)
            else:
                shutil.rmtree(left)


def _take_place(partial: Path, output: Path, old: Path) -> None:
    if not output.exists():
        partial.rename(output)
        return
    output.rename(old)
    try:
        partial.rename(output)
    except BaseException:
        old.rename(output)
        raise
    shutil.rmtree(old)


def _explained(error: OSError, output: Path) -> InputError:
    if error.errno == errno.ENOSPC:
        return InputError(f"{output}: the disk is full. Free space or choose another --output; nothing was changed.")
    return InputError(f"{output}: cannot be written ({error.strerror or error}). Choose another --output.")
