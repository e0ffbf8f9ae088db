"""The data report as a page: `report.html` in the store, and with each pretraining."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from seqsetvae.data.overview import FILE as VARIABLES
from seqsetvae.data.overview import median_and_span
from seqsetvae.data.report import PAGE, RULES, PrepareReport, SplitReport
from seqsetvae.templates import page, piece

TASKS = "<!-- tasks that are chosen later -->"
"""Where they have their place in a page."""
MOST_VARIABLES = 500
"""That a page shows, the most frequent ones; the table of the store has all."""


def write_page(folder: Path, report: PrepareReport) -> None:
    """Write the page of a store whose table of variables is written. It names no subject."""
    with (folder / VARIABLES).open(encoding="utf-8", newline="") as file:
        variables = sorted(csv.DictReader(file), key=lambda row: -int(row["events"]))
    content = page(
        "data_report.html.jinja",
        title=f"Data prepared from {report.source}",
        vocabulary_of=report.vocabulary_of,
        splits={name: _cells(split) for name, split in report.splits.items()},
        notes=_notes(report),
        rules=[*report.rules, *RULES],
        variables=variables[:MOST_VARIABLES],
        n_variables=len(variables),
        tasks=TASKS,
    )
    (folder / PAGE).write_text(content, encoding="utf-8")


def with_task(folder: Path, task: str, splits: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """The page of a store with a table about a task that was chosen later; None where the store has no page, or one of before."""
    path = folder / PAGE
    content = path.read_text(encoding="utf-8") if path.is_file() else ""
    section = piece("data_tables.html.jinja", "task", task, splits, rows)
    return content.replace(TASKS, f"{section}\n{TASKS}") if TASKS in content else None


def _cells(split: SplitReport) -> list[str]:
    lengths = [median_and_span(found) for found in split.quantiles.values()] or [""] * 3
    prevalence = f"{split.prevalence:.1%}" if split.labelled else ""
    return [
        *(f"{n:,}" for n in (split.subjects, split.sets, split.events)),
        *lengths,
        f"{split.labelled:,}",
        prevalence,
    ]


def _notes(report: PrepareReport) -> list[str]:
    notes = report.notes()
    if report.labels and report.labels.without_subject:
        notes.insert(
            0,
            f"rows of {report.labels.file} that belong to no subject: {report.labels.without_subject:,} of {report.labels.rows:,}",
        )
    if report.quarantined:
        notes.insert(0, f"subjects quarantined: {report.quarantined:,}; quarantine.csv in the store lists them")
    return notes
