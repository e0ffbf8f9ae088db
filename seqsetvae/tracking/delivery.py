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
    with spool.lock() as ours:
        if not ours:
            return Outcome(run_id, 0, 0, 0, busy=True)
        trouble = ""
        delivered = 0
        try:
            with patience(SYNC_SECONDS):
                shipper = Shipper(spool)
                while shipper.ship():
                    delivered = shipper.delivered
        except (UnreachableError, OSError) as error:
            trouble = str(error).splitlines()[0]
        unsent = sum(1 for _ in spool.unsent())
        rejected = spool.n_rejected()
        if not unsent:
            spool.remove()
        return Outcome(run_id, delivered, unsent, rejected, trouble=trouble)


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
