"""P(the run ends collapsed): fitted on the runs of even seeds, held against those of odd ones, and how early it warns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from seqsetvae.certify.table import Table
from seqsetvae.certify.trajectory import Trajectory
from seqsetvae.certify.truth import ALIVE, DEAD
from seqsetvae.certify.verdict import Verdict, judge
from seqsetvae.collapse.detector import Detector
from seqsetvae.collapse.diagnosis import Diagnosis
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.probability import Logistic, features
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settled import SettledMonitor

Floats = NDArray[np.float64]
EDGES = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0001)
RIDGES = (1e-4, 1e-3, 1e-2)
FOLDS = 5
LIKELY = 0.5
"""Probability from which it is taken to warn."""


@dataclass(frozen=True)
class Checks:
    """Checks of many runs: what the probability rests on, and how the runs ended. Each run weighs the same."""

    found_NK: Floats
    ended_N: Floats
    weight_N: Floats
    run_N: NDArray[np.int64]

    @property
    def base_rate(self) -> float:
        return float(self.weight_N @ self.ended_N)

    def where(self, chosen_N: NDArray[np.bool_]) -> Checks:
        """Some of them, whose weights again sum to 1."""
        weight_N = self.weight_N[chosen_N]
        return Checks(self.found_NK[chosen_N], self.ended_N[chosen_N], weight_N / weight_N.sum(), self.run_N[chosen_N])


class _Recorder(Detector):
    """Keeps what each check rested on."""

    def __init__(self, config: SettledMonitor, outlook: BetaOutlook) -> None:
        super().__init__(config, outlook)
        self.seen: list[Floats | None] = []

    def check(self, statistics: CollapseStatistics) -> Diagnosis:
        said = super().check(statistics)
        self.seen.append(features(statistics, self.outlook, self.state.information))
        return said


def told_before(trajectory: Trajectory, step: int) -> bool:
    """Whether the end of a run could be known at a step: of a decoder that is going to be unplugged nobody knows."""
    return trajectory.sudden_from is None or step > trajectory.sudden_from


def checks_of(trajectories: Sequence[Trajectory]) -> Checks:
    """Of those runs that end dead or alive, and of which the decoder was asked."""
    rows: list[Floats] = []
    ended, weights, runs = [], [], []
    for number, run in enumerate(trajectories):
        recorders: list[_Recorder] = []

        def make(config: SettledMonitor, outlook: BetaOutlook, recorders: list[_Recorder] = recorders) -> Detector:
            recorders.append(_Recorder(config, outlook))
            return recorders[-1]

        judge(run, MonitorConfig(), make)
        steps = [one.step for one in run.observations]
        known = [
            found
            for found, step in zip(recorders[0].seen, steps, strict=True)
            if found is not None and told_before(run, step)
        ]
        rows += known
        ended += [float(run.observations[-1].information < DEAD)] * len(known)
        weights += [1.0 / max(1, len(known))] * len(known)
        runs += [number] * len(known)
    weight_N = np.array(weights)
    return Checks(np.array(rows), np.array(ended), weight_N / weight_N.sum(), np.array(runs))


def decided(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Those whose end is not in between."""
    return [
        one
        for one in trajectories
        if one.asks == "life or death" and not DEAD <= one.observations[-1].information < ALIVE
    ]


def unseen(trajectories: Sequence[Trajectory]) -> Checks:
    """Of the runs of odd seeds, which the fit has not seen."""
    return checks_of([one for one in decided(trajectories) if one.seed % 2])


def fit(trajectories: Sequence[Trajectory]) -> Logistic:
    """On the runs of even seeds, with the penalty that tells these best: each fold of cases by a fit on the others."""
    runs = [one for one in decided(trajectories) if one.seed % 2 == 0]
    seen, cases = checks_of(runs), list(dict.fromkeys(one.case for one in runs))
    fold_N = np.array([cases.index(one.case) % FOLDS for one in runs])[seen.run_N]
    ridge = min(RIDGES, key=lambda one: surprise(seen, fold_N, one))
    return Logistic.fitted(seen.found_NK, seen.ended_N, seen.weight_N, ridge)


def surprise(seen: Checks, fold_N: NDArray[np.int64], ridge: float) -> float:
    """Mean of -ln of the probability of what came, of each fold by a fit on the others; nats."""
    chance_N = np.zeros(len(fold_N))
    for fold in set(fold_N.tolist()):
        here, rest = fold_N == fold, seen.where(fold_N != fold)
        model = Logistic.fitted(rest.found_NK, rest.ended_N, rest.weight_N, ridge)
        chance_N[here] = predicted(model, seen.where(here))
    chance_N = chance_N.clip(1e-6, 1.0 - 1e-6)
    return float(-seen.weight_N @ np.log(np.where(seen.ended_N > 0.5, chance_N, 1.0 - chance_N)))


def predicted(model: Logistic, seen: Checks) -> Floats:
    """Shape (N,)."""
    return np.array([model(found) for found in seen.found_NK])


def reliability(model: Logistic, seen: Checks) -> list[tuple[float, float, int, int]]:
    """Mean prediction, observed share, checks and runs of groups of like prediction; those that occur."""
    chance_N = predicted(model, seen)
    groups = []
    for least, most in pairwise(EDGES):
        inside = (chance_N >= least) & (chance_N < most)
        if inside.any():
            weight = seen.weight_N[inside] / seen.weight_N[inside].sum()
            ended = float(weight @ seen.ended_N[inside])
            runs = len(set(seen.run_N[inside].tolist()))
            groups.append((float(weight @ chance_N[inside]), ended, int(inside.sum()), runs))
    return groups


