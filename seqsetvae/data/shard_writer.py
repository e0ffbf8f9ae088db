"""Cuts a stream of packed subjects into shard files of about equal size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from seqsetvae.data.packed import Packed, concatenate, write_packed
from seqsetvae.data.store import ShardInfo


class ShardWriter:
    """Writes `<split>-00000.arrow`, `<split>-00001.arrow`, ... into a folder.

    A shard ends with the subject that brings it to `shard_events` or beyond, so where the cuts fall depends on the subjects alone and
    not on the chunks they come in.
    """

    def __init__(self, folder: Path, split: str, shard_events: int) -> None:
        self.folder = folder
        self.split = split
        self.shard_events = shard_events
        self._waiting: list[Packed] = []
        self._waiting_events = 0
        self._shards: list[ShardInfo] = []

    def add(self, packed: Packed) -> None:
        """Append subjects; writes every shard that is full."""
        self._waiting.append(packed)
        self._waiting_events += len(packed.value_N)
        while self._waiting_events >= self.shard_events:
            joined = concatenate(self._waiting)
            stop = int(np.searchsorted(joined.events_before_B, self.shard_events))
            self._write(joined.rows(0, stop))
            rest = joined.rows(stop, joined.n_subjects)
            self._waiting, self._waiting_events = [rest], len(rest.value_N)

    def close(self) -> list[ShardInfo]:
        """Write what is left; the shards of the split."""
        if self._waiting_events:
            self._write(concatenate(self._waiting))
        return self._shards

    def _write(self, packed: Packed) -> None:
        path = self.folder / f"{self.split}-{len(self._shards):05d}.arrow"
        write_packed(path, packed)
        self._shards.append(describe_shard(path, self.split, packed))


def describe_shard(path: Path, split: str, packed: Packed) -> ShardInfo:
    """The manifest entry of a shard file that has just been written."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return ShardInfo(
        file=path.name,
        split=split,
        subjects=packed.n_subjects,
        sets=len(packed.minute_S),
        events=len(packed.value_N),
        longest_events=int(np.diff(packed.events_before_B).max()),
        longest_sets=int(np.diff(packed.first_set).max()),
        bytes=path.stat().st_size,
        sha256=sha256,
        longest_minutes=float((packed.end_B - packed.minute_S[packed.first_set[:-1]]).max()),
    )
