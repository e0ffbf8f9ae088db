"""`seqsetvae sync`: deliver what finished, killed or cut-off runs have left in their spools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seqsetvae.tracking.shipper import Shipper, UnreachableError, patience
from seqsetvae.tracking.spool import Spool, left_over

SYNC_SECONDS = 15


@dataclass(frozen=True)
class Outcome:
    """What became of one spool."""

    run_id: str
    delivered: int
    """Points, params, tags, files and the like that the store took now."""
    unsent: int
    """Records still waiting."""
    rejected: int
    """Records the store refuses for good, now or earlier."""
    busy: bool = False
    """A live process delivers this spool itself."""
    trouble: str = ""

    def line(self, folder: Path) -> str:
        if self.busy:
            return f"run {self.run_id}: still running or being delivered by another process, left alone"
        text = f"run {self.run_id}: {self.delivered} delivered"
        if self.unsent:
            text += f", {self.unsent} records still unsent ({self.trouble})"
        if self.rejected:
            text += f", {self.rejected} refused for good by the store, kept in {folder / 'rejected.jsonl'}"
        return text


@dataclass(frozen=True)
class SyncReport:
    """Result of :func:`sync`."""

    outcomes: tuple[Outcome, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing waits any more. Spools of live runs do not count against it."""
        return not any(outcome.unsent for outcome in self.outcomes)


def deliver(spool: Spool) -> Outcome:
    """Deliver a left-over spool as far as the store takes it, and remove it when it is empty. Tries once, without waiting."""
    run_id = spool.folder.name
    if not spool.lock():
        return Outcome(run_id, 0, 0, 0, busy=True)
    try:
        delivered, trouble = _deliver_locked(spool)
        unsent = sum(1 for _ in spool.unsent())
        rejected = spool.n_rejected()
        if not unsent:
            spool.remove()
        return Outcome(run_id, delivered, unsent, rejected, trouble=trouble)
    finally:
        spool.close()


def _deliver_locked(spool: Spool) -> tuple[int, str]:
    """Return how much was delivered, and why not all of it."""
    shipper: Shipper | None = None
    while True:
        try:
            with patience(SYNC_SECONDS):
                shipper = shipper or Shipper(spool)
                while shipper.ship():
                    pass
            return shipper.delivered, ""
        except (UnreachableError, OSError) as error:
            if not getattr(error, "smaller_may_do", False):
                return (shipper.delivered if shipper is not None else 0), str(error).splitlines()[0]


def sync(work_dir: Path | str, echo: Callable[[str], None] = print) -> SyncReport:
    """Deliver every left-over spool under `work_dir` and say for each run what became of it."""
    spools = left_over(work_dir)
    if not spools:
        echo(f"Nothing to deliver in {Path(work_dir, 'spool')}.")
    outcomes = []
    for spool in spools:
        outcomes.append(deliver(spool))
        echo(outcomes[-1].line(spool.folder))
    return SyncReport(tuple(outcomes))
