"""`Detector`: from statistics to diagnoses, with a memory: grace, confirmation, hysteresis, knowledge of the beta schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from seqsetvae import names
from seqsetvae.collapse.diagnosis import NOTHING_TO_ENCODE, Diagnosis, Indicator, Level
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.probability import chance_of_collapse
from seqsetvae.collapse.rules import NOT_LISTENED, OF_A_PART, PARTS, RULES, advice, looks_collapsed
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config.settings_io import check_version, read_settings
from seqsetvae.config.settled import SettledMonitor, require_settled
from seqsetvae.config.settling import LEAST_GRACE

STATE_VERSION = 1
"""Of what a detector remembers, as a checkpoint holds it."""
ALIVE_CHECKS = 5
"""Consecutive green checks after which a posterior counts as having been alive: the grace period then protects it no longer."""
ALIVE_USE = 10.0
"""And decoder use must be above this multiple of its threshold: an untrained encoder may be informative by itself."""
RISING = 1.1
"""Factor by which mutual information must rise at each of the last checks to count as coming back to life."""


@dataclass
class DetectorState:
    """What a detector remembers between checks; plain values, so that it can travel in a checkpoint."""

    level: int = 0
    out_of_range: list[str] = field(default_factory=list)
    streak: int = 0
    calm: int = 0
    green_streak: int = 0
    alive: bool = False
    grace_over: bool = False
    streak_high_beta: float = 0.0
    relief_step: int | None = None
    relief_checks: int = 0
    information: list[float] = field(default_factory=list)
    checks: int = 0
    warnings: int = 0
    red_streak: int = 0
    first_red_step: int | None = None
    worst: int = int(Level.UNKNOWN)


class Detector:
    """Turns statistics into diagnoses, one check after the other.

    Args:
        config: thresholds and rules (:func:`~seqsetvae.config.settling.settle_monitor`).
        outlook: length of the run and what is known about beta.
        name: of this detector, where several stand side by side.
        ceiling: the worst level it may report.

    >>> from seqsetvae.config import MonitorConfig
    >>> from seqsetvae.config.settling import settle_monitor
    >>> config = settle_monitor(MonitorConfig(), total_steps=2000)
    >>> detector = Detector(config, BetaOutlook(total_steps=2000))
    >>> dead = CollapseStatistics(500, 1024, 0.0, 0, 16, 0.0, 6.9, 1.0, 1.0, 1.0, 1.0)
    >>> [detector.check(replace(dead, step=step)).level.word for step in (500, 550, 600)]
    ['orange', 'orange', 'red']
    """

    def __init__(
        self, config: SettledMonitor, outlook: BetaOutlook, name: str = "primary", ceiling: Level = Level.RED
    ) -> None:
        require_settled(config, SettledMonitor, "settle_monitor")
        self.config = config
        self.outlook = outlook
        self.name = name
        self.ceiling = ceiling
        self.state = DetectorState()
        self.chance: float | None = None
        """That the run ends collapsed, as of the last check."""

    def due(self, step: int) -> bool:
        """Whether this detector checks after this optimizer step."""
        return step % self.config.check_every(step) == 0

    def wants_decoder_use(self, update: int) -> bool:
        """Whether decoder use should be measured at this update (0 = the first).

        It takes a pass of the decoder, hence only every so often; but at every update while the posterior looks collapsed: a measurement
        that is held until the next one must not confirm itself, nor outlast a recovery.
        """
        return update % self.config.decoder_use_every == 0 or self.state.streak > 0

    def check(self, statistics: CollapseStatistics) -> Diagnosis:
        """Judge the statistics of one update."""
        state, config = self.state, self.config
        state.checks += 1
        long = statistics.hours is not None and statistics.hours >= config.grace_hours
        state.grace_over |= long and statistics.step >= LEAST_GRACE
        indicators = RULES[config.rules](statistics, config)
        fired = [one for one in indicators if (one.released() if one.name in state.out_of_range else one).out_of_range]
        state.out_of_range = [one.name for one in fired]
        collapsed = looks_collapsed(fired)
        self._remember(statistics, fired, collapsed)

        if config.rules == "principled":
            self.chance = chance_of_collapse(statistics, self.outlook, state.information)
        held_back = self._objection(statistics) if collapsed else ""
        level = self._level(statistics, fired, collapsed, bool(held_back))
        finding = NOTHING_TO_ENCODE if level >= Level.ORANGE and collapsed and self.outlook.nothing_to_encode else ""
        level = min(level, Level.ORANGE) if finding else level  # no other beta would help
        level = self._known(self._settle(min(level, self.ceiling)), statistics)
        state.level = int(level)
        state.warnings += level > Level.GREEN
        state.worst = max(state.worst, int(level))
        state.red_streak = state.red_streak + 1 if level == Level.RED else 0
        if level == Level.RED and state.first_red_step is None:
            state.first_red_step = statistics.step
        return Diagnosis(
            step=statistics.step,
            level=level,
            indicators=tuple(indicators),
            reasons=self._reasons(statistics, fired, level),
            advice=advice(fired, statistics, level, self.outlook.forecast),
            held_back=held_back,
            streak=state.streak,
            beta=statistics.beta,
            detector=self.name,
            finding=finding,
            probability=self.chance,
        )

    def verdict(self, measured: Sequence[CollapseStatistics]) -> Diagnosis:
        """Judge the model that training has left behind, whatever was said on the way. Nothing is remembered.

        Nothing is waited for any more but the grace period: of a run that was too short to be judged nobody knows. Red takes measurements
        that all look collapsed, each with noise of its own.

        Args:
            measured: at the end, one after the other; at least one.
        """
        config = self.config
        judged = [(one, RULES[config.rules](one, config)) for one in measured]
        fired = [[one for one in indicators if one.out_of_range] for _, indicators in judged]
        collapsed = [looks_collapsed(out) for out in fired]
        place = len(measured) - 1 if all(collapsed) else collapsed.index(False)
        last, out = measured[place], fired[place]
        held_back = ""
        if not all(one.finite for one in measured):
            level = Level.RED
        elif not all(collapsed):
            level = self._known(_short_of_collapse(out), last)
        elif self.in_grace(last.step):
            level, held_back = Level.YELLOW, f"the run ended within the grace period, until step {config.grace_steps}"
        else:
            level = Level.RED if len(measured) >= config.confirm_checks else Level.ORANGE
        nothing = level == Level.RED and last.finite and self.outlook.nothing_to_encode
        level = Level.ORANGE if nothing else level
        return Diagnosis(
            step=last.step,
            level=level,
            indicators=tuple(judged[place][1]),
            reasons=self._reasons(last, out, level),
            advice=advice(out, last, level, self.outlook.forecast),
            held_back=held_back,
            streak=self.state.streak,
            beta=last.beta,
            detector=self.name,
            finding=NOTHING_TO_ENCODE if nothing else "",
        )

    @staticmethod
    def _reasons(statistics: CollapseStatistics, fired: list[Indicator], level: Level) -> tuple[str, ...]:
        if not statistics.finite:
            return (not_finite(statistics),)
        if level == Level.UNKNOWN:
            return (
                f"what the decoder makes of {', '.join(statistics.unasked_parts) or 'the latents'} was not measured",
            )
        return tuple(map(str, fired))

    def _level(self, statistics: CollapseStatistics, fired: list[Indicator], collapsed: bool, held_back: bool) -> Level:
        if not statistics.finite:
            return Level.RED
        grace = self.in_grace(statistics.step)
        if grace:
            # An untrained posterior is never quite in range, and an untrained decoder has not learned to listen.
            of_itself = [one for one in fired if one.name not in NOT_LISTENED | OF_A_PART]
            return Level.YELLOW if len(of_itself) >= 2 else Level.GREEN
        if not collapsed:
            return _short_of_collapse(fired)
        confirmed = self.state.streak >= self.config.confirm_checks
        return Level.RED if confirmed and not held_back else Level.ORANGE

    def _remember(self, statistics: CollapseStatistics, fired: list[Indicator], collapsed: bool) -> None:
        state = self.state
        state.information = [*state.information, statistics.mutual_information][-self.config.confirm_checks :]
        state.green_streak = 0 if fired else state.green_streak + 1
        used = statistics.heard is None or statistics.heard > ALIVE_USE * self.config.decoder_use_threshold
        state.alive |= used and state.green_streak >= ALIVE_CHECKS
        if not collapsed:
            state.streak, state.streak_high_beta, state.relief_step, state.relief_checks = 0, 0.0, None, 0
            return
        state.streak += 1
        state.streak_high_beta = max(state.streak_high_beta, statistics.beta or 0.0)
        if self._beta_is_low(statistics):
            state.relief_step = statistics.step if state.relief_step is None else state.relief_step
            state.relief_checks += 1
        elif state.relief_checks < self.config.confirm_checks:
            state.relief_step = None  # beta was low too briefly to tell

    def _beta_is_low(self, statistics: CollapseStatistics) -> bool:
        """Whether beta is less than half of what it was at its highest since the posterior has looked collapsed."""
        return statistics.beta is not None and statistics.beta < 0.5 * self.state.streak_high_beta

    def in_grace(self, step: int) -> bool:
        """Whether it is too early to judge. The source guides know no grace period, nor any other reason to wait."""
        waits = self.config.rules == "principled" and not self.state.alive and not self.state.grace_over
        return waits and step < self.config.grace_steps

    def _objection(self, statistics: CollapseStatistics) -> str:
        """Why what looks like a collapse may yet pass; empty if nothing speaks for that.

        - A posterior that never was alive gets time to start (He et al. 2019: no information until step 600, then 2.9 nats).
        - Information that grows by a tenth at each check is on its way out of the saddle point at the prior.
        - Under a cyclical schedule (Fu et al. 2019) the posterior dips while beta is high, and comes back only some time after beta has
          fallen: one is dead that stays dead while beta is low, all that time or as long as a grace period.
        """
        state = self.state
        if self.config.rules == "source":
            return ""
        if self.in_grace(statistics.step):
            return f"grace period until step {self.config.grace_steps}: it has not been alive yet"
        information = state.information
        if (
            len(information) == self.config.confirm_checks > 1
            and information[0] > 1e-3
            and all(later > RISING * earlier for earlier, later in pairwise(information))
        ):
            return "mutual information is rising at every check"
        if state.relief_step is None:
            if self.outlook.relief_ahead(statistics.step, statistics.beta):
                return "beta will fall again, and it may recover then"
        elif self._beta_is_low(statistics) and statistics.step - state.relief_step < self.config.grace_steps:
            return f"beta has fallen at step {state.relief_step}, and it may yet recover"
        return ""

    def _known(self, level: Level, statistics: CollapseStatistics) -> Level:
        """Nothing is green before the decoder was asked."""
        asked = statistics.heard is not None and not statistics.unasked_parts
        asked |= self.config.rules == "source"
        return Level.UNKNOWN if level == Level.GREEN and not asked else level

    def _settle(self, level: Level) -> Level:
        """A level falls only after `confirm_checks` consecutive checks below it."""
        state = self.state
        if level >= max(state.level, Level.GREEN):
            state.calm = 0
            state.level = int(level)
        else:
            state.calm += 1
            if state.calm >= self.config.confirm_checks:
                state.calm = 0
                state.level = int(level)
        return Level(state.level)

    def metrics(self) -> dict[str, float]:
        """What it says now, as recorded with the run."""
        chance = {} if self.chance is None else {names.COLLAPSE_PROBABILITY: self.chance}
        return {names.COLLAPSE_LEVEL: float(self.state.level), **chance}

    def state_dict(self) -> dict[str, Any]:
        return {"format_version": STATE_VERSION, **asdict(self.state)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave, in this or an earlier version. Raises :class:`InputError` for a newer one."""
        check_version(state.get("format_version"), STATE_VERSION, "The collapse monitor's state")
        plain = {key: value for key, value in state.items() if key != "format_version"}
        self.state = read_settings(DetectorState, plain, "The collapse monitor's state")


def not_finite(statistics: CollapseStatistics) -> str:
    """What is beyond all numbers, in words."""
    if math.isnan(statistics.kl):
        return "a posterior holds NaN or inf"
    return "KL or mutual information is beyond all numbers"


def _short_of_collapse(fired: list[Indicator]) -> Level:
    """Where the whole is not collapsed: a part of it that is, is worse than a figure out of range."""
    if any(one.name == PARTS for one in fired):
        return Level.ORANGE
    return Level.YELLOW if fired else Level.GREEN


def detectors_of(config: SettledMonitor, outlook: BetaOutlook) -> list[Detector]:
    """The primary detector, and the early-warning one beside it if it is wanted."""
    detectors = [Detector(config, outlook)]
    if config.early_warning:
        earlier = replace(
            config,
            kl_threshold=2.0 * config.kl_threshold,
            check_frequency=min(20, config.check_frequency),
            adaptive=False,
        )
        detectors.append(Detector(earlier, outlook, "early warning", ceiling=Level.ORANGE))
    return detectors
