"""`atomic_write`: a file is there whole or not at all, whatever ends the process that writes it."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(target: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a file beside `target` that takes its place when the `with` ends well; on any error `target` is left as it was.

    What a killed process leaves is `.NAME.PROCESS.THREAD.partial`, which nobody takes for the file itself; :func:`sweep` removes it.

    Args:
        target: the file; its folder must exist.
        durable: wait until the content is on the disk, so that it outlives a power cut too.

    Raises:
        OSError: it cannot be written, as on a disk that is full.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_write(path) as file:
    ...     _ = file.write(b"whole")
    ...     path.exists()
    False
    >>> path.read_bytes()
    b'whole'
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def sweep(folder: Path, quiet_seconds: float = 600.0) -> list[Path]:
    """Remove what processes have left half-written in a folder that are no more.

    Args:
        folder: where :func:`atomic_write` wrote; need not exist.
        quiet_seconds: files that changed more recently stay: another machine that shares the folder may be writing them.

    Returns:
        What was removed.
    """
    import psutil  # writing does without it

    removed = []
    for left in sorted(folder.glob(".*.partial")):
        named = re.fullmatch(r"\..+\.(\d+)\.\d+\.partial", left.name)
        with suppress(FileNotFoundError):  # its process has finished meanwhile
            if named and not psutil.pid_exists(int(named[1])) and time.time() - left.stat().st_mtime > quiet_seconds:
                left.unlink()
                removed.append(left)
    return removed
