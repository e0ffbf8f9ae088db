"""`SpoolWriter`: what the training thread talks to. It appends to a queue in memory; two threads do the rest.

training thread  -> queue                      no disk, no network, no `.item()`
writing thread   -> journal                    every quarter of a second
shipping thread  -> store                      every two seconds, or as soon as 500 points wait
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch

from seqsetvae.tracking.shipper import Shipper, UnreachableError
from seqsetvae.tracking.spool import Record, Spool

WRITE_SECONDS = 0.25
SHIP_SECONDS = 2.0
SHIP_POINTS = 500
LONGEST_PAUSE = 30.0
"""Seconds between two attempts at a store that stays away."""

Points = tuple[int, int, Mapping[str, Any]]
"""Step, milliseconds since the epoch, values by key."""

_log = logging.getLogger(__name__)


class _DiskMark(threading.Event):
    """Set once what was queued before it is on disk; a plain event in the queue waits for its delivery."""


class SpoolWriter:
    """Records of one run, on their way through the spool to the store."""

    def __init__(
        self,
        spool: Spool,
        last_steps: Mapping[str, int] | None = None,
        sample: Callable[[], Points | None] | None = None,
    ) -> None:
        """Points at or below `last_steps` are dropped, because an earlier part of the run has logged them. `sample` is asked for
        further points about every `WRITE_SECONDS`, on the writing thread.
        """
        self.spool = spool
        self.trouble = ""
        """Why the last attempt at delivery failed; empty when it worked."""
        self._floor = dict(last_steps or {})
        self._sample = sample
        self._last: dict[str, tuple[int, str]] = {}
        self._queue: deque[Points | Record | threading.Event] = deque()
        self._unwritten: list[Record] = []
        self._waiting_points = 0
        self._marks_to_write: list[threading.Event] = []
        self._marks_to_ship: list[threading.Event] = []
        self._told: set[str] = set()
        self._pid = os.getpid()
        self._closing, self._giving_up = threading.Event(), threading.Event()
        self._wake_writer, self._wake_shipper = threading.Event(), threading.Event()
        self._writer = threading.Thread(target=self._write_loop, daemon=True, name="seqsetvae-spool")
        self._shipper = threading.Thread(target=self._ship_loop, daemon=True, name="seqsetvae-ship")
        self._writer.start()
        self._shipper.start()

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
        """Queue points or a ready record of :mod:`seqsetvae.tracking.spool`."""
        if not self.is_copy and not self._closing.is_set():
            self._queue.append(entry)

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until everything queued so far is on disk and delivered. Return whether it is."""
        if self.is_copy or self._closing.is_set():
            return not self.trouble
        mark = threading.Event()
        self._queue.append(mark)
        self._wake_writer.set()
        return mark.wait(timeout)

    def persist(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until everything queued so far is on the local disk. Return whether it is."""
        if self.is_copy or self._closing.is_set():
            return True
        mark = _DiskMark()
        self._queue.append(mark)
        self._wake_writer.set()
        return mark.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Take no more records, wait up to `timeout` seconds for delivery. Return whether all was delivered.

        The journal is complete on disk in any case, unless the disk is full. Can be called again to wait longer.
        """
        if self.is_copy:
            return True
        self._closing.set()
        self._wake_writer.set()
        self._writer.join()
        self._wake_shipper.set()
        self._shipper.join(timeout)
        return not self._shipper.is_alive()

    def give_up(self) -> None:
        """Leave what is still undelivered to `sync`; to be called after :meth:`close`."""
        self._giving_up.set()
        self._shipper.join(1.0)

    def _write_loop(self) -> None:
        while True:
            closing = self._closing.is_set()
            self._wake_writer.clear()
            if self._sample is not None and not closing and (points := self._sample()):
                self._queue.append(points)
            self._take_queue()
            self._write()
            if closing:
                return
            if self._waiting_points >= SHIP_POINTS:
                self._wake_shipper.set()
            self._wake_writer.wait(WRITE_SECONDS)

    def _take_queue(self) -> None:
        points: list[list[Any]] = []
        while self._queue:
            entry = self._queue.popleft()
            if isinstance(entry, tuple):
                points += self._news(*entry)
            if points and (not isinstance(entry, tuple) or len(points) >= SHIP_POINTS):
                self._unwritten.append({"metrics": points})
                points = []
            if isinstance(entry, threading.Event):
                self._marks_to_write.append(entry)
            elif isinstance(entry, dict):
                self._unwritten.append(entry)
        if points:
            self._unwritten.append({"metrics": points})

    def _write(self) -> None:
        try:
            for i, record in enumerate(self._unwritten):
                self._unwritten[i] = self._with_copy(record)
            if self._unwritten:
                self.spool.append(self._unwritten)
        except OSError as error:
            self._tell_once("disk", "Cannot write to %s (%s). Records wait in memory.", self.spool.folder, error)
            return
        self._waiting_points += sum(len(record.get("metrics", ())) for record in self._unwritten)
        self._unwritten = []
        for mark in self._marks_to_write:
            if isinstance(mark, _DiskMark):
                mark.set()
            else:
                self._marks_to_ship.append(mark)
                self._wake_shipper.set()
        self._marks_to_write = []

    def _news(self, step: int, timestamp: int, values: Mapping[str, Any]) -> list[list[Any]]:
        """Values that neither an earlier part of the run has logged nor the previous call at the same step."""
        points = []
        for key, raw in values.items():
            if step <= self._floor.get(key, step - 1):
                continue
            try:
                value = float(raw)
            except (TypeError, ValueError, RuntimeError) as error:
                self._tell_once(key, "Metric %r is not a single number and is left out: %s", key, error)
                continue
            # repr: NaN equals itself here.
            if self._last.get(key) == (step, repr(value)):
                continue
            self._last[key] = (step, repr(value))
            if math.isinf(value):
                self._tell_once(
                    "inf", "Metric %r is infinite at step %d. MLflow shows such values as 1.8e308.", key, step
                )
            points.append([key, value, step, timestamp])
        return points

    def _with_copy(self, record: Record) -> Record:
        """Text and bytes become a file in the spool, so that the journal holds only its path."""
        if "content" not in record.get("file", ()):
            return record
        file = record["file"]
        return {"file": {"path": str(self.spool.keep_file(file["content"], file["name"])), "folder": file["folder"]}}

    def _ship_loop(self) -> None:
        try:
            if self._ship_until_closed():
                self.spool.remove()
        finally:
            self.spool.close()

    def _ship_until_closed(self) -> bool:
        """Whether everything was delivered; False when told to give up."""
        shipper: Shipper | None = None
        pause = SHIP_SECONDS
        while not self._giving_up.is_set():
            last_round = not self._writer.is_alive()
            marks = list(self._marks_to_ship)
            self._wake_shipper.clear()
            self._waiting_points = 0
            try:
                shipper = shipper or Shipper(self.spool)
                while shipper.ship():
                    self.trouble, pause = "", SHIP_SECONDS
                    if self._giving_up.is_set():
                        return False
                self.trouble = ""
            except (UnreachableError, OSError) as error:
                self._wait_out(str(error).splitlines()[0], pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            for mark in marks:
                mark.set()
                self._marks_to_ship.remove(mark)
            if last_round:
                return True
            self._wake_shipper.wait(pause)
        return False

    def _wait_out(self, trouble: str, seconds: float) -> None:
        """Pause before the next attempt: new points are no reason to shorten it, but somebody who waits for delivery is."""
        self.trouble = trouble
        self._tell_once(
            "store",
            "The tracking store does not take records now (%s). The run goes on; they are kept in %s and delivered when it is back.",
            trouble,
            self.spool.folder,
        )
        end = time.monotonic() + seconds
        self._closing.wait(0.5)
        while time.monotonic() < end and not self._closing.is_set() and not self._marks_to_ship:
            self._closing.wait(0.5)

    def _tell_once(self, topic: str, message: str, *values: object) -> None:
        # Not warnings.warn: where warnings are errors it would end the thread.
        if topic not in self._told:
            self._told.add(topic)
            _log.warning(message, *values)
