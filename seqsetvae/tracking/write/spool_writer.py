"""`SpoolWriter`: what the training thread talks to. It appends to a queue in memory; three threads do the rest.

training thread    -> queue                      no disk, no network, no `.item()`
writing thread     -> journals                   every quarter of a second
shipping threads   -> store                      every two seconds, or as soon as 500 points wait; one for files, one for all else
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from seqsetvae.tracking.write.checkpoint_uploads import CheckpointUploads
from seqsetvae.tracking.write.fresh_points import FreshPoints
from seqsetvae.tracking.write.journal import Record
from seqsetvae.tracking.write.lane import SHIP_POINTS, Lane
from seqsetvae.tracking.write.shipper import Shipper
from seqsetvae.tracking.write.spool import Spool

WRITE_SECONDS = 0.25
GIVE_UP_SECONDS = 3.0

Points = tuple[int, int, Mapping[str, Any]]
"""Step, milliseconds since the epoch, values by key."""
CHECKPOINTS: Record = {"checkpoints": None}
"""In the queue: upload those that are new now."""

_log = logging.getLogger(__name__)


class _DiskMark(threading.Event):
    """Set once what was queued before it is on disk, or cannot be written there now."""

    written = False


class _DeliveryMark(threading.Event):
    """In the queue: what was queued before it is to be delivered. Each lane sets one of these."""

    def __init__(self, lanes: int) -> None:
        super().__init__()
        self.delivered = [threading.Event() for _ in range(lanes)]


class SpoolWriter:
    """Records of one run, on their way through the spool to the store."""

    def __init__(
        self,
        spool: Spool,
        tracking_uri: str,
        last_steps: Mapping[str, int] | None = None,
        sample: Callable[[], Points | None] | None = None,
        checkpoints: CheckpointUploads | None = None,
    ) -> None:
        """Points at or below `last_steps` are dropped, because an earlier part of the run has logged them.

        `sample` is asked for further points about every `WRITE_SECONDS`, on the writing thread; so is `checkpoints` for new files.
        """
        self.spool = spool
        self._fresh = FreshPoints(last_steps or {})
        self._sample, self._checkpoints = sample, checkpoints
        self._queue: deque[Points | Record | threading.Event] = deque()
        self._held: list[Record] = []
        """Checkpoints that wait for the records before them."""
        self._before_held = threading.Event()
        """Set once these are delivered."""
        self._offered_again = False
        self._pid = os.getpid()
        self._closing, self._giving_up, self._wake = threading.Event(), threading.Event(), threading.Event()
        self._leaving, self._left = threading.Lock(), threading.Event()
        self._threads = 3

        def connect(journal: Any) -> Shipper:
            return Shipper(spool, journal, tracking_uri)

        self.records = Lane(spool.records, "records", connect, self._leave)
        self.uploads = Lane(spool.uploads, "files", connect, self._leave)
        self._lanes = (self.records, self.uploads)
        threading.Thread(target=self._write_until_closed, daemon=True, name="seqsetvae-spool").start()

    @property
    def trouble(self) -> str:
        """Why the last attempt at delivery failed; empty when it worked."""
        return self.records.trouble or self.uploads.trouble

    @property
    def lost(self) -> str:
        """After :meth:`give_up`: what neither the disk nor the store has taken, in words; empty if that is nothing."""
        points = sum(len(record.get("metrics", ())) for record in self.records.unwritten)
        others = sum("metrics" not in record for record in self.records.unwritten)
        counted = {"points": points, "other records": others, "files": len(self.uploads.unwritten)}
        return ", ".join(f"{number} {what}" for what, number in counted.items() if number)

    def log_metrics(self, metrics: Mapping[str, float | torch.Tensor], step: int) -> None:
        """Queue values for `step`. Tensors of one element stay where they are and are read later, from another thread."""
        # The clone keeps the value of a tensor that training goes on to change in place.
        values = {key: v.detach().clone() if isinstance(v, torch.Tensor) else v for key, v in metrics.items()}
        self.put((step, int(time.time() * 1000), values))

    @property
    def is_copy(self) -> bool:
        """Whether this is a forked child, which has the object but neither the threads nor a right to the spool."""
        return os.getpid() != self._pid

    def put(self, entry: Points | Record) -> None:
        """Queue points, a ready record of :mod:`seqsetvae.tracking.write.spool`, a file's content, or `CHECKPOINTS`."""
        if not self.is_copy and not self._closing.is_set():
            self._queue.append(entry)

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until everything queued so far is delivered. Return whether it is."""
        if self.is_copy or self._closing.is_set():
            return not self.trouble
        mark = _DeliveryMark(len(self._lanes))
        self._queue.append(mark)
        self._wake.set()
        end = time.monotonic() + timeout
        return all(one.wait(max(0.0, end - time.monotonic())) for one in mark.delivered)

    def persist(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until everything queued so far is on the local disk. Return whether it is."""
        if self.is_copy or self._closing.is_set():
            return True
        mark = _DiskMark()
        self._queue.append(mark)
        self._wake.set()
        return mark.wait(timeout) and mark.written

    def close(self, timeout: float) -> bool:
        """Take no more records, wait up to `timeout` seconds for delivery. Return whether all was delivered.

        Can be called again to wait longer.
        """
        if self.is_copy:
            return True
        self._closing.set()
        self._wake.set()
        # Not `join`: a thread whose joining was broken off by a signal passes for ended ever after (Python 3.11).
        return self._left.wait(timeout) and all(lane.done for lane in self._lanes)

    def give_up(self) -> None:
        """Leave what is still undelivered to `sync`; to be called after :meth:`close`."""
        self._giving_up.set()
        self._wake.set()
        for lane in self._lanes:
            lane.give_up()
        self._left.wait(GIVE_UP_SECONDS)

    def _write_until_closed(self) -> None:
        try:
            while not self._write_round():
                self._wake.wait(WRITE_SECONDS)
                self._wake.clear()
        finally:
            self._leave()

    def _write_round(self) -> bool:
        """Take the queue and write what is in it. Return whether it was the last time."""
        closing, giving_up = self._closing.is_set(), self._giving_up.is_set()
        if not closing:
            if self._sample is not None and (points := self._sample()):
                self._queue.append(points)
            self._hold_checkpoints()
        if closing and not self._queue:
            self._offer_rejected_again()
        marks = self._take_queue()
        self._release_checkpoints(closing)
        # Files first: a run whose end is on disk, and in the store a moment later, has its files there too, whatever kills it now. In
        # any case both: a full disk may have room for the one and not for the other.
        written = all([self.uploads.write(self._on_disk), self.records.write()])
        for mark in marks:
            if isinstance(mark, _DiskMark):
                mark.written = written
                mark.set()
            elif isinstance(mark, _DeliveryMark):
                for lane, delivered in zip(self._lanes, mark.delivered, strict=True):
                    lane.mark(delivered)
        if closing:
            for lane in self._lanes:
                lane.drain()
        # A full disk may yet get room, or the store takes the records from memory.
        return closing and (written or giving_up)

    def _take_queue(self) -> list[threading.Event]:
        """Hand what was queued to the lanes; return the marks that were among it."""
        points: list[list[Any]] = []
        marks: list[threading.Event] = []
        while self._queue:
            entry = self._queue.popleft()
            if isinstance(entry, tuple):
                points += self._fresh.of(*entry)
            if points and (not isinstance(entry, tuple) or len(points) >= SHIP_POINTS):
                self.records.put({"metrics": points})
                points = []
            if isinstance(entry, threading.Event):
                marks.append(entry)
            elif entry is CHECKPOINTS:
                self._put_files(self._checkpoints.rest() if self._checkpoints is not None else [])
            elif isinstance(entry, dict):
                (self.uploads if "file" in entry else self.records).put(entry)
        if points:
            self.records.put({"metrics": points})
        return marks

    def _hold_checkpoints(self) -> None:
        """Take a link to each checkpoint that is due, as it is now."""
        if self._checkpoints is None or self._held:
            return
        for record in self._checkpoints.due(lambda: self.uploads.idle):
            try:
                self._held.append(self._on_disk(record))
            except OSError as error:
                _log.warning("A checkpoint is not uploaded now (%s).", error)
        if self._held:
            mark = _DeliveryMark(len(self._lanes))
            self._queue.append(mark)
            self._before_held = mark.delivered[self._lanes.index(self.records)]

    def _release_checkpoints(self, closing: bool) -> None:
        """Upload what is held once everything logged before it is delivered.

        Who resumes from the store, on a machine that has none of the records which still waited here, goes on behind the checkpoint.
        """
        if closing or self._before_held.is_set():
            held, self._held = self._held, []
            self._put_files(held)

    def _put_files(self, records: list[Record]) -> None:
        for record in records:
            self.uploads.put(record)

    def _on_disk(self, record: Record) -> Record:
        """Text and bytes become a file in the spool, a checkpoint a link there, so that the journal holds only paths."""
        file = record["file"]
        if "content" in file:
            path = self.spool.keep_content(file["content"], file["name"])
        elif "link" in file and (link := self.spool.keep_link(Path(file["link"]))) is not None:
            path = link
        else:
            kind = "link" if "link" in file else "path"
            return {"file": {kind: self.spool.from_here(Path(file[kind])), "folder": file["folder"]}}
        return {"file": {"path": self.spool.from_here(path), "folder": file["folder"]}}

    def _offer_rejected_again(self) -> None:
        """Once, at the end: what was refused while a server was in disorder is taken now."""
        if not self._offered_again:
            self._offered_again = True
            try:
                self.spool.offer_rejected_again()
            except OSError as error:
                _log.warning("What the store has refused stays in %s (%s).", self.spool.rejected, error)

    def _leave(self) -> None:
        """The last of the threads closes the spool, and removes what is delivered."""
        with self._leaving:
            self._threads -= 1
            if self._threads:
                return
        try:
            if all(lane.done for lane in self._lanes):
                self.spool.remove()
            else:
                self.spool.close()
        finally:
            self._left.set()
