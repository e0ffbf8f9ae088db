"""Thresholds in use elsewhere, each alone, on the figures of the same runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seqsetvae.certify.table import Table
from seqsetvae.certify.truth import ALIVE, DEAD
from seqsetvae.certify.verdict import Verdict
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.collapse.statistics import CollapseStatistics

RULES: dict[str, Callable[[CollapseStatistics], bool]] = {
    "KL < 0.01": lambda one: one.kl < 0.01,
    "KL < 0.1": lambda one: one.kl < 0.1,
    "KL < 1": lambda one: one.kl < 1.0,
    "no active unit (Burda et al. 2016)": lambda one: one.active_units == 0,
    "active units < 10 %": lambda one: one.active_units_ratio < 0.1,
    "every dimension (0.01, 0.01)-collapsed (Lucas et al. 2019)": lambda one: one.collapsed_dimensions_ratio == 1.0,
    "mutual information < 0.1 (He et al. 2019)": lambda one: one.mutual_information < 0.1,
    "mean posterior variance > 0.9": lambda one: one.mean_variance > 0.9,
    "mean posterior variance < 0.1 (source guides)": lambda one: one.mean_variance < 0.1,
    "decoder information < 0.01": lambda one: one.decoder_information is not None and one.decoder_information < 0.01,
}


def elsewhere_table(verdicts: Sequence[Verdict]) -> Table:
    """One row per rule: how much of death it sees, and what it calls dead that lives."""
    judged = [one for one in verdicts if one.trajectory.asks == "life or death"]
    rows = [_row(name, judged, lambda verdict, rule=rule: _fires(verdict, rule)) for name, rule in RULES.items()]  # type: ignore[misc]
    rows.append(
        _row("**this detector, red**", judged, lambda verdict: [level == Level.RED for level in verdict.levels])
    )
    columns = ("rule", "dead: checks found", "runs never found", "alive: checks called dead", "runs so called")
    note = "Checks after the grace period with less than 0.005 nats (dead), and with 0.1 or more (alive)."
    return Table("Thresholds in use elsewhere", columns, rows, note)


def _fires(verdict: Verdict, rule: Callable[[CollapseStatistics], bool]) -> list[bool]:
    return [rule(one.statistics) for one in verdict.trajectory.observations]


def _row(name: str, verdicts: Sequence[Verdict], fires: Callable[[Verdict], list[bool]]) -> tuple[object, ...]:
    dead: list[list[bool]] = []
    alive: list[list[bool]] = []
    for verdict in verdicts:
        seen = [
            (one.information, fired)
            for one, fired in zip(verdict.trajectory.observations, fires(verdict), strict=True)
            if one.step >= verdict.grace_steps
        ]
        if verdict.trajectory.collapses:
            dead.append([fired for nats, fired in seen if nats < DEAD])
        alive.append([fired for nats, fired in seen if nats >= ALIVE])
    return (name, _share(dead), _runs(dead, any_fired=False), _share(alive), _runs(alive, any_fired=True))


def _share(of_runs: Sequence[Sequence[bool]]) -> str:
    checks = [fired for one in of_runs for fired in one]
    return f"{sum(checks) / len(checks):.1%}" if checks else ""


def _runs(of_runs: Sequence[Sequence[bool]], any_fired: bool) -> str:
    known = [one for one in of_runs if one]
    return f"{sum(any(one) == any_fired for one in known)} of {len(known)}"
