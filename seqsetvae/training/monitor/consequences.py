"""`Consequences`: what judgements lead to: an alert is told, a healthy model kept, a dead run ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl

from seqsetvae.collapse.detector import Detector
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.collapse.watch import Check
from seqsetvae.training.monitor.alert_outlets import AlertOutlets
from seqsetvae.training.monitor.healthy_checkpoints import HealthyCheckpoints
from seqsetvae.training.monitor.steps import steps_of

FLAG = re.compile(r"--\w+\.(?=\w)")
"""What makes a flag of a setting's name."""


class Consequences:
    """Of one monitor.

    Args:
        outlets: where alerts go.
        healthy: keeps checkpoints of the time before a collapse; None: nothing is kept.
        on_alert: called with each alert, after it was recorded.
    """

    def __init__(
        self,
        outlets: AlertOutlets,
        healthy: HealthyCheckpoints | None,
        on_alert: Callable[[Diagnosis], None] | None,
    ) -> None:
        self.outlets, self.healthy, self.on_alert = outlets, healthy, on_alert
        self.stopped_at: int | None = None
        """Optimizer step at which the run was ended; None if it was not."""
        self.backup: Path | None = None
        self._due: list[Check] = []

    def forget(self) -> None:
        """Before another training, of which nothing has come yet."""
        self.stopped_at, self.backup, self._due = None, None, []

    def tell(self, checks: Iterable[Check], primary: Detector) -> None:
        """At once: what detectors said. What those of the one that acts lead to comes with :meth:`act`."""
        for check in checks:
            diagnosis = check.diagnosis
            self.outlets.judged(diagnosis.detector, diagnosis.level)
            if check.is_alert:
                self._alert(diagnosis)
            if diagnosis.detector == primary.name:
                self._due.append(check)

    def _alert(self, diagnosis: Diagnosis) -> None:
        if not self.outlets.knows_flags:
            diagnosis = replace(diagnosis, advice=FLAG.sub("", diagnosis.advice))
        self.outlets.alert(diagnosis)
        if self.on_alert is not None:
            self.on_alert(diagnosis)

    def act(self, trainer: pl.Trainer, primary: Detector) -> None:
        """What was said since the last call leads to this. May write a checkpoint, and end the training."""
        due, self._due = self._due, []
        config = primary.config
        patient = primary.state.red_streak < config.early_stop_patience
        if due and config.on_collapse != "warn" and not patient and self.stopped_at is None:
            self.stopped_at = steps_of(trainer)
            trainer.should_stop = True
        if self.healthy is not None:
            for check in due:
                self._keep(trainer, primary, check, self.healthy)

    def _keep(self, trainer: pl.Trainer, primary: Detector, check: Check, healthy: HealthyCheckpoints) -> None:
        diagnosis = check.diagnosis
        judged = not primary.in_grace(diagnosis.step)  # an untrained posterior may be in range by chance
        healthy.offer(trainer, diagnosis.beta, judged and diagnosis.streak == 0 and diagnosis.level <= Level.YELLOW)
        if check.became_red and primary.config.auto_save_on_collapse:
            self.backup = healthy.back_up(diagnosis.step)
            if self.backup is not None:
                self.backup = self.outlets.keep(self.backup)
            self.outlets.note(Level.GREEN, healthy.backup_message(self.backup))

    def goes_on(self, trainer: pl.Trainer, on_collapse: str) -> None:
        """A run that was ended is continued: it ends at once again, unless that is no longer wanted."""
        if self.stopped_at is not None and on_collapse == "warn":
            self.stopped_at = None
        trainer.should_stop |= self.stopped_at is not None
