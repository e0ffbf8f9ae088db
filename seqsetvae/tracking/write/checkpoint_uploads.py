"""Checkpoints on their way to a remote artifact store while the run goes on: a machine that dies does not take a day's training along."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from seqsetvae import names
from seqsetvae.tracking.write.journal import Record

LOOK_SECONDS = 5.0
"""Between two looks at the folder."""


class CheckpointUploads:
    """Records for what is new in a folder of checkpoints, at a bounded rate. For one thread only."""

    def __init__(self, folder: Path, every_seconds: float) -> None:
        """`every_seconds`: at least so long lies between two uploads during the run, however many checkpoints it writes."""
        self._folder, self._every_seconds = folder, every_seconds
        self._seen: dict[str, tuple[int, int]] = {}
        self._last = float("-inf")
        self._looked = float("-inf")

    def due(self, idle: Callable[[], bool]) -> list[Record]:
        """What to upload now. Nothing while earlier files still wait (`idle` says no): a slow store gets no second set."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS or now - self._last < self._every_seconds or not idle():
            return []
        self._looked = now
        found = self.rest()
        if found:
            self._last = now
        return found

    def rest(self) -> list[Record]:
        """Everything that is new since the last call."""
        found = []
        for path in sorted(self._folder.glob("*.ckpt")):
            try:
                status = path.stat()
            except FileNotFoundError:  # a better one has just taken its place
                continue
            if self._seen.get(path.name) != (status.st_mtime_ns, status.st_size):
                self._seen[path.name] = (status.st_mtime_ns, status.st_size)
                found.append({"file": {"link": str(path), "folder": names.ARTIFACT_CHECKPOINTS}})
        return found
