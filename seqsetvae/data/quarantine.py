"""What happens to a subject or a row that cannot be used: stop with its error, or set it aside and go on."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seqsetvae.errors import InputError

OnError = Literal["stop", "quarantine", "drop_row"]
ROWS_LISTED = 100_000
"""Dropped rows that are listed one by one; the others are only counted."""


@dataclass(frozen=True)
class Rejected:
    """One subject that was set aside, or one row of a subject, and why."""

    split: str
    subject_id: str
    reason: str


@dataclass
class Quarantine:
    """Collects rejected subjects and rows, or raises at the first one.

    >>> quarantine = Quarantine("quarantine")
    >>> quarantine.reject("train", "132539", InputError("132539.txt, row 7: minute is NaN."))
    >>> quarantine.rejected[0].reason
    '132539.txt, row 7: minute is NaN.'
    """

    on_error: OnError = "stop"
    rejected: list[Rejected] = field(default_factory=list)
    rows: list[Rejected] = field(default_factory=list)
    """The first rows that were left out."""
    rows_by_reason: dict[str, int] = field(default_factory=dict)
    """How many rows were left out, of all."""

    def __post_init__(self) -> None:
        if self.on_error not in ("stop", "quarantine", "drop_row"):
            raise InputError(f"--on_error is {self.on_error!r}, but must be 'stop', 'quarantine' or 'drop_row'.")

    @property
    def drops_rows(self) -> bool:
        """Whether a bad row costs itself alone."""
        return self.on_error == "drop_row"

    def reject(self, split: str, subject_id: str, error: InputError) -> None:
        """Set one subject aside. Raises `error` itself where bad subjects stop the preparation."""
        if self.on_error == "stop":
            raise InputError(f"{error} Or set such subjects aside with --on_error quarantine.") from error
        self.rejected.append(Rejected(split, subject_id, str(error)))

    def reject_row(self, split: str, subject_id: str, reason: str, error: InputError) -> bool:
        """Leave out one row, or set its subject aside; returns whether the subject goes on.

        Raises `error` itself where bad rows stop the preparation. `reason` is what rows are counted by.
        """
        if self.on_error == "stop":
            raise InputError(
                f"{error} Or set such subjects aside with --on_error quarantine, or leave such rows out with --on_error drop_row."
            ) from error
        if not self.drops_rows:
            self.reject(split, subject_id, error)
            return False
        self.rows_by_reason[reason] = self.rows_by_reason.get(reason, 0) + 1
        if len(self.rows) < ROWS_LISTED:
            self.rows.append(Rejected(split, subject_id, str(error)))
        return True

    @contextmanager
    def guard(self, split: str, subject_id: str) -> Iterator[None]:
        """Reject the subject whose reading raises :class:`InputError` inside the `with`."""
        try:
            yield
        except InputError as error:
            self.reject(split, subject_id, error)

    def write(self, folder: Path) -> None:
        """Write `split,subject_id,reason`: subjects to quarantine.csv, rows to dropped_rows.csv, where there are any."""
        for name, found in (("quarantine.csv", self.rejected), ("dropped_rows.csv", self.rows)):
            if found:
                _write(folder / name, found)


def _write(path: Path, found: Iterable[Rejected]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "subject_id", "reason"])
        writer.writerows((r.split, r.subject_id, r.reason) for r in found)
