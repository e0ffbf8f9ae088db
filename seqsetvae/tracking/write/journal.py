"""A journal in a folder: records in order, one a line, and how far the store has acknowledged them.

    000001.jsonl ...  segments, one record per line; a new one every `SEGMENT_BYTES`
    ack.json          how far the store has acknowledged: {"segment": 2, "offset": 512}

Nothing is fsynced: a line survives the death of the process, not of the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seqsetvae.atomic import atomic_write

SEGMENT_BYTES = 8 << 20
Record = dict[str, Any]


@dataclass(frozen=True, order=True)
class Position:
    """A place in a journal: segment number and byte offset in it."""

    segment: int = 1
    offset: int = 0


class Journal:
    """One process writes it, and whoever holds the lock of its spool delivers it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writing: Path | None = None

    def segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob("[0-9]*.jsonl"))

    def _segment(self, number: int) -> Path:
        return self.folder / f"{number:06d}.jsonl"

    def append(self, records: list[Record]) -> None:
        """Write records as one piece.

        Raises:
            OSError: the disk is full. The journal is as it was, so that the same call can be made again.
        """
        if not records:
            return
        if self._writing is None or self._writing.stat().st_size > SEGMENT_BYTES:
            # Always a fresh segment: the last one may end in a line that a killed process left torn.
            following = max([*self.segments(), self.acknowledged().segment - 1]) + 1
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writing = self._segment(following)
        try:
            append_whole(self._writing, "".join(json.dumps(record) + "\n" for record in records).encode())
        except OSError:
            if self._writing.exists() and not _ends_well(self._writing):
                self._writing = None  # the torn line stays where it is, and nothing is ever written behind it
            raise

    def close(self) -> None:
        """Whatever is appended later goes to a fresh segment."""
        self._writing = None

    def acknowledged(self) -> Position:
        try:
            return Position(**json.loads((self.folder / "ack.json").read_text(encoding="utf-8")))
        except (
            FileNotFoundError,
            ValueError,
        ):  # none, or what a full disk has left of it: all is delivered again, which is harmless
            return Position()

    def acknowledge(self, position: Position) -> None:
        """Remember that everything before `position` was delivered or set aside, and drop the segments before it."""
        write_json(self.folder / "ack.json", asdict(position))
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

    def n_unsent(self) -> int:
        return sum(1 for _ in self.unsent())

    def clear(self) -> None:
        """Forget everything. Later records begin anew."""
        self.close()
        for path in (*self.folder.glob("[0-9]*.jsonl"), self.folder / "ack.json"):
            path.unlink(missing_ok=True)


def append_whole(path: Path, payload: bytes) -> None:
    """Append to a file, all or nothing.

    Raises:
        OSError: the disk is full; the file has the length that it had before.
    """
    # Where the file ends is asked of the file: the position of a stream has moved even when a write has failed.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        start = os.fstat(descriptor).st_size
        left = memoryview(payload)
        try:
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError:
            os.ftruncate(descriptor, start)
            raise
    finally:
        os.close(descriptor)


def write_json(path: Path, content: object) -> None:
    """Replace a small file at once: a reader sees the old content or the new."""
    with atomic_write(path) as file:
        file.write(json.dumps(content).encode())


def _ends_well(path: Path) -> bool:
    """Whether the last line of a file is a whole one."""
    with path.open("rb") as stream:
        if not stream.seek(0, os.SEEK_END):
            return True
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
