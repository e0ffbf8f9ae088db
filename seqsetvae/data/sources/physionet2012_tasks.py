"""Further outcomes of the challenge's Outcomes files, as a table for `--labels`: how long stays lasted, and when patients died."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from seqsetvae.atomic import atomic_write
from seqsetvae.data.sources.base import normalise_id
from seqsetvae.data.tables import TextTable, as_number

FILE = "tasks.csv"
DEATH_WITHIN = (7, 30, 90, 365)
"""Days after admission, in hospital or out of it."""
HEADER = (
    *("subject", "length_of_stay", "long_stay", "hospital_death", "hospital_death_hours"),
    *(f"death_{days}_days" for days in DEATH_WITHIN),
)
NEEDED = ("RecordID", "Length_of_stay", "Survival", "In-hospital_death")
LONG_STAY = 7.0
"""Days."""
SEEN_HOURS = 48.0
"""The data are of the first two days: what is still to come is counted from their end."""


def write_tasks(folder: Path, outcomes: Sequence[TextTable]) -> None:
    """Write :data:`FILE` into a store, where all tables of outcomes have the columns for it."""
    if not outcomes or any(name not in table.columns for table in outcomes for name in NEEDED):
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for table in outcomes:
        writer.writerows(rows_of(table))
    with atomic_write(folder / FILE) as file:
        file.write(text.getvalue().encode())


def rows_of(table: TextTable) -> Iterator[tuple[str, ...]]:
    """A row for each stay; a cell is empty where nothing is known.

    -1 of a length means that it is not known, of a survival that no death is known, in hospital or after it. Who died in hospital did so
    `Survival` days after admission; who did not was seen until discharge, `Length_of_stay` days after it.
    """
    for name, length_text, survival_text, died in zip(*(table.column(one) for one in NEEDED), strict=True):
        length, survival = (_days(text) for text in (length_text, survival_text))
        until = survival if died == "1" else length if died == "0" else None
        hours = "" if until is None else f"{max(0.0, 24.0 * until - SEEN_HOURS):g}"
        yield (
            normalise_id(name),
            "" if length is None else f"{length:g}",
            "" if length is None else f"{int(length > LONG_STAY)}",
            died if hours else "",
            hours,
            *(died_within(days, survival_text, died) for days in DEATH_WITHIN),
        )


def died_within(days: int, survival_text: str, died: str) -> str:
    """1 or 0; empty where it is not known.

    >>> died_within(30, "30", "0"), died_within(30, "31", "1"), died_within(30, "-1", "0"), died_within(30, "-1", "1")
    ('1', '0', '0', '')
    """
    survival = _days(survival_text)
    if survival is not None:
        return str(int(survival <= days))
    return "0" if as_number(survival_text) < 0.0 and died == "0" else ""


def _days(text: str) -> float | None:
    number = as_number(text)
    return number if number >= 0.0 else None