def brier(model: Logistic, seen: Checks) -> float:
    """Mean squared error of the probability (Brier 1950)."""
    return float(seen.weight_N @ np.square(predicted(model, seen) - seen.ended_N))


def gap(model: Logistic, seen: Checks) -> float:
    """Expected calibration error: mean distance of prediction and observed share, each group by its weight."""
    chance_N = predicted(model, seen)
    place_N = np.digitize(chance_N, EDGES)
    return float(
        sum(
            abs(seen.weight_N[place_N == place] @ (chance_N - seen.ended_N)[place_N == place])
            for place in set(place_N.tolist())
        )
    )


def reliability_table(groups: Sequence[tuple[float, float, int, int]]) -> Table:
    """One row per group of checks."""
    rows: list[tuple[object, ...]] = [
        (f"{mean:.1%}", f"{share:.1%}", checks, runs) for mean, share, checks, runs in groups
    ]
    note = "On the runs of odd seeds, which the fit has not seen; each run weighs the same."
    return Table("Is the probability kept?", ("said, on average", "ended collapsed", "checks", "runs"), rows, note)


def score_table(trajectories: Sequence[Trajectory], model: Logistic, held_out: Checks) -> Table:
    """Errors on runs of unseen seeds, and on each family by a fit that has seen none of it."""
    ours = decided(trajectories)
    rows: list[tuple[object, ...]] = []

    def row(name: str, fitted: Logistic, seen: Checks) -> None:
        base = float(seen.weight_N @ np.square(seen.base_rate - seen.ended_N))
        runs = len(set(seen.run_N.tolist()))
        rows.append(
            (
                name,
                runs,
                f"{seen.base_rate:.0%}",
                f"{brier(fitted, seen):.3f}",
                f"{base:.3f}",
                f"{gap(fitted, seen):.3f}",
            )
        )

    row("all, unseen seeds", model, held_out)
    families = list(dict.fromkeys(one.family for one in ours))
    for family in families if len(families) > 1 else ():
        without = fit([one for one in ours if one.family != family])
        row(f"{family}, by a fit without it", without, checks_of([one for one in ours if one.family == family]))
    columns = ("runs of", "runs", "ended collapsed", "Brier score", "of their share alone", "calibration error")
    return Table("How far the probability is off", columns, rows)


def lead_table(verdicts: Sequence[Verdict]) -> Table:
    """One row per case that dies on the way, as a schedule foretells: how long before its death each way of warning warns."""
    columns = ("case", "runs", f"probability {LIKELY:g} or more", "orange", "red")
    rows: list[tuple[object, ...]] = []
    dying = [one for one in verdicts if one.trajectory.seed % 2 and _dies_on_the_way(one)]
    for case in dict.fromkeys(one.trajectory.case for one in dying):
        ours = [one for one in dying if one.trajectory.case == case]
        leads = [
            [_lead(one, _likely(one)) for one in ours],
            *([_lead(one, [at >= level for at in one.levels]) for one in ours] for level in (2, 3)),
        ]
        rows.append((case, len(ours), *map(_told, leads)))
    quiet = [
        one
        for one in verdicts
        if one.trajectory.seed % 2 and not one.trajectory.collapses and one.trajectory.asks == "life or death"
    ]
    false = [sum(_likely(one)[place] for place in _judged(one)) / max(1, len(_judged(one))) for one in quiet]
    note = (
        "Steps from the first check that warns, and goes on to, until the run is dead (less than 0.005 nats); below 0: after that. Runs of "
        f"odd seeds. On the {len(quiet)} of these that live the probability is {LIKELY:g} or more at "
        f"{statistics.fmean(false) if false else 0.0:.1%} of the checks after the grace period, in "
        f"{sum(share > 0 for share in false)} runs."
    )
    return Table("How early it is known", columns, rows, note)


def _dies_on_the_way(verdict: Verdict) -> bool:
    run = verdict.trajectory
    lived = any(one.information >= ALIVE and one.step >= verdict.grace_steps for one in run.observations)
    return run.collapses and run.asks == "life or death" and run.sudden_from is None and lived


def _judged(verdict: Verdict) -> list[int]:
    return [place for place, one in enumerate(verdict.trajectory.observations) if one.step >= verdict.grace_steps]


def _likely(verdict: Verdict) -> list[bool]:
    return [chance is not None and chance >= LIKELY for chance in verdict.chances]


def _lead(verdict: Verdict, warns: Sequence[bool]) -> int | None:
    """Steps from where it warns for good to where the run is dead for good; None where it never does."""
    steps = [one.step for one in verdict.trajectory.observations]
    dead = [one.information < DEAD for one in verdict.trajectory.observations]
    last_alive = max((place for place, one in enumerate(dead) if not one), default=-1)
    if not warns or not warns[-1]:
        return None
    last_calm = max((place for place, one in enumerate(warns) if not one), default=-1)
    return steps[min(last_alive + 1, len(steps) - 1)] - steps[min(last_calm + 1, len(steps) - 1)]


def _told(leads: Sequence[int | None]) -> str:
    known = [one for one in leads if one is not None]
    if not known:
        return "never"
    never = len(leads) - len(known)
    return f"{min(known)} to {max(known)}, median {statistics.median(known):g}" + (f"; never {never}" if never else "")
