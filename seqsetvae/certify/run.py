"""Runs the certification and prints its tables."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seqsetvae.atomic import atomic_write
from seqsetvae.certify import linear_training, seqsetvae_runs
from seqsetvae.certify.cases import grid, interventions
from seqsetvae.certify.guides import guides_table
from seqsetvae.certify.report import Requirement, case_table, requirement_table, requirements
from seqsetvae.certify.table import Table
from seqsetvae.certify.trajectory import Trajectory
from seqsetvae.certify.verdict import MakeDetector, judge
from seqsetvae.collapse.detector import Detector
from seqsetvae.config import MonitorConfig
from seqsetvae.console import attach
from seqsetvae.errors import InputError
from seqsetvae.progress import ProgressBar

_log = logging.getLogger(__name__)

SEEDS = 5
START, END = "<!-- certify:start -->", "<!-- certify:end -->"


@dataclass(frozen=True)
class Certificate:
    """What came out."""

    cases: Table
    requirements: list[Requirement]

    @property
    def passed(self) -> bool:
        """Whether every requirement is met."""
        return all(one.met for one in self.requirements)

    def __repr__(self) -> str:
        met = sum(one.met for one in self.requirements)
        return f"<Certificate: {'passed' if self.passed else 'FAILED'}, {met} of {len(self.requirements)} requirements met>"


def certify(quick: bool = False, only: str | None = None, write_docs: str | None = None) -> Certificate:
    """Run the collapse detector against runs whose answer is known, and print what came out.

    Args:
        quick: One seed and shorter runs, to see that it runs.
        only: Only cases whose name contains this, such as "cyclical".
        write_docs: Markdown file whose section between the markers `certify:start` and `certify:end` is replaced by the tables.
    """
    attach()
    if write_docs is not None and (quick or only is not None):
        raise InputError("--certify.write_docs takes a complete certification: leave out quick and only.")
    page = None if write_docs is None else _page(Path(write_docs))
    trajectories = observe_all(quick, only)
    certificate = judge_all(trajectories)
    tables = [certificate.cases, requirement_table(certificate.requirements)]
    if not quick and only is None:
        tables.append(guides_table(trajectories))
    text = "\n\n".join(table.markdown() for table in tables)
    _log.info(f"{text}\n\n{'Passed' if certificate.passed else 'FAILED'}.")
    if write_docs is not None and page is not None:
        before, after = page
        with atomic_write(Path(write_docs)) as file:
            file.write(f"{before}{START}\n\n{text}\n\n{END}{after}".encode())
    return certificate


def observe_all(quick: bool = False, only: str | None = None, seeds: int = SEEDS) -> list[Trajectory]:
    """Train every run and keep what a monitor sees of it; with `seeds=1` a sample of every case."""
    seeds = 1 if quick else seeds
    studies = [grid(seeds, quick), interventions(seeds, quick)]
    real = seqsetvae_runs.seqsetvae_runs(seeds, quick)
    if only is not None:
        studies = [replace(one, runs=tuple(run for run in one.runs if only in run.case)) for one in studies]
        studies = [one for one in studies if one.runs]
        real = [run for run in real if only in run.case]
    total = sum(map(linear_training.checks_of, studies)) + seqsetvae_runs.checks_of(real)
    if total == 0:
        raise InputError(f"--certify.only is {only!r}, but no case has that in its name.")
    found: list[Trajectory] = []
    with ProgressBar(total=total, unit="check", desc="certify") as bar:
        for study in studies:
            found += linear_training.observe(study, bar.update)
        for run in real:
            found.append(seqsetvae_runs.observe(run, bar.update)[0])
    return found


def judge_all(trajectories: Sequence[Trajectory], make_detector: MakeDetector = Detector) -> Certificate:
    """Hold both rule sets against the truth; only `principled` has to pass."""
    principled, source = (
        [judge(one, MonitorConfig(rules=rules), make_detector) for one in trajectories]
        for rules in ("principled", "source")
    )
    return Certificate(case_table(principled, source), requirements(principled))


def _page(path: Path) -> tuple[str, str]:
    """What stands before and behind the tables.

    Raises:
        InputError: the file is not there, or lacks the markers.
    """
    before, start, rest = (path.read_text(encoding="utf-8") if path.is_file() else "").partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise InputError(f"{path} has no lines {START} and {END}, between which the tables could go.")
    return before, after
