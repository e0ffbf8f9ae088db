"""What a detector made of a trajectory, held against the truth.

    dead    information below 0.01 nats: what KL threshold and active units call nothing
    alive   information of 0.1 nats or more (below that He et al. 2019 call a posterior collapsed)

The true onset of a collapse is the first check from which on the run is dead to its end, but not before the grace period has ended:
until then a posterior is given time to start, and nobody can know. A red is false on a run that does not end dead, and on one that does
while it is alive or will be again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from seqsetvae.certify.trajectory import Observation, Trajectory
from seqsetvae.collapse.detector import BetaOutlook, Detector
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.config.settling import settle_monitor

DEAD = 0.01
ALIVE = 0.1


@dataclass(frozen=True)
class Verdict:
    """One run under one rule set. Places are indices of checks."""

    trajectory: Trajectory
    levels: tuple[Level, ...]
    onset: int | None
    """The truth; None: the run does not end dead."""
    first_red: int | None
    """First red that is not false."""
    false_reds: int
    """Red checks that are false."""
    missed: int
    """Checks from the onset on with a level below orange."""

    @property
    def checks_after_onset(self) -> int:
        return 0 if self.onset is None else len(self.levels) - self.onset

    @property
    def delay(self) -> int | None:
        """Checks from the true onset to the first red; negative where the detector saw it coming."""
        return None if self.onset is None or self.first_red is None else self.first_red - self.onset

    @property
    def first_red_step(self) -> int | None:
        return None if self.first_red is None else self.trajectory.observations[self.first_red].step

    @property
    def worst(self) -> Level:
        return max(self.levels)


def true_onset(observations: Sequence[Observation], grace_steps: int) -> int | None:
    """Place of the true onset; None if the run does not end dead."""
    onset = len(observations)
    while onset > 0 and observations[onset - 1].information < DEAD:
        onset -= 1
    while onset < len(observations) and observations[onset].step < grace_steps:
        onset += 1
    return onset if onset < len(observations) else None


def score(trajectory: Trajectory, levels: Sequence[Level], grace_steps: int) -> Verdict:
    """Hold the level of each check against the truth."""
    onset = true_onset(trajectory.observations, grace_steps)
    alive = [place for place, one in enumerate(trajectory.observations) if one.information >= ALIVE]
    last_alive = len(levels) if onset is None else max(alive, default=-1)
    reds = [place for place, level in enumerate(levels) if level == Level.RED]
    true_reds = [place for place in reds if place > last_alive]
    return Verdict(
        trajectory,
        tuple(levels),
        onset,
        first_red=min(true_reds, default=None),
        false_reds=len(reds) - len(true_reds),
        missed=0 if onset is None else sum(level < Level.ORANGE for level in levels[onset:]),
    )


MakeDetector = Callable[[SettledMonitor, BetaOutlook], Detector]


def judge(trajectory: Trajectory, config: MonitorConfig, make_detector: MakeDetector = Detector) -> Verdict:
    """Run a detector over a trajectory. It sees decoder use when it asks for it, and the last value until then, as in a real run.

    Args:
        trajectory: checked at the frequency that `config` settles to.
        config: thresholds and rules, with gaps.
        make_detector: from settled settings and the outlook on beta.
    """
    settled = settle_monitor(config, trajectory.total_steps, trajectory.warmup_steps)
    outlook = BetaOutlook(trajectory.total_steps, trajectory.warmup_steps, trajectory.beta_at)
    detector = make_detector(settled, outlook)
    levels: list[Level] = []
    heard: CollapseStatistics | None = None
    for update, one in enumerate(trajectory.observations):
        if detector.wants_decoder_use(update):
            heard = one.statistics
        seen = replace(
            one.statistics,
            decoder_use=heard.decoder_use if heard else None,
            decoder_information=heard.decoder_information if heard else None,
            decoder_information_error=heard.decoder_information_error if heard else None,
        )
        levels.append(detector.check(seen).level)
    return score(trajectory, levels, settled.grace_steps)
