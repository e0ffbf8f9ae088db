"""`AlertOutlets`: where the monitor's alerts go: a folder, the console, and whoever is away from it. `RunOutlets` adds MLflow.

A folder (`--monitor.log_dir`) is laid out as in the source guides:

collapse_detection.log           every change of level, with reasons
alerts.json                      the same as a table
monitoring_plot_step_<step>.png  figures
final_statistics.txt             the report at the end
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lightning.pytorch.utilities import rank_zero_only

from seqsetvae import names
from seqsetvae.collapse.alert_texts import as_block, as_log_entry, as_message, log_entry
from seqsetvae.collapse.alerts import PRIMARY, Alert, as_table
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.training.monitor.alert_folder import AlertFolder
from seqsetvae.training.voice import alarm, say

KEPT = 1000
"""Alerts and log entries that are kept: table and log are written anew with each alert, and have to stay small."""


class Messenger(Protocol):
    """Whoever brings messages to people, such as a :class:`~seqsetvae.training.monitor.notify.Notifier`."""

    def send(self, title: str, body: str) -> None: ...


class AlertOutlets:
    """Everything a monitor has to say. Every rank may call it; rank 0 speaks.

    Args:
        log_dir: the folder; None: no files.
        verbose: print every alert; False: red ones only.
        notifier: gets orange and red alerts, what would be one but for the grace period, and the end of a red one.
        subject: what a message says it is about, such as the name of the run.

    Raises:
        InputError: `log_dir` cannot be written.
    """

    knows_flags = False
    """Whether whoever reads advice started the run by a command line, where it has flags to give."""

    def __init__(
        self,
        log_dir: str | None = None,
        verbose: bool = True,
        notifier: Messenger | None = None,
        subject: str = "",
    ) -> None:
        self._folder = None if log_dir is None else AlertFolder(Path(log_dir))
        self.verbose = verbose
        self.notifier = notifier
        self.subject = subject
        self._alerts: list[Alert] = []
        self._log: list[str] = []
        self._levels: dict[str, int] = {}
        self._worst = Level.UNKNOWN
        self._first_red_step: int | None = None

    @property
    def alerts(self) -> list[Diagnosis]:
        """All so far (the newest `KEPT`), oldest first."""
        return [alert.diagnosis for alert in self._alerts]

    @property
    def log_file(self) -> str:
        """Where the log is."""
        if self._folder is None:
            return "none, as there is no log_dir"
        return str(self._folder.path / file_name(names.ARTIFACT_COLLAPSE_LOG))

    def judged(self, detector: str, level: Level) -> None:
        """A detector has checked, whether or not that changed its level: until then it is unknown."""
        if detector == PRIMARY and self._levels.get(PRIMARY) is None:
            self._levels[PRIMARY] = int(level)
            self._worst = max(self._worst, level)
            self._level_known()

    def alert(self, diagnosis: Diagnosis) -> None:
        """A detector's level has changed. The verdict of a run that was killed behind it, and gives it again, is no other one."""
        said = [one.diagnosis for one in self._alerts if one.diagnosis.detector == diagnosis.detector][-1:]
        if any((one.step, one.level) == (diagnosis.step, diagnosis.level) for one in said):
            return
        alert = Alert(diagnosis, time.time())
        self._alerts = [*self._alerts, alert][-KEPT:]
        self._log = [*self._log, as_log_entry(alert)][-KEPT:]
        before = self._levels.get(diagnosis.detector, Level.GREEN)
        self._levels[diagnosis.detector] = int(diagnosis.level)
        if diagnosis.detector == PRIMARY:
            self._worst = max(self._worst, diagnosis.level)
            if diagnosis.level == Level.RED and self._first_red_step is None:
                self._first_red_step = diagnosis.step
            self._level_known()
        self._write_table()
        self._write_log()
        if self.verbose or diagnosis.level == Level.RED:
            alarm(as_block(diagnosis))
        urgent = diagnosis.level >= Level.ORANGE or before == Level.RED or diagnosis.held_back
        if self.notifier is not None and urgent:
            self._notify(diagnosis, Level(before))

    def note(self, level: Level, message: str) -> None:
        """A line in the log that is no alert."""
        self._log = [*self._log, log_entry(time.time(), level, message)][-KEPT:]
        self._write_log()
        if self.verbose or level == Level.RED:
            say(message)

    def figure(self, key: str, png: bytes, step: int) -> None:
        """A figure, for the folder. May be called from another thread."""
        plot = "monitoring_plot" if key == names.IMAGE_COLLAPSE else key.rpartition("/")[2]
        self.save(f"{plot}_step_{step}.png", png)

    def no_more_figures(self) -> None:
        """There will be no others."""

    def report(self, text: str) -> None:
        """The final report."""
        self._write(names.ARTIFACT_COLLAPSE_REPORT, text)
        if self.verbose:
            say(text.rstrip("\n"))

    def save(self, name: str, content: bytes) -> None:
        """Write a file of the folder, if there is one."""
        if self._folder is not None:
            self._folder.save(name, content)

    def begin(self) -> None:
        """Before a run that continues nothing: what an earlier one left in the folder is put aside."""
        if self._folder is not None:
            self._folder.make_room()

    def keep(self, backup: Path) -> Path:
        """Give a checkpoint a second name in the folder, if there is one; where it is then."""
        return backup if self._folder is None else self._folder.keep(backup)

    def state_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint may hold."""
        return {
            "alerts": [alert.encode() for alert in self._alerts],
            "log": list(self._log),
            "levels": dict(self._levels),
            "worst": int(self._worst),
            "first_red_step": self._first_red_step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue that of an earlier part of the run, as it was at the checkpoint."""
        self._alerts = [Alert.decode(plain) for plain in state["alerts"]]
        self._log, self._levels = list(state["log"]), dict(state["levels"])
        self._worst, self._first_red_step = Level(state["worst"]), state["first_red_step"]
        self._level_known()
        # What was recorded behind the checkpoint is about to happen again.
        if self._alerts:
            self._write_table()
        if self._log:
            self._write_log()

    def _level_known(self) -> None:
        """The levels that are known have changed."""

    def _write_table(self) -> None:
        table = as_table(self._alerts)
        self.save(file_name(names.ARTIFACT_ALERTS), json.dumps(table, ensure_ascii=False).encode())

    def _write_log(self) -> None:
        self._write(names.ARTIFACT_COLLAPSE_LOG, "\n".join(self._log) + "\n")

    def _write(self, artifact: str, text: str) -> None:
        self.save(file_name(artifact), text.encode())

    @rank_zero_only
    def _notify(self, diagnosis: Diagnosis, before: Level) -> None:
        assert self.notifier is not None
        self.notifier.send(*as_message(diagnosis, before, self.subject))


def file_name(artifact: str) -> str:
    """In the folder, of what is an artifact of the run.

    >>> file_name(names.ARTIFACT_ALERTS)
    'alerts.json'
    """
    return artifact.rpartition("/")[2]
