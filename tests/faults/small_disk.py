"""A file system of a few megabytes that is made full and gets room again while a command works on it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SmallDisk:
    """A mounted tmpfs. Where nobody may mount, as without root: a folder in which no file of the command can grow while it is full."""

    def __init__(self, folder: Path, mounted: bool) -> None:
        self.folder, self.mounted = folder, mounted
        self._ballast, self._full = folder / "ballast", threading.Event()
        self._filling: threading.Thread | None = None
        self._limited = 0

    def fill(self, process: subprocess.Popen[str]) -> None:
        """Leave no byte, and take what the command sets free, until :meth:`free`."""
        if not self.mounted:
            self._limited = process.pid
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return
        self._full.set()
        self._filling = threading.Thread(target=self._fill, daemon=True)
        self._filling.start()

    def free(self) -> None:
        """Room again."""
        if self._limited:
            resource.prlimit(self._limited, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if self._filling is not None:
            self._full.clear()
            self._filling.join()
            self._ballast.unlink()

    def _fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            while self._full.is_set():
                try:
                    file.write(bytes(4096))
                except OSError:
                    time.sleep(0.01)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mounted at `folder`, which is made, until the block is left."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    may = os.getuid() == 0 and shutil.which("mount") is not None
    mounted = may and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield SmallDisk(folder, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
