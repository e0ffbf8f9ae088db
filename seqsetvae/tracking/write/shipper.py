"""Delivery: from a journal of a run to its MLflow store, in order, in batches, for as long as it takes.

Redelivery is harmless: MLflow drops a metric row whose key, value, timestamp and step it already has, and everything else overwrites
itself. So the position in the journal is only moved after the store has answered.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from seqsetvae.tracking.write.answers import RefusedError, UnreachableError, classified
from seqsetvae.tracking.write.journal import Journal, Record
from seqsetvae.tracking.write.spool import Spool

MAX_METRICS = 1000
MAX_PARAMS = MAX_TAGS = 100
"""MLflow's own limits for one log_batch call."""
SMALLEST_BATCH = 50
_log = logging.getLogger(__name__)

Place = TypeVar("Place")
Item = tuple[str, Any]
"""("metrics", [key, value, step, timestamp]), ("params", (key, value)) or ("tags", (key, value)): what a log_batch call holds."""


class Shipper:
    """Delivers one journal. Not thread-safe: one thread calls it, and only while its process holds the spool's lock."""

    def __init__(self, spool: Spool, journal: Journal, tracking_uri: str) -> None:
        """`tracking_uri`: with whatever login it takes; the spool's header has none."""
        from mlflow import MlflowClient

        self.spool, self.journal = spool, journal
        self.run_id = spool.header.run_id
        self.remote = tracking_uri.startswith(("http", "databricks"))
        self.position = journal.acknowledged()
        self.batch_size = MAX_METRICS
        self.delivered = 0
        """Points, params, tags, files and the like that the store has taken."""
        self.rejected = 0
        with classified(self.remote):
            self.client = MlflowClient(tracking_uri)

    def ship(self) -> bool:
        """Deliver until the journal's present end, or one batch, whichever is less. Return whether anything was left to do.

        Raises :class:`UnreachableError` with the position still in front of the batch.
        """
        group, position = self._group(self.journal.unsent(self.position), self.position)
        if not group:
            return False
        self._ship_group(group)
        self.position = position
        with suppress(OSError):  # the disk is full: after a crash it would be delivered once more, which is harmless
            self.journal.acknowledge(position)
        for record in group:
            if "file" in record:
                self.spool.drop_file(record)
        return True

    @property
    def waiting(self) -> bool:
        """Whether the journal holds more."""
        return next(self.journal.unsent(self.position), None) is not None

    def ship_unwritten(self, records: Sequence[Record]) -> int:
        """Deliver the first of records that no journal has taken, because the disk is full. Return how many were handled."""
        group, handled = self._group(((record, count) for count, record in enumerate(records, 1)), 0)
        if group:
            self._ship_group(group)
        return handled

    def _group(self, records: Iterable[tuple[Record, Place]], place: Place) -> tuple[list[Record], Place]:
        """The first records that fit into one log_batch call, or one single record of another kind; and the place behind them."""
        group: list[Record] = []
        room = {"metrics": self.batch_size, "params": MAX_PARAMS, "tags": MAX_TAGS}
        total = self.batch_size
        for record, behind in records:
            (kind, content), *_ = record.items()
            if kind not in room:
                return ([record], behind) if not group else (group, place)
            room[kind] -= len(content)
            total -= len(content)
            if group and (room[kind] < 0 or total < 0):
                break
            group.append(record)
            place = behind
        return group, place

    def _ship_group(self, group: list[Record]) -> None:
        if group[0].keys() <= {"metrics", "params", "tags"}:
            self._ship_batch(group)
        else:
            self._ship_single(group[0])

    def _ship_batch(self, group: list[Record]) -> None:
        items: list[Item] = []
        for record in group:
            ((kind, content),) = record.items()
            items += [(kind, entry) for entry in (content if kind == "metrics" else content.items())]
        try:
            self._send(items)
        except UnreachableError as error:
            if "timed out" in str(error) and self.batch_size > SMALLEST_BATCH:
                # A slow store may manage a smaller batch within the time limit.
                self.batch_size = max(self.batch_size // 2, SMALLEST_BATCH)
                error.smaller_may_do = True
            raise
        self.batch_size = min(self.batch_size + SMALLEST_BATCH, MAX_METRICS)

    def _send(self, items: list[Item]) -> None:
        """Send items; on a refusal halve them until the culprit stands alone."""
        from mlflow.entities import Metric, Param, RunTag

        for start in range(0, len(items), self.batch_size):
            part = items[start : start + self.batch_size]
            entities: dict[str, list[Any]] = {"metrics": [], "params": [], "tags": []}
            for kind, entry in part:
                if kind == "metrics":
                    key, value, step, timestamp = entry
                    entities[kind].append(Metric(key, value, timestamp, step))
                else:
                    entities[kind].append((Param if kind == "params" else RunTag)(*entry))
            try:
                with classified(self.remote):
                    self.client.log_batch(self.run_id, entities["metrics"], entities["params"], entities["tags"])
                self.delivered += len(part)
            except RefusedError as refusal:
                self._check_run()
                if len(part) == 1:
                    ((kind, entry),) = part
                    self._reject({kind: [entry] if kind == "metrics" else dict([entry])}, str(refusal))
                else:
                    self._send(part[: len(part) // 2])
                    self._send(part[len(part) // 2 :])

    def _ship_single(self, record: Record) -> None:
        ((kind, content),) = record.items()
        try:
            with classified(self.remote):
                {"file": self._send_file, "dataset": self._send_dataset, "status": self._send_status}[kind](content)
            self.delivered += 1
        except RefusedError as refusal:
            self._check_run()
            self._reject(record, str(refusal))

    def _send_file(self, content: dict[str, Any]) -> None:
        folder = content["folder"] or None
        if self.remote:
            self.client.get_run(
                self.run_id
            )  # a server on another database would take the file of a run that it has not
        if "content" in content:  # there was no room for it on the spool's disk
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch, content["name"])
                path.write_bytes(content["content"])
                self.client.log_artifact(self.run_id, str(path), folder)
            return
        path = self.spool.file_of(content)
        if path.exists() or "link" not in content:
            path.stat()  # a file that is gone is told from one that the store has not
            self.client.log_artifact(self.run_id, str(path), folder)

    def _send_dataset(self, content: dict[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        tags = [InputTag("mlflow.data.context", content["context"])]
        dataset = Dataset(**{key: value for key, value in content.items() if key != "context"})
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, tags)])

    def _send_status(self, content: dict[str, Any]) -> None:
        if content["status"] == "RUNNING":
            self.client.update_run(self.run_id, status="RUNNING")
        else:
            self.client.set_terminated(self.run_id, content["status"], content["end_time"])

    def _check_run(self) -> None:
        """A refusal is one of the record only where the store has the run.

        Where it has not (a server that was started on another database, a run that somebody deleted), everything waits: it may come back.
        """
        try:
            with classified(self.remote):
                stage = self.client.get_run(self.run_id).info.lifecycle_stage
        except RefusedError as refusal:
            raise UnreachableError(f"the store has no run {self.run_id}: {refusal}") from refusal
        if stage != "active":
            raise UnreachableError(
                f"run {self.run_id} was deleted; `mlflow runs restore --run-id {self.run_id}` brings it back"
            )

    def _reject(self, record: Record, reason: str) -> None:
        if not self.rejected:
            _log.warning(
                "The tracking store refuses a record of run %s (%s). It and any further ones are kept in %s, and `seqsetvae sync` "
                "offers them again; the rest goes on.",
                self.run_id,
                reason,
                self.spool.rejected,
            )
        self.rejected += 1
        self.spool.reject(record, reason)
