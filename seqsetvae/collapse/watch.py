"""`Watch`: the loop of a run's watching: check, compare with the level before, alert. The monitor, the replay and the demo all run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from seqsetvae.collapse.detector import Detector, detectors_of
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.collapse.outlook import BetaOutlook
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
        self.parts: dict[str, Detector] = {}
        """Of layers and subgroups, by name; there from their first update on."""

    @property
    def primary(self) -> Detector:
        """The detector that acts."""
        return self.detectors[0]

    def due(self, step: int) -> bool:
        """Whether a detector checks after this optimizer step."""
        return any(detector.due(step) for detector in self.detectors)

    def update_parts(
        self, whole: CollapseStatistics, parts: Mapping[str, CollapseStatistics]
    ) -> tuple[list[Check], CollapseStatistics]:
        """Have each layer and subgroup judged by itself; what came out, and the whole as it is to be judged after that.

        A part that collapsed makes the run orange: it is not dead, and not as it should be.
        """
        if not parts or self.primary.config.rules == "source":
            return [], whole
        checks = []
        for name, one in parts.items():
            detector = self._part(name)
            if detector.due(one.step):
                before = Level(detector.state.level)
                checks.append(Check(detector.check(one), before))
        levels = {name: Level(detector.state.level) for name, detector in self.parts.items()}
        return checks, _with_parts(whole, levels, parts)

    def _part(self, name: str) -> Detector:
        if name not in self.parts:
            self.parts[name] = Detector(self.primary.config, self.primary.outlook, name)
        return self.parts[name]

    def update(self, statistics: CollapseStatistics) -> list[Check]:
        """Have every detector that is due judge an update; what is not finite is judged at once."""
        checks = []
        for detector in self.detectors:
            if detector.due(statistics.step) or not statistics.finite:
                before = Level(detector.state.level)
                checks.append(Check(detector.check(statistics), before))
        return checks

    def looks_collapsed(self, parts: Mapping[str, CollapseStatistics]) -> bool:
        """Whether a layer or a subgroup does, as far as one measurement can tell."""
        return any(self._part(name).verdict([one]).level >= Level.ORANGE for name, one in parts.items())

    def verdict(
        self, measured: Sequence[CollapseStatistics], parts: Sequence[Mapping[str, CollapseStatistics]] = ()
    ) -> tuple[Check, CollapseStatistics]:
        """Judge the finished model by what was measured at the end (:meth:`Detector.verdict`), and the figures that it rests on."""
        names = parts[-1] if parts else {}
        levels = {name: self._part(name).verdict([one[name] for one in parts if name in one]).level for name in names}
        whole = [_with_parts(one, levels, names) for one in measured] if names else measured
        return Check(self.primary.verdict(whole), Level(self.primary.state.level)), whole[-1]

    def state_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint may hold."""
        return {detector.name: detector.state_dict() for detector in [*self.detectors, *self.parts.values()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; a detector that was not there then begins anew."""
        for detector in self.detectors:
            if detector.name in state:
                detector.load_state_dict(state[detector.name])
        for name in state:
            if name.startswith(("layer ", "group ")):
                self._part(name).load_state_dict(state[name])


def _with_parts(
    whole: CollapseStatistics, levels: Mapping[str, Level], parts: Mapping[str, CollapseStatistics]
) -> CollapseStatistics:
    return replace(
        whole,
        collapsed_parts=tuple(name for name, level in levels.items() if level == Level.RED),
        unasked_parts=tuple(name for name, one in parts.items() if whole.heard is not None and one.heard is None),
    )
