"""What came out: one row per case, and the requirements."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from seqsetvae.certify.outcome import UNDECIDED, as_built, right
from seqsetvae.certify.table import Table
from seqsetvae.certify.trajectory import Question
from seqsetvae.certify.verdict import Verdict
from seqsetvae.collapse.diagnosis import Level

MAX_DELAY = 20
MAX_MISSED = 0.01
MAX_FLAPPING = 0.02


@dataclass(frozen=True)
class Requirement:
    """One line of what certification asks for."""

    text: str
    measured: str
    met: bool


def requirements(verdicts: Sequence[Verdict]) -> list[Requirement]:
    """Whether the detector passes, on whatever cases were run."""
    asked = [one for one in verdicts if one.trajectory.asks not in UNDECIDED]
    collapsed = [one for one in asked if one.trajectory.collapses]
    healthy = [one for one in asked if not one.trajectory.collapses]
    silent = [one for one in healthy if one.trajectory.must_be_silent]
    closed = [one.trajectory for one in verdicts if one.trajectory.expected_active is not None]
    misses, after = sum(one.missed for one in collapsed), sum(one.checks_after_onset for one in collapsed)
    delays = [one.delay for one in collapsed if one.delay is not None]
    alarms = sum(one.false_reds > 0 for one in asked)
    flaps = sum(one.flaps > 0 for one in asked)
    return [
        _all("every run ends as it was built to", [as_built(one) for one in verdicts]),
        _all("every collapse is called", [one.called for one in collapsed]),
        Requirement(
            f"red within {MAX_DELAY} checks of the true onset",
            f"at most {max(delays)}, median {statistics.median(delays):g}" if delays else "no such run",
            all(delay <= MAX_DELAY for delay in delays),
        ),
        Requirement(
            f"at most {MAX_MISSED:.0%} of the checks after onset below orange",
            f"{misses} of {after}" + (f" ({misses / after:.2%})" if after else ""),
            misses <= MAX_MISSED * after,
        ),
        Requirement(
            "no false red: none on a healthy run, none before its time",
            f"{alarms} of {len(asked)} runs",
            alarms == 0,
        ),
        Requirement(
            f"red again after it had been red and was no longer: at most {MAX_FLAPPING:.0%} of the runs",
            f"{flaps} of {len(asked)} runs",
            flaps <= MAX_FLAPPING * len(asked),
        ),
        _all(
            "the verdict at the end is right, where the monitor gave one",
            [right(one) for one in asked if one.trajectory.final],
        ),
        _all("a layer or subgroup that collapsed is named", [right(one) for one in asked if one.trajectory.part]),
        _all("never green where the decoder was not asked", [right(one) for one in _asking(verdicts, "unknown")]),
        _all('noise is called "nothing to encode"', [right(one) for one in _asking(verdicts, "nothing to encode")]),
        _all("beta 0: never orange", [one.worst < Level.ORANGE for one in silent]),
        _all(
            "active units equal the closed form, no eigenvalue within 10 % of beta s2",
            [one.active_at_end == one.expected_active for one in closed if not one.critical],
        ),
        _all(
            "active units off by one at most, an eigenvalue within 10 %",
            [abs(one.active_at_end - (one.expected_active or 0)) <= 1 for one in closed if one.critical],
        ),
    ]


def _all(text: str, outcomes: Sequence[bool]) -> Requirement:
    measured = f"{sum(outcomes)} of {len(outcomes)} runs" if outcomes else "no such run"
    return Requirement(text, measured, all(outcomes))


def _asking(verdicts: Sequence[Verdict], question: Question) -> list[Verdict]:
    return [one for one in verdicts if one.trajectory.asks == question]


def requirement_table(found: Sequence[Requirement]) -> Table:
    """One row per requirement."""
    rows: list[tuple[object, ...]] = [(one.text, one.measured, "yes" if one.met else "**NO**") for one in found]
    return Table("What is required", ("requirement", "measured", "met"), rows)


def case_table(principled: Sequence[Verdict], source: Sequence[Verdict]) -> Table:
    """One row per case, both rule sets on the same runs."""
    score = ("delay", "missed", "false alarms")
    columns = ("case", "truth", "runs", "verdict", "first red, step", *score, "`source`: verdict", *score)
    rows: list[tuple[object, ...]] = []
    for case in dict.fromkeys(one.trajectory.case for one in principled):
        ours = [one for one in principled if one.trajectory.case == case]
        theirs = [one for one in source if one.trajectory.case == case]
        reds = [one.first_red_step for one in ours if one.first_red_step is not None]
        rows.append(
            (case, _truth(ours), len(ours), _levels(ours), _span(reds), *_score(ours), _levels(theirs), *_score(theirs))
        )
    note = (
        "Verdict: the worst level of each run. Delay: checks from the true onset to the first red. Missed: checks after onset below "
        "orange. False alarms: runs with a red that is false. All spans are over the runs of a case."
    )
    return Table("The detector against known answers", columns, rows, note)


def _truth(verdicts: Sequence[Verdict]) -> str:
    run = verdicts[0].trajectory
    if run.asks == "unknown":
        return "not decidable"
    if run.asks in {"nothing to encode", "faint"}:
        return run.asks
    if run.part:
        return f"{run.part} collapsed"
    if run.collapses:
        return "collapsed"
    active = {one.trajectory.expected_active for one in verdicts}
    dims = {one.trajectory.observations[-1].statistics.latent_dim for one in verdicts}
    [only] = active if len(active) == 1 else [None]
    return "healthy" if only is None or {only} == dims else f"{only} of {dims.pop()} active"


def _levels(verdicts: Sequence[Verdict]) -> str:
    worst = [one.worst for one in verdicts]
    return ", ".join(f"{level.word} {worst.count(level)}" for level in reversed(Level) if level in worst)


def _score(verdicts: Sequence[Verdict]) -> tuple[str, str, int]:
    delays = [one.delay for one in verdicts if one.delay is not None]
    after = sum(one.checks_after_onset for one in verdicts)
    missed = f"{sum(one.missed for one in verdicts)} of {after}" if after else ""
    return _span(delays), missed, sum(one.false_reds > 0 for one in verdicts)


def _span(values: Sequence[int]) -> str:
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"
