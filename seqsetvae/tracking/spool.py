"""The journal on local disk: everything a run wants recorded, in order, until the store has acknowledged it.

    <work_dir>/spool/<run_id>/
        header.json       tracking_uri, run_id, experiment_id
        000001.jsonl ...  segments of the journal, one record per line; a new one every `SEGMENT_BYTES`
        ack.json          how far the store has acknowledged: {"segment": 2, "offset": 512}
        rejected.jsonl    records that the store will never take, each with the reason
        files/            copies of uploads that may change later (text, figures)
    <work_dir>/spool/<run_id>.lock
                          held by the process that delivers this spool: the live run, or `sync`

A record is `{"metrics": [[key, value, step, timestamp], ...]}`, `{"params": {...}}`, `{"tags": {...}}`, `{"file": ...}`,
`{"dataset": ...}` or `{"status": ...}`. Nothing is fsynced: a line survives the death of the process, not of the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seqsetvae.errors import InputError

SEGMENT_BYTES = 8 << 20
LOCK_SECONDS = 10.0
Record = dict[str, Any]


@dataclass(frozen=True)
class Header:
    """Where the records of a spool belong."""

    tracking_uri: str
    run_id: str
    experiment_id: str


@dataclass(frozen=True, order=True)
class Position:
    """A place in the journal: segment number and byte offset in it."""

    segment: int = 1
    offset: int = 0


def _write_atomically(path: Path, content: object) -> None:
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(content), encoding="utf-8")
    scratch.replace(path)


class Spool:
    """The journal of one run. One process writes it, and whoever holds :meth:`lock` delivers it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "files"
        self.rejected = folder / "rejected.jsonl"
        self._stream: Any = None
        # Any thread may release it, whichever thread of this process took it.
        self._lock = FileLock(folder.with_suffix(".lock"), thread_local=False)

    @classmethod
    def create(cls, work_dir: Path, header: Header) -> Spool:
        """Open and lock the spool of a run for writing; a left-over one of the same run is continued behind what it holds.

        Raises :class:`InputError` when another process goes on using it for `LOCK_SECONDS`.
        """
        spool = cls(work_dir.absolute() / "spool" / header.run_id)
        spool.folder.parent.mkdir(parents=True, exist_ok=True)
        if not spool.lock(LOCK_SECONDS):
            raise InputError(
                f"Run {header.run_id} is being written or delivered by another process. Wait for it, or stop it."
            )
        spool.files.mkdir(parents=True, exist_ok=True)
        _write_atomically(spool.folder / "header.json", asdict(header))
        return spool

    @property
    def header(self) -> Header:
        return Header(**json.loads((self.folder / "header.json").read_text(encoding="utf-8")))

    def lock(self, timeout: float = 0.0) -> bool:
        """Whether this process may write and deliver from now until :meth:`close`; False while another one does."""
        try:
            self._lock.acquire(timeout=timeout)
        except Timeout:
            return False
        return True

    def segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob("[0-9]*.jsonl"))

    def _segment(self, number: int) -> Path:
        return self.folder / f"{number:06d}.jsonl"

    def append(self, records: list[Record]) -> None:
        """Write records as one piece.

        Raises :class:`OSError` (disk full) with the journal as it was, so that the same call can be made again.
        """
        if self._stream is None or self._stream.tell() > SEGMENT_BYTES:
            self._close_stream()
            # Always a fresh segment: the last one may end in a line that a killed process left torn.
            following = max([*self.segments(), self.acknowledged().segment - 1]) + 1
            self._stream = self._segment(following).open("ab", buffering=0)
        start = self._stream.tell()
        payload = memoryview("".join(json.dumps(record) + "\n" for record in records).encode())
        try:
            while payload:
                payload = payload[self._stream.write(payload) :]
        except OSError:
            os.ftruncate(self._stream.fileno(), start)
            raise

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def close(self) -> None:
        """Close the journal and let other processes deliver it."""
        self._close_stream()
        self._lock.release()

    def acknowledged(self) -> Position:
        try:
            return Position(**json.loads((self.folder / "ack.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Position()

    def acknowledge(self, position: Position) -> None:
        """Remember that everything before `position` was delivered or set aside, and drop the segments before it."""
        _write_atomically(self.folder / "ack.json", asdict(position))
        for number in self.segments():
            if number < position.segment:
                self._segment(number).unlink()

    def unsent(self, start: Position | None = None) -> Iterator[tuple[Record, Position]]:
        """Yield each undelivered record with the position behind it. A torn line is passed over."""
        start = start or self.acknowledged()
        for number in self.segments():
            if number < start.segment:
                continue
            offset = start.offset if number == start.segment else 0
            with self._segment(number).open("rb") as stream:
                stream.seek(offset)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    offset += len(line)
                    with contextlib.suppress(ValueError):
                        yield json.loads(line), Position(number, offset)

    def reject(self, record: Record, reason: str) -> None:
        with self.rejected.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"reason": reason, "record": record}) + "\n")

    def n_rejected(self) -> int:
        return len(self.rejected.read_bytes().splitlines()) if self.rejected.exists() else 0

    def keep_file(self, source: Path | str | bytes, name: str) -> Path:
        """Copy a file, or write text or bytes, into the spool under a folder of its own, so that it keeps its name."""
        number = sum(1 for _ in self.files.iterdir())
        while True:
            with contextlib.suppress(FileExistsError):
                (self.files / f"{number:06d}").mkdir()
                break
            number += 1
        target = self.files / f"{number:06d}" / name
        if isinstance(source, Path):
            shutil.copyfile(source, target)
        else:
            target.write_bytes(source.encode() if isinstance(source, str) else source)
        return target

    def drop_file(self, path: Path) -> None:
        """Remove a copy made by :meth:`keep_file`; any other path is left alone."""
        if path.is_relative_to(self.files):
            shutil.rmtree(path.parent, ignore_errors=True)

    def remove(self) -> None:
        """Delete a delivered spool, whose lock this process holds. Rejected records stay for the user to look at."""
        self._close_stream()
        if self.rejected.exists():
            for path in (*self.folder.glob("[0-9]*.jsonl"), self.folder / "ack.json"):
                path.unlink(missing_ok=True)
            shutil.rmtree(self.files, ignore_errors=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        # Whoever waits for the lock notices that its file was replaced, and tries again.
        self.folder.with_suffix(".lock").unlink(missing_ok=True)
        self._lock.release()


def left_over(work_dir: Path | str) -> list[Spool]:
    """All spools under a work folder, oldest first; also those of live runs."""
    folders = Path(work_dir, "spool").absolute().glob("*/header.json")
    return [Spool(header.parent) for header in sorted(folders, key=lambda path: path.stat().st_mtime)]
