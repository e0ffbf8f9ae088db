"""One live line for each running trial; where the output is no terminal, one line for each trial that starts or ends."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

_log = logging.getLogger(__name__)


class StudyProgress:
    """Takes the workers' events and what the study has found.

    Args:
        n_trials: of the study.
        stream: where the live lines go.
    """

    def __init__(self, n_trials: int, stream: TextIO | None = None) -> None:
        self.n_trials = n_trials
        self.stream = stream or sys.stdout
        self.running: dict[int, dict[str, Any]] = {}
        self.finished = 0
        self.best = "none yet"
        self._drawn = 0
        self._live = self.stream.isatty()

    def take(self, event: dict[str, Any]) -> None:
        """An event of a worker."""
        number = event["trial"]
        if event.get("event") == "end":
            self.running.pop(number, None)
        else:
            self.running.setdefault(number, {}).update(event)

    def forget(self, number: int) -> None:
        """A trial whose worker has vanished."""
        self.running.pop(number, None)

    def say(self, line: str) -> None:
        """A line that stays."""
        self._wipe()
        _log.info(line)

    def draw(self) -> None:
        """Show how it stands, in place of how it stood; nothing where that cannot be erased again."""
        if not self._live:
            return
        self._wipe()
        lines = [f"{self.finished} of {self.n_trials} trials finished, best so far: {self.best}"]
        lines += [trial_line(event) for _, event in sorted(self.running.items())]
        self.stream.write("\n".join([*lines, ""]))
        self.stream.flush()
        self._drawn = len(lines)

    def _wipe(self) -> None:
        if self._drawn:
            self.stream.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0


def trial_line(event: dict[str, Any]) -> str:
    """Trial, step, level, best so far.

    >>> trial_line({"trial": 7, "step": 120, "total": 200, "level": "yellow", "best": 12.345})
    '  trial   7  step    120 of 200  yellow  best validation NLL 12.35'
    """
    if "step" not in event:
        return f"  trial {event['trial']:3d}  starting"
    best = "none yet" if event["best"] is None else f"{event['best']:.4g}"
    return (
        f"  trial {event['trial']:3d}  step {event['step']:6d} of {event['total']}  {event['level']:<6}  "
        f"best validation NLL {best}"
    )
