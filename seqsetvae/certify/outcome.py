"""Whether a detector came to the right answer on a run, by what the case asks of it; and tables over families and grades of truth."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

from seqsetvae.certify.table import Table
from seqsetvae.certify.truth import ALIVE, BANDS, DEAD, grade
from seqsetvae.certify.verdict import Verdict
from seqsetvae.collapse.diagnosis import NOTHING_TO_ENCODE, Level

FAINT = "faint"
UNDECIDED = {"unknown", "nothing to encode", FAINT}


def as_built(verdict: Verdict) -> bool:
    """Whether a run did what it was built to do, by the truth."""
    run = verdict.trajectory
    if run.asks == FAINT:
        return True
    if run.part:
        lives = run.observations[-1].information >= ALIVE
        return lives and run.part_information is not None and run.part_information < DEAD
    ends_dead = run.observations[-1].information < DEAD
    return run.collapses == ends_dead


def right(verdict: Verdict) -> bool:
    """Whether the run was called what it is: on the way, and at its end where the monitor gave a verdict."""
    run, final = verdict.trajectory, verdict.trajectory.final
    if run.asks == FAINT:
        return True
    if run.asks == "unknown":
        return Level.GREEN not in verdict.levels and (final is None or final.level != Level.GREEN)
    if run.asks == "nothing to encode":
        return final is not None and final.finding == NOTHING_TO_ENCODE
    if run.asks == "a part":
        named = final is not None and final.level == Level.ORANGE and run.part in " ".join(final.reasons)
        return named and not verdict.false_reds
    if run.collapses:
        return verdict.called
    return not verdict.false_reds and (final is None or final.level < Level.ORANGE)


def family_table(verdicts: Sequence[Verdict]) -> Table:
    """One row per family of models."""
    columns = (
        "family",
        "cases",
        "runs",
        "right",
        "not decidable, nothing to encode, or faint",
        "false reds",
        "missed",
        "delay",
        "red again",
    )
    rows: list[tuple[object, ...]] = []
    for family in dict.fromkeys(one.trajectory.family for one in verdicts):
        ours = [one for one in verdicts if one.trajectory.family == family]
        asked = [one for one in ours if one.trajectory.asks not in UNDECIDED]
        delays = [one.delay for one in asked if one.delay is not None]
        missed, after = sum(one.missed for one in asked), sum(one.checks_after_onset for one in asked)
        rows.append(
            (
                family,
                len({one.trajectory.case for one in ours}),
                len(ours),
                sum(map(right, ours)),
                len(ours) - len(asked),
                sum(one.false_reds > 0 for one in asked),
                f"{missed} of {after}" if after else "",
                f"{min(delays)} to {max(delays)}, median {statistics.median(delays):g}" if delays else "",
                sum(one.flaps for one in ours),
            )
        )
    note = (
        "Right: of the runs, by what each case asks. Delay: checks. Red again: how often a level became red after it had been red and was "
        "no longer."
    )
    return Table("By family of models", columns, rows, note)


def grade_table(verdicts: Sequence[Verdict]) -> Table:
    """How the level follows the truth, dead to alive: shares of checks after the grace period."""
    seen = [
        (grade(one.information), level)
        for verdict in verdicts
        if verdict.trajectory.asks in {"life or death", FAINT}
        for one, level in zip(verdict.trajectory.observations, verdict.levels, strict=True)
        if one.step >= verdict.grace_steps
    ]
    columns = ("truth, nats", "checks", *(level.word for level in Level if level != Level.UNKNOWN))
    rows: list[tuple[object, ...]] = []
    for place, (least, most) in enumerate(pairwise(BANDS)):
        levels = [level for band, level in seen if band == place]
        shares = [
            f"{levels.count(level) / len(levels):.1%}" if levels else "" for level in Level if level != Level.UNKNOWN
        ]
        name = f"{least:g} to {most:g}" if most < BANDS[-1] else f"{least:g} or more"
        rows.append((name, len(levels), *shares))
    note = "Below 0.005 nats a run counts as dead, from 0.1 on as alive; in between nothing is required, and this is what is said."
    return Table("Between dead and alive", columns, rows, note)
