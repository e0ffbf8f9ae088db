"""TensorBoard's event files, record by record, with every checksum looked at.

TensorBoard's own loaders pass over a broken place in silence, and its accumulator keeps 10,000 points of a curve; neither is wanted of
an import, so its record reader is used directly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "tfevents"
"""What the name of every event file has in it."""
FRAME = 16
"""Bytes around each record: its length and two checksums."""


@dataclass
class BrokenFileError(Exception):
    """An event file that cannot be read to its end."""

    path: Path
    reason: str
    position: int
    """Bytes up to which it is sound."""
    events: int
    """Records before that place."""

    def __str__(self) -> str:
        size = self.path.stat().st_size if self.path.is_file() else 0
        return f"{self.reason} at byte {self.position:,} of {size:,}, after {self.events:,} readable events"


def find_event_files(log_dir: Path) -> dict[Path, list[Path]]:
    """Every folder at or below `log_dir` that holds event files, with these in the order in which they were begun."""
    folders: dict[Path, list[Path]] = {}
    for path in sorted(log_dir.rglob(f"*{MARK}*"), key=begun_in_order):
        if path.is_file():
            folders.setdefault(path.parent, []).append(path)
    return folders


def begun_in_order(path: Path) -> list[str | int]:
    """Sorts files by what their names say: second, host, process, and how many the process had begun before.

    >>> names = [f"events.out.tfevents.1700000000.host.7.{number}" for number in (10, 9)]
    >>> [path.name[-2:] for path in sorted(map(Path, names), key=begun_in_order)]
    ['.9', '10']
    """
    # Text and numbers alternate, beginning with a text, so that like is compared with like.
    return [int(part) if number % 2 else part for number, part in enumerate(re.split(r"(\d+)", str(path)))]


def read_events(path: Path, see: Callable[[bytes], None]) -> Iterator[Any]:
    """The events of a file (TensorBoard's `Event` messages), oldest first.

    Args:
        path: the file.
        see: is shown the bytes of each record.

    Raises:
        BrokenFileError: after the last readable event, where the file is cut off, damaged or no event file.
    """
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.tensorflow_stub.errors import DataLossError, OutOfRangeError
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    position = events = 0
    try:
        reader = PyRecordReader_New(str(path))
        while True:
            reader.GetNext()
            record = reader.record()
            event = Event.FromString(record)
            position, events = position + len(record) + FRAME, events + 1
            see(record)
            yield event
    except OutOfRangeError:
        return
    except DataLossError as error:
        reason = "cut off" if "truncated" in str(error) else "damaged" if events else "no event file: wrong checksum"
        raise BrokenFileError(path, reason, position, events) from error
    except DecodeError as error:
        raise BrokenFileError(path, "no TensorBoard event", position, events) from error
    except OSError as error:
        raise BrokenFileError(path, f"not readable ({error.strerror})", position, events) from error
