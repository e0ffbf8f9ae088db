"""`Lane`: one of a run's two ways to the store, with a journal and a shipping thread of its own.

What waits in one holds up nothing in the other: files wait for the artifact store, metrics, params and the status do not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from seqsetvae.tracking.write.answers import UnreachableError
from seqsetvae.tracking.write.journal import Journal, Record
from seqsetvae.tracking.write.shipper import Shipper

SHIP_SECONDS = 2.0
SHIP_POINTS = 500
LONGEST_PAUSE = 30.0
"""Seconds between two attempts at a store that stays away."""

_log = logging.getLogger(__name__)


class Lane:
    """The writing thread calls :meth:`write`; a thread of the lane's own delivers what it finds in the journal.

    While the disk is full the records stay in memory, and are delivered from there.
    """

    def __init__(
        self, journal: Journal, name: str, connect: Callable[[Journal], Shipper], leave: Callable[[], None]
    ) -> None:
        """`connect` opens the store; `leave` is called by the thread when it ends."""
        self.journal, self.name = journal, name
        self.trouble = ""
        """Why the last attempt at delivery failed; empty when it worked."""
        self.disk_trouble = ""
        """Why the last attempt at writing failed; empty when it worked."""
        self.unwritten: list[Record] = []
        self.done = False
        """Whether everything is delivered and nothing more will come."""
        self._connect, self._leave = connect, leave
        self._changing = threading.Lock()
        self._waiting_points = 0
        self._told = False
        self._marks: list[threading.Event] = []
        self._drained, self._giving_up, self._wake = threading.Event(), threading.Event(), threading.Event()
        threading.Thread(target=self._run, daemon=True, name=f"seqsetvae-ship-{name}").start()

    def put(self, record: Record) -> None:
        """Hand over a record; :meth:`write` writes it. For the writing thread."""
        with self._changing:
            self.unwritten.append(record)

    def write(self, ready: Callable[[Record], Record] = lambda record: record) -> bool:
        """Write what was handed over, each record as `ready` makes it for the journal. Return whether the disk has taken it all."""
        with self._changing:
            if not self.unwritten:
                return True
            try:
                for place, record in enumerate(self.unwritten):
                    self.unwritten[place] = ready(record)
                self.journal.append(self.unwritten)
            except OSError as error:
                if not self.disk_trouble:
                    _log.warning("Cannot write to %s (%s). Records wait in memory.", self.journal.folder, error)
                self.disk_trouble = str(error)
                return False
            self.disk_trouble = ""
            self._waiting_points += sum(len(record.get("metrics", ())) for record in self.unwritten)
            self.unwritten = []
        if self._waiting_points >= SHIP_POINTS:
            self._wake.set()
        return True

    def mark(self, mark: threading.Event) -> None:
        """Set the event once everything handed over so far is delivered."""
        self._marks.append(mark)
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether nothing waits in it, as far as is known."""
        return not self.unwritten and next(self.journal.unsent(), None) is None

    def drain(self) -> None:
        """Nothing will be handed over any more: the thread ends with the last record."""
        self._drained.set()
        self._wake.set()

    def give_up(self) -> None:
        """Leave what is undelivered to `sync`."""
        self._giving_up.set()
        self._wake.set()

    def _run(self) -> None:
        try:
            self._ship_until_drained()
        finally:
            self._leave()

    def _ship_until_drained(self) -> None:
        shipper: Shipper | None = None
        pause = SHIP_SECONDS
        while not self._giving_up.is_set():
            last_round = self._drained.is_set()
            marks = list(self._marks)
            self._wake.clear()
            self._waiting_points = 0
            try:
                shipper = shipper or self._connect(self.journal)
                while shipper.ship() or self._ship_unwritten(shipper):
                    self.trouble, pause = "", SHIP_SECONDS
                    if self._giving_up.is_set():
                        return
                self.trouble = ""
            except (UnreachableError, OSError) as error:
                self._wait_out((str(error).splitlines() or [type(error).__name__])[0], pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            for mark in marks:
                mark.set()
                self._marks.remove(mark)
            # In this order: the writing thread may move what is in memory to the journal at any time.
            if last_round and not self.unwritten and not shipper.waiting:
                self.done = True
                return
            self._wake.wait(pause)

    def _ship_unwritten(self, shipper: Shipper) -> bool:
        """While the disk is full: deliver straight from memory. Return whether there was anything."""
        if not self.disk_trouble:
            return False
        with self._changing:
            waiting = list(self.unwritten)
        handled = shipper.ship_unwritten(waiting)
        done = {id(record) for record in waiting[:handled]}
        with self._changing:
            # Where the disk took them meanwhile they are delivered once more, which changes nothing.
            self.unwritten = [record for record in self.unwritten if id(record) not in done]
        return handled > 0

    def _wait_out(self, trouble: str, seconds: float) -> None:
        """Pause before the next attempt: new points are no reason to shorten it, but somebody who waits for delivery is."""
        if not self._told:
            # Not warnings.warn: where warnings are errors it would end the thread.
            self._told = True
            _log.warning(
                "The store does not take %s now (%s). The run goes on; they are kept in %s and delivered when it is back.",
                self.name,
                trouble,
                self.journal.folder,
            )
        self.trouble = trouble
        end = time.monotonic() + seconds
        self._drained.wait(0.5)
        while (
            time.monotonic() < end and not self._drained.is_set() and not self._giving_up.is_set() and not self._marks
        ):
            self._drained.wait(0.5)
