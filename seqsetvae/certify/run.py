"""Runs the certification and prints its tables."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from seqsetvae.atomic import atomic_write
from seqsetvae.certify import linear_training, seqsetvae_runs, zoo_training
from seqsetvae.certify.calibration import (
    fit,
    lead_table,
    reliability,
    reliability_table,
    score_table,
    unseen,
)
from seqsetvae.certify.cases import grid, interventions, long_runs
from seqsetvae.certify.elsewhere import elsewhere_table
from seqsetvae.certify.estimators import estimator_table
from seqsetvae.certify.guides import guides_table
from seqsetvae.certify.outcome import family_table, grade_table
from seqsetvae.certify.public_logs import log_table, loss_table
from seqsetvae.certify.report import Requirement, case_table, requirement_table, requirements
from seqsetvae.certify.table import Table
from seqsetvae.certify.trajectory import Trajectory
from seqsetvae.certify.verdict import MakeDetector, Verdict, judge
from seqsetvae.certify.zoo_cases import zoo
from seqsetvae.collapse.detector import Detector
from seqsetvae.collapse.probability import of_certification, put_in_force
from seqsetvae.config import MonitorConfig
from seqsetvae.console import attach
from seqsetvae.errors import InputError
from seqsetvae.progress import ProgressBar

_log = logging.getLogger(__name__)

SEEDS = 5
PICTURE = Path("pictures") / "collapse_probability.png"
START, END = "<!-- certify:start -->", "<!-- certify:end -->"


@dataclass(frozen=True)
class Certificate:
    """What came out."""

    cases: Table
    requirements: list[Requirement]
    verdicts: Sequence[Verdict] = field(default=(), repr=False)

    @property
    def passed(self) -> bool:
        """Whether every requirement is met."""
        return all(one.met for one in self.requirements)

    def __repr__(self) -> str:
        met = sum(one.met for one in self.requirements)
        return f"<Certificate: {'passed' if self.passed else 'FAILED'}, {met} of {len(self.requirements)} requirements met>"


def certify(
    quick: bool = False,
    only: str | None = None,
    seeds: int = SEEDS,
    write_docs: str | None = None,
    write_probability: str | None = None,
) -> Certificate:
    """Run the collapse detector against runs whose answer is known, and print what came out.

    Args:
        quick: One seed and shorter runs, to see that it runs.
        only: Only cases whose name contains this, such as "cyclical".
        seeds: How often each case is run; at least two, for a probability to be fitted and held against.
        write_docs: Markdown file whose section between the markers `certify:start` and `certify:end` is replaced by the tables; the
            calibration of the probability is drawn to pictures/collapse_probability.png beside it.
        write_probability: File for the coefficients of the probability, fitted anew: seqsetvae/collapse/coefficients.py. The tables are
            then about these.
    """
    attach()
    writes = write_docs is not None or write_probability is not None
    if writes and (quick or only is not None):
        raise InputError(
            "--certify.write_docs and write_probability take a complete certification: leave out quick and only."
        )
    if seeds < (2 if writes else 1):
        raise InputError(f"--certify.seeds is {seeds}; at least 1 is needed, and 2 where something is to be written.")
    page = None if write_docs is None else _page(Path(write_docs))
    trajectories = observe_all(quick, only, seeds)
    if write_probability is not None:
        fitted = fit(trajectories).rounded()
        with atomic_write(Path(write_probability)) as file:
            file.write(fitted.to_python().encode())
        put_in_force(fitted)
    certificate = judge_all(trajectories)
    tables = [requirement_table(certificate.requirements), certificate.cases]
    if not quick and only is None:
        tables = complete_tables(trajectories, certificate)
    text = "\n\n".join(table.markdown() for table in tables)
    _log.info(f"{text}\n\n{'Passed' if certificate.passed else 'FAILED'}.")
    if write_docs is not None and page is not None:
        before, after = page
        with atomic_write(Path(write_docs)) as file:
            file.write(f"{before}{START}\n\n{text}\n\n{END}{after}".encode())
        draw(trajectories, Path(write_docs).parent / PICTURE)
    return certificate


def complete_tables(trajectories: Sequence[Trajectory], certificate: Certificate) -> list[Table]:
    """All that the page of the report shows."""
    model, verdicts = of_certification(), certificate.verdicts
    held_out = unseen(trajectories)
    return [
        requirement_table(certificate.requirements),
        family_table(verdicts),
        grade_table(verdicts),
        elsewhere_table(verdicts),
        reliability_table(reliability(model, held_out)),
        score_table(trajectories, model, held_out),
        lead_table(verdicts),
        estimator_table(),
        log_table(),
        loss_table(),
        certificate.cases,
        guides_table(trajectories),
    ]


def draw(trajectories: Sequence[Trajectory], path: Path) -> None:
    """The calibration of the probability on runs that the fit has not seen."""
    from seqsetvae.figures.calibration import draw_calibration  # and Matplotlib, which nothing else here needs

    curve = [(mean, share, runs) for mean, share, _, runs in reliability(of_certification(), unseen(trajectories))]
    reading = "A point is a group of checks of like probability, with the 95 % interval for its number of runs"
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as file:
        file.write(
            draw_calibration(
                {"runs of odd seeds": curve}, "That a run ends collapsed, as said at each check", reading=reading
            )
        )


def observe_all(quick: bool = False, only: str | None = None, seeds: int = SEEDS) -> list[Trajectory]:
    """Train every run and keep what a monitor sees of it; with `seeds=1` a sample of every case."""
    seeds = 1 if quick else seeds
    studies = [grid(seeds, quick), interventions(seeds, quick), long_runs(seeds, quick)]
    real, others = seqsetvae_runs.seqsetvae_runs(seeds, quick), zoo(seeds)
    if only is not None:
        studies = [replace(one, runs=tuple(run for run in one.runs if only in run.case)) for one in studies]
        studies = [one for one in studies if one.runs]
        real = [run for run in real if only in run.case]
        others = [run for run in others if only in run.case]
    total = (
        sum(map(linear_training.checks_of, studies)) + seqsetvae_runs.checks_of(real) + zoo_training.checks_of(others)
    )
    if total == 0:
        raise InputError(f"--certify.only is {only!r}, but no case has that in its name.")
    found: list[Trajectory] = []
    with ProgressBar(total=total, unit="check", desc="certify") as bar:
        for study in studies:
            found += linear_training.observe(study, bar.update)
        for run in real:
            found.append(seqsetvae_runs.observe(run, bar.update)[0])
        found += [zoo_training.observe(run, bar.update) for run in others]
    return found


def judge_all(trajectories: Sequence[Trajectory], make_detector: MakeDetector = Detector) -> Certificate:
    """Hold both rule sets against the truth; only `principled` has to pass."""
    principled, source = (
        [judge(one, MonitorConfig(rules=rules), make_detector) for one in trajectories]
        for rules in ("principled", "source")
    )
    return Certificate(case_table(principled, source), requirements(principled), principled)


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
