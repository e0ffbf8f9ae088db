"""`Watch`: the loop of a run's watching: check, compare with the level before, alert. The monitor, the replay and the demo all run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqsetvae.collapse.detector import BetaOutlook, Detector, detectors_of
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config.settled import SettledMonitor


@dataclass(frozen=True)
class Check:
    """What a detector said of an update, and the level at which it stood before."""

    diagnosis: Diagnosis
    before: Level

    @property
    def is_alert(self) -> bool:
        """Whether the level has changed: that, and nothing else, is worth a message."""
        return self.diagnosis.level != self.before

    @property
    def became_red(self) -> bool:
        return self.diagnosis.level == Level.RED > self.before


class Watch:
    """The detectors of a run, side by side.

    Args:
        config: thresholds and rules.
        outlook: length of the run and what is known about beta.

    >>> from seqsetvae.config import MonitorConfig
    >>> from seqsetvae.config.settling import settle_monitor
    >>> watch = Watch(settle_monitor(MonitorConfig(), total_steps=2000), BetaOutlook(2000))
    >>> [check] = watch.update(CollapseStatistics(500, 1024, 0.0, 0, 16, 0.0, 6.9, 1.0, 1.0, 1.0, 1.0))
    >>> check.diagnosis.level.word, check.is_alert
    ('orange', True)
    """

    def __init__(self, config: SettledMonitor, outlook: BetaOutlook) -> None:
        self.detectors = detectors_of(config, outlook)

    @property
    def primary(self) -> Detector:
        """The detector that acts."""
        return self.detectors[0]

    def due(self, step: int) -> bool:
        """Whether a detector checks after this optimizer step."""
        return any(detector.due(step) for detector in self.detectors)

    def update(self, statistics: CollapseStatistics) -> list[Check]:
        """Have every detector that is due judge an update; what is not finite is judged at once."""
        checks = []
        for detector in self.detectors:
            if detector.due(statistics.step) or not statistics.finite:
                before = Level(detector.state.level)
                checks.append(Check(detector.check(statistics), before))
        return checks

    def verdict(self, measured: Sequence[CollapseStatistics]) -> Check:
        """Judge the finished model by what was measured at the end (:meth:`Detector.verdict`)."""
        return Check(self.primary.verdict(measured), Level(self.primary.state.level))

    def state_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint may hold."""
        return {detector.name: detector.state_dict() for detector in self.detectors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; a detector that was not there then begins anew."""
        for detector in self.detectors:
            if detector.name in state:
                detector.load_state_dict(state[detector.name])
