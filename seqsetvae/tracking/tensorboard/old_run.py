"""`OldRun`: a folder of event files, read as one run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsetvae.tracking.tensorboard.event_files import FRAME, BrokenFileError, read_events
from seqsetvae.tracking.tensorboard.hparams import HPARAMS_FILE, plugin_settings, read_yaml

POINT = np.dtype([("step", "i8"), ("time", "i8"), ("value", "f8")])
"""Step, milliseconds since the epoch, value."""
TEXT_SUFFIX = "/text_summary"
"""What PyTorch's writer puts behind the tag of a text."""


@dataclass(frozen=True)
class Picture:
    """An image of the event files."""

    tag: str
    step: int
    time: int
    """Milliseconds since the epoch."""
    content: bytes


@dataclass(frozen=True)
class OldRun:
    """Everything that is imported of one folder."""

    folder: Path
    name: str
    """The folder relative to the one that was asked for; its own name where it is that one."""
    scalars: Mapping[str, NDArray[Any]]
    """Points (dtype `POINT`) by tag, in the order in which they were written."""
    params: Mapping[str, Any]
    texts: Mapping[str, Sequence[tuple[int, str]]]
    """(step, text) by tag."""
    pictures: Sequence[Picture]
    start_time: int
    """Milliseconds since the epoch, of the first event."""
    end_time: int
    failed: bool
    """Whether the hparams plugin says so; nothing else in an event file tells how a training ended."""
    left_out: Mapping[str, int]
    """What was read but has no place here, such as histograms, and how often."""
    identity: str
    """Hash of the first record; "" where there is none."""
    content: str
    """Hash of all records, in order, and of hparams.yaml."""
    broken: tuple[BrokenFileError, ...]
    """Files that could not be read to their end; what stands before that place is here."""

    @property
    def points(self) -> int:
        return sum(map(len, self.scalars.values()))


def read_old_run(folder: Path, files: Sequence[Path], name: str, advance: Callable[[int], object]) -> OldRun:
    """Read the event files of a folder, and its hparams.yaml.

    Args:
        folder: where they lie.
        files: the event files, in the order in which they were begun.
        name: what the folder is called.
        advance: is told the number of bytes as they are read.

    Raises:
        InputError: hparams.yaml is no YAML of settings. (Broken event files are not raised, but listed.)
    """
    hparams = read_yaml(folder / HPARAMS_FILE)
    reading = _Reading()
    broken = []
    for path in files:

        def see(record: bytes) -> None:
            reading.see(record)
            advance(len(record) + FRAME)

        try:
            for event in read_events(path, see):
                reading.add(event)
        except BrokenFileError as error:
            broken.append(error)
    if hparams:
        reading.hash.update((folder / HPARAMS_FILE).read_bytes())
    return OldRun(
        folder=folder,
        name=name,
        scalars={tag: np.frombuffer(points, POINT) for tag, points in reading.scalars.items()},
        params={**reading.params, **hparams},
        texts=reading.texts,
        pictures=reading.pictures,
        start_time=_milliseconds(reading.first),
        end_time=_milliseconds(reading.last),
        failed=reading.failed,
        left_out=dict(sorted(reading.left_out.items())),
        identity=reading.identity,
        content=reading.hash.hexdigest()[:32],
        broken=tuple(broken),
    )


class _Reading:
    """What has been read of a folder so far."""

    def __init__(self) -> None:
        self.scalars: dict[str, bytearray] = {}
        """Packed as `POINT`: a point takes 24 bytes, as Python objects it would take six times that."""
        self.params: dict[str, Any] = {}
        self.texts: dict[str, list[tuple[int, str]]] = {}
        self.pictures: list[Picture] = []
        self.left_out: Counter[str] = Counter()
        self.plugins: dict[str, str] = {}
        """Kind of each tag; a writer may say it with the first value only."""
        self.first, self.last = np.inf, -np.inf
        self.failed = False
        self.identity = ""
        self.hash = hashlib.sha256()

    def see(self, record: bytes) -> None:
        self.identity = self.identity or hashlib.sha256(record).hexdigest()[:32]
        self.hash.update(record)

    def add(self, event: Any) -> None:
        from google.protobuf.message import DecodeError

        self.first, self.last = min(self.first, event.wall_time), max(self.last, event.wall_time)
        if event.WhichOneof("what") == "graph_def":
            self.left_out["graph"] += 1
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                self._add_scalar(value.tag, event, value.simple_value)
                continue
            try:
                self._add_other(value, event)
            except (DecodeError, TypeError, ValueError):
                self.left_out["unknown value"] += 1

    def _add_scalar(self, tag: str, event: Any, value: float) -> None:
        point = pack("=qqd", event.step, _milliseconds(event.wall_time), value)
        self.scalars.setdefault(tag, bytearray()).extend(point)

    def _add_other(self, value: Any, event: Any) -> None:
        from tensorboard.data_compat import migrate_value
        from tensorboard.util.tensor_util import make_ndarray

        # Of histograms it would make tensors, which nothing here takes.
        value = value if value.WhichOneof("value") == "histo" else migrate_value(value)
        kind = value.metadata.plugin_data.plugin_name or self.plugins.get(
            value.tag, value.WhichOneof("value") or "value"
        )
        self.plugins[value.tag] = kind
        if kind == "hparams":
            settings, failed = plugin_settings(value.metadata.plugin_data.content)
            self.params |= settings
            self.failed |= failed
        elif kind == "scalars":
            self._add_scalar(value.tag, event, float(make_ndarray(value.tensor).item()))
        elif kind == "text":
            text = "\n\n".join(part.decode("utf-8", "replace") for part in make_ndarray(value.tensor).ravel())
            self.texts.setdefault(value.tag.removesuffix(TEXT_SUFFIX), []).append((event.step, text))
        elif kind == "images":
            # Width and height come first.
            time = _milliseconds(event.wall_time)
            self.pictures += (Picture(value.tag, event.step, time, one) for one in value.tensor.string_val[2:])
        else:
            self.left_out["histogram" if kind in ("histo", "histograms") else kind] += 1


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000) if np.isfinite(seconds) else 0
