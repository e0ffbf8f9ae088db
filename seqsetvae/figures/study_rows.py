"""A trial of a study as a plain row, for tables and figures; and what rows add up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TrialRow:
    """One trial that has ended."""

    number: int
    state: str
    """complete, pruned or failed."""
    feasible: bool
    """Keeps every constraint: latents in use, never red."""
    reason: str = ""
    """Why it was pruned or failed."""
    params: Mapping[str, float | int | str] = field(default_factory=dict)
    val_recon: float | None = None
    """The last validation NLL, nats per set."""
    level: str = ""
    """The worst the monitor has seen."""
    mutual_information: float | None = None
    active_units_ratio: float | None = None
    decoder_use: float | None = None
    steps: int = 0
    """Optimizer steps taken, of `planned_steps`."""
    planned_steps: int = 0
    training_seconds: float = 0.0
    run_id: str = ""
    history_missed: float | None = None
    """By the heads on the history, on the validation split; 0 without such."""

    @property
    def candidate(self) -> bool:
        """Whether it can be the winner."""
        return self.state == "complete" and self.feasible


def compute_saved(rows: Sequence[TrialRow]) -> float:
    """Share of the planned optimizer steps that was not spent, because trials were pruned.

    >>> whole = TrialRow(0, "complete", True, steps=100, planned_steps=100)
    >>> compute_saved([whole, TrialRow(1, "pruned", False, steps=20, planned_steps=100)])
    0.4
    """
    counted = [row for row in rows if row.state in ("complete", "pruned")]
    planned = sum(row.planned_steps for row in counted)
    return 1.0 - sum(row.steps for row in counted) / planned if planned else 0.0
