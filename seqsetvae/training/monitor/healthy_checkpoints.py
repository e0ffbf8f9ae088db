"""A ring of checkpoints from healthy times, so that "the model before the collapse" is really from before it."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from seqsetvae.atomic import atomic_write
from seqsetvae.training.checkpoint_names import sweep


@dataclass(frozen=True)
class Healthy:
    """A checkpoint of a time at which nothing looked like a collapse yet."""

    path: Path
    step: int
    beta: float | None
    """Weight of the KL term at that time."""
    healthy: bool
    """False only for the first check of a run: the earliest state there is, for a run that never was healthy."""


class HealthyCheckpoints:
    """Keeps `healthy_<step>.ckpt` of the last healthy checks; until there is one, `early_<step>.ckpt` of the first check.

    Writing one takes as long as some training steps, hence not at every check: after the first healthy one, every `every_checks`.

    Args:
        folder: of the run's checkpoints.
        size: how many are kept.
        every_checks: healthy checks between two of them.
        run_id: another run, such as a rescue that starts from this one's checkpoint, does not take up its state.
    """

    def __init__(self, folder: Path, size: int = 2, every_checks: int = 10, run_id: str = "") -> None:
        self.folder = folder
        self.run_id = run_id
        self.size = size
        self.every_checks = every_checks
        self._ring: list[Healthy] = []
        self._healthy_checks = 0

    @property
    def newest(self) -> Healthy | None:
        """The newest that is still there."""
        return next((one for one in reversed(self._ring) if one.path.is_file()), None)

    def offer(self, trainer: pl.Trainer, beta: float | None, healthy: bool) -> None:
        """After a check: write a checkpoint if one is due."""
        self._healthy_checks += healthy
        first = not self._ring
        due = healthy and (self._healthy_checks == 1 or self._healthy_checks % self.every_checks == 0)
        if not (first or due):
            return
        step = trainer.global_step
        path = self.folder / f"{'healthy' if healthy else 'early'}_{step:07d}.ckpt"
        before = self._ring
        self._ring = [*(one for one in before if one.healthy), Healthy(path, step, beta, healthy)][-self.size :]
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            for old in before:
                if old not in self._ring:
                    old.path.unlink(missing_ok=True)

    def back_up(self, step: int) -> Path | None:
        """Keep the newest under the name that tells what it is, beside the ring; None where there is none yet."""
        if self.newest is None:
            return None
        target = self.folder / f"model_before_collapse_step_{step:07d}.ckpt"
        if not target.exists():
            link_or_copy(self.newest.path, target)
        return target

    def backup_message(self, backup: Path | None) -> str:
        """What :meth:`back_up` came to, in words."""
        if backup is None:
            return "There is no model from before the collapse: this was the first check."
        never = "" if self.newest and self.newest.healthy else " (of its first check: it never was healthy)"
        return f"Model from before the collapse saved to: {backup}{never}"

    def state_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint may hold."""
        return {
            "checks": self._healthy_checks,
            "ring": [asdict(one) | {"path": one.path.name} for one in self._ring],
            "run_id": self.run_id,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the ring of this run, also where files of it are gone by now: the run is about to write later ones again."""
        self._healthy_checks = state["checks"]
        if state.get("run_id", self.run_id) == self.run_id:
            self._ring = [Healthy(**one | {"path": self.folder / one["path"]}) for one in state["ring"]]

    def sweep(self, step: int) -> None:
        """Remove what the run had let go by this step."""
        kept = {one.path.name for one in self._ring}
        for pattern in ("healthy_*.ckpt", "early_*.ckpt"):
            sweep(self.folder, pattern, kept, step)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that is never changed in place; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        with source.open("rb") as original, atomic_write(target) as copy:
            shutil.copyfileobj(original, copy)
