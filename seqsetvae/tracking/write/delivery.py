"""`seqsetvae sync`: deliver what finished, killed or cut-off runs have left in their spools."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seqsetvae import names
from seqsetvae.console import attach
from seqsetvae.errors import MlflowStoreError
from seqsetvae.tracking.connection.address import usable
from seqsetvae.tracking.connection.trouble import patience
from seqsetvae.tracking.write.answers import RefusedError, UnreachableError, classified
from seqsetvae.tracking.write.journal import Journal
from seqsetvae.tracking.write.ownership import is_alive
from seqsetvae.tracking.write.shipper import Shipper
from seqsetvae.tracking.write.spool import Spool, Wish, left_over

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)

SYNC_SECONDS = 15

Register = Callable[[str, Wish], bool]
"""Registers the model of a run in the store of an address, or refuses to; False where it can do neither now."""


@dataclass(frozen=True)
class Outcome:
    """What became of one spool."""

    run_id: str
    delivered: int = 0
    """Points, params, tags, files and the like that the store took now."""
    unsent: int = 0
    """Records still waiting."""
    rejected: int = 0
    """Records that the store refuses, now as before."""
    busy: bool = False
    """A live process delivers this spool itself."""
    trouble: str = ""
    unregistered: bool = False
    """Its model is still to be registered."""

    @property
    def complete(self) -> bool:
        """Whether nothing of it is left to do. A live run's own process does what is left."""
        return not (self.unsent or self.rejected or self.unregistered)

    def line(self, folder: Path) -> str:
        if self.busy:
            return f"run {self.run_id}: still running or being delivered by another process, left alone"
        text = f"run {self.run_id}: {self.delivered} delivered"
        if self.unsent:
            text += f", {self.unsent} records still unsent ({self.trouble})"
        elif self.unregistered:
            text += ", its model still to be registered"
        if self.rejected:
            text += (
                f", {self.rejected} refused by the store: the reasons stand in {folder / 'rejected.jsonl'}. They are offered again by "
                "the next sync; to give them up, delete that folder"
            )
        return text


@dataclass(frozen=True)
class SyncReport:
    """Result of :func:`sync`."""

    outcomes: tuple[Outcome, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing waits any more. Spools of live runs do not count against it."""
        return all(outcome.complete for outcome in self.outcomes)

    def __repr__(self) -> str:
        done = sum(outcome.complete for outcome in self.outcomes)
        return f"<SyncReport {done} of {len(self.outcomes)} runs complete, {sum(o.delivered for o in self.outcomes)} delivered>"


def deliver(spool: Spool, given: str | None = None, register: Register | None = None) -> Outcome:
    """Deliver a left-over spool as far as the store takes it, and remove it when it is empty.

    Tries once, without waiting. A run that says RUNNING after all that, because its process has vanished, is ended.

    Args:
        spool: what a run has left.
        given: the address of a store with its login, which the spool's header has not: used where it is the same store.
        register: registers the model of a run that wanted it, once everything has arrived; None: the wish stays.
    """
    run_id = spool.folder.name
    if not spool.lock():
        return Outcome(run_id, busy=True)
    try:
        try:
            uri = usable(spool.header.tracking_uri, given)
        except MlflowStoreError as error:
            return Outcome(run_id, unsent=spool.n_unsent(), trouble=str(error))
        spool.offer_rejected_again()
        parts = [_deliver_journal(spool, journal, uri) for journal in (spool.records, spool.uploads)]
        delivered, trouble = sum(part[0] for part in parts), next((part[1] for part in parts if part[1]), "")
        unsent = spool.n_unsent()
        rejected = sum(1 for _ in spool.rejections())
        if not unsent and spool.wants_registration and register is not None and register(uri, spool.wish):
            spool.registered()
        unregistered = spool.wants_registration
        if not unsent:
            spool.remove()
        return Outcome(run_id, delivered, unsent, rejected, trouble=trouble, unregistered=unregistered)
    finally:
        spool.close()


def end_vanished(client: MlflowClient, run_id: str) -> None:
    """End a run of this host that says RUNNING although its process is gone: KILLED."""
    stored = client.get_run(run_id)
    here = stored.data.tags.get(names.TAG_HOST) == socket.gethostname()
    if stored.info.status == "RUNNING" and here and not is_alive(stored.data.tags):
        client.set_tag(run_id, names.TAG_ENDED_BY, "process vanished")
        client.set_terminated(run_id, "KILLED", int(time.time() * 1000))


def _deliver_journal(spool: Spool, journal: Journal, uri: str) -> tuple[int, str]:
    """Return how much was delivered, and why not all of it."""
    shipper: Shipper | None = None
    while True:
        try:
            with patience(SYNC_SECONDS):
                shipper = shipper or Shipper(spool, journal, uri)
                while shipper.ship():
                    pass
                if journal is spool.records and not shipper.rejected:
                    with classified(shipper.remote):
                        end_vanished(shipper.client, spool.folder.name)
            return shipper.delivered, ""
        except (UnreachableError, RefusedError, OSError) as error:
            if not getattr(error, "smaller_may_do", False):
                return (shipper.delivered if shipper is not None else 0), (str(error).splitlines() or [""])[0]


def sync(
    work_dir: Path | str,
    echo: Callable[[str], None] | None = None,
    *,
    given: str | None = None,
    register: Register | None = None,
) -> SyncReport:
    """Deliver every left-over spool under `work_dir` and say for each run what became of it; the rest as of :func:`deliver`."""
    attach()
    echo = echo or _log.info
    spools = left_over(work_dir)
    if not spools:
        echo(f"Nothing to deliver in {Path(work_dir, 'spool')}.")
    outcomes = []
    for spool in spools:
        outcomes.append(deliver(spool, given, register))
        echo(outcomes[-1].line(spool.folder))
    return SyncReport(tuple(outcomes))
