"""The source guides' four rules one by one, on runs without doubt."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from seqsetvae.certify.cases import CANNOT_COLLAPSE, COLLAPSED, HEALTHIEST
from seqsetvae.certify.table import Table
from seqsetvae.certify.trajectory import Trajectory
from seqsetvae.collapse.rules import guides_indicators
from seqsetvae.config import MonitorConfig
from seqsetvae.config.settling import settle_monitor


def guides_table(trajectories: Sequence[Trajectory]) -> Table:
    """The guides' four rules one by one, on runs without doubt: how often each fires after the grace period."""
    runs = {
        CANNOT_COLLAPSE: "healthy, beta 0",
        HEALTHIEST: "healthy, beta 0.1",
        f"{COLLAPSED}, from the start": "collapsed completely",
    }
    found = {case: [one for one in trajectories if one.case == case] for case in runs}
    cells = {case: _firing(ours) for case, ours in found.items()}
    [*labels] = cells[CANNOT_COLLAPSE]
    rows: list[tuple[object, ...]] = [(label, *(cells[case][label] for case in runs)) for label in labels]
    note = "Share of checks at which the rule fires, and the median of what it looks at at the end of the run."
    return Table("The source guides' rules, one by one", ("rule", *runs.values()), rows, note)


def _firing(trajectories: Sequence[Trajectory]) -> dict[str, str]:
    fired: dict[str, list[bool]] = {}
    last: dict[str, list[float]] = {}
    for trajectory in trajectories:
        config = settle_monitor(MonitorConfig(rules="source"), trajectory.total_steps, trajectory.warmup_steps)
        for one in trajectory.observations:
            if one.step < config.grace_steps:
                continue
            for indicator in guides_indicators(one.statistics, config):
                label = f"{indicator.label} {'<' if indicator.fires_below else '>'} {indicator.threshold:g}"
                fired.setdefault(label, []).append(indicator.out_of_range)
                if one is trajectory.observations[-1]:
                    last.setdefault(label, []).append(indicator.value)
    return {label: f"{_share(fired[label])} ({statistics.median(last[label]):.2g})" for label in fired}


def _share(fired: Sequence[bool]) -> str:
    share = sum(fired) / len(fired)
    return "silent" if share == 0.0 else f"**fires** at {share:.0%}"
