"""What a detector made of a trajectory, held against the truth.

    dead    information below 0.005 nats (:mod:`seqsetvae.certify.truth`)
    alive   information of 0.1 nats or more

The true onset of a collapse is the first check from which on the run is dead to its end, but not before the grace period has ended:
until then a posterior is given time to start, and nobody can know. A red is false on a run that does not end dead, and on one that does
while it is alive or will be again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from seqsetvae.certify.trajectory import Observation, Trajectory
from seqsetvae.certify.truth import ALIVE, DEAD
from seqsetvae.collapse.detector import Detector
from seqsetvae.collapse.diagnosis import Diagnosis, Level
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.config.settling import settle_monitor


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
    grace_steps: int = 0
    chances: tuple[float | None, ...] = ()
    """P(the run ends collapsed) of each check."""

    @property
    def checks_after_onset(self) -> int:
        return 0 if self.onset is None else len(self.levels) - self.onset

    @property
    def delay(self) -> int | None:
        """Checks from the true onset to the first red; negative where the detector saw it coming."""
        return None if self.onset is None or self.first_red is None else self.first_red - self.onset

    @property
    def called(self) -> bool:
        """Whether a collapse was: by a red that is not false, or by the verdict at the end."""
        final = self.trajectory.final
        return self.first_red is not None or (final is not None and final.level == Level.RED)

    @property
    def flaps(self) -> int:
        """How often the level became red again after it had been red and was no longer."""
        reds = [False, *(level == Level.RED for level in self.levels)]
        return max(0, sum(later and not earlier for earlier, later in pairwise(reds)) - 1)

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


def score(
    trajectory: Trajectory, levels: Sequence[Level], grace_steps: int, chances: Sequence[float | None] = ()
) -> Verdict:
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
        grace_steps=grace_steps,
        chances=tuple(chances),
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
    outlook = outlook_of(trajectory)
    detector = make_detector(settled, outlook)
    said: list[Diagnosis] = []
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
        said.append(detector.check(seen))
    return score(trajectory, [one.level for one in said], settled.grace_steps, [one.probability for one in said])


def outlook_of(trajectory: Trajectory) -> BetaOutlook:
    """What a detector knows of a run beforehand."""
    return BetaOutlook(trajectory.total_steps, trajectory.warmup_steps, trajectory.beta_at, trajectory.forecast)
