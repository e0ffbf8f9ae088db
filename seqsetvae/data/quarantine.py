"""What happens to a subject that cannot be used: stop with its error, or set it aside and go on."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seqsetvae.errors import InputError

OnError = Literal["stop", "quarantine"]


@dataclass(frozen=True)
class Rejected:
    """One subject that was set aside, and why."""

    split: str
    subject_id: str
    reason: str


@dataclass
class Quarantine:
    """Collects rejected subjects, or raises at the first one.

    >>> quarantine = Quarantine("quarantine")
    >>> quarantine.reject("train", "132539", InputError("132539.txt, row 7: minute is NaN."))
    >>> quarantine.rejected[0].reason
    '132539.txt, row 7: minute is NaN.'
    """

    on_error: OnError = "stop"
    rejected: list[Rejected] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.on_error not in ("stop", "quarantine"):
            raise InputError(f"--on_error is {self.on_error!r}, but must be 'stop' or 'quarantine'.")

    def reject(self, split: str, subject_id: str, error: InputError) -> None:
        """Set one subject aside. Raises `error` itself where bad subjects stop the preparation."""
        if self.on_error == "stop":
            raise InputError(f"{error} Or set such subjects aside with --on_error quarantine.") from error
        self.rejected.append(Rejected(split, subject_id, str(error)))

    @contextmanager
    def guard(self, split: str, subject_id: str) -> Iterator[None]:
        """Reject the subject whose reading raises :class:`InputError` inside the `with`."""
        try:
            yield
        except InputError as error:
            self.reject(split, subject_id, error)

    def write(self, path: Path) -> None:
        """Write `split,subject_id,reason`, one line per rejected subject."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["split", "subject_id", "reason"])
            writer.writerows((r.split, r.subject_id, r.reason) for r in self.rejected)
