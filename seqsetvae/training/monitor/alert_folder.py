"""`AlertFolder`: files for people who look into a folder rather than into MLflow."""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from seqsetvae.atomic import atomic_write
from seqsetvae.errors import InputError
from seqsetvae.training.monitor.healthy_checkpoints import link_or_copy

_log = logging.getLogger(__name__)

WRITTEN = (
    *("alerts.json", "collapse_detection*.log", "final_statistics*.txt", "monitoring_plot_step_*.png"),
    *(
        "kl_per_dimension_step_*.png",
        "lost_step_*.png",
        "model_before_collapse_step_*.ckpt",
        "healthy_*.ckpt",
        "early_*.ckpt",
    ),
)
"""What a run leaves in the folder."""


class AlertFolder:
    """A folder for one run after the other: what an earlier one has left there is put aside, not lost.

    Raises:
        InputError: no file can be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own: set[str] = set()
        self._failed = False
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise InputError(
                f"--monitor.log_dir: {path} cannot be written ({error.strerror}). Name another folder, or leave the flag out: log, "
                "figures and statistics are among the run's artifacts in any case."
            ) from error

    @rank_zero_only
    def save(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all. A disk that is full ends the writing, not the training."""
        if self._failed:
            return
        target = self.path / name
        try:
            if name not in self._own and target.is_file() and not content.startswith(target.read_bytes()):
                put_aside(target)
            self._own.add(name)
            with atomic_write(target) as file:
                file.write(content)
        except OSError as error:
            self._failed = True
            _log.warning(f"{target} cannot be written ({error.strerror}): no more files go there.")

    def keep(self, file: Path) -> Path:
        """Give a file a second name in this folder, and return that; the first one where the disk does not let it."""
        target = self.path / file.name
        if file == target:
            return file
        try:
            target.unlink(missing_ok=True)
            link_or_copy(file, target)
        except OSError as error:
            _log.warning(f"{target} cannot be written ({error.strerror}): the backup is {file}.")
            return file
        return target

    @rank_zero_only
    def make_room(self) -> None:
        """Before a run that continues nothing: files of an earlier one get a folder of their own, named after their last change."""
        earlier = [path for pattern in WRITTEN for path in self.path.glob(pattern)]
        if earlier:
            ended = max(path.stat().st_mtime for path in earlier)
            aside = self.path / time.strftime("earlier_%Y%m%d_%H%M%S", time.localtime(ended))
            aside.mkdir(exist_ok=True)
            for path in earlier:
                path.replace(aside / path.name)


def put_aside(path: Path) -> None:
    """Give a file the time of its last change as a part of its name: `x.log` -> `x_20241220_143022.log`."""
    ended = time.strftime("%Y%m%d_%H%M%S", time.localtime(path.stat().st_mtime))
    path.replace(path.with_name(f"{path.stem}_{ended}{path.suffix}"))
