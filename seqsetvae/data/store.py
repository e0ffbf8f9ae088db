"""`Store`: a prepared folder, opened in constant time and memory, that hands out batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqsetvae.batch import EventBatch
from seqsetvae.data.packed import Packed, gather, read_packed
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError

FORMAT_VERSION = 2
READABLE = (1, 2)
"""Format 1 has no times of first events, no percentiles, minutes in float32, and a number in every event."""
MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.arrow"
ALL = "all"
"""In place of a split: the subjects of all of them, one split after another."""


@dataclass(frozen=True)
class ShardInfo:
    """What the manifest knows about one shard file."""

    file: str
    split: str
    subjects: int
    sets: int
    events: int
    longest_events: int
    longest_sets: int
    bytes: int
    sha256: str
    longest_minutes: float = 0.0
    """From the first to the last set of a subject, at most. Unknown, and 0, in format 1."""


class Store:
    """A prepared folder. Opening reads the manifest and the vocabulary; shards are mapped when first used.

    A store pickles as its path, so that loader processes open it themselves.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], vocabulary: Vocabulary) -> None:
        self.path = path
        self.manifest = manifest
        self.vocabulary = vocabulary
        self._shards: dict[str, list[ShardInfo]] = {}
        for entry in manifest["shards"]:
            shard = ShardInfo(**entry)
            self._shards.setdefault(shard.split, []).append(shard)
        self._mapped: dict[tuple[str, int], Packed] = {}

    def __repr__(self) -> str:
        patients = ", ".join(f"{self.n_subjects(split)} {split}" for split in self.splits)
        return f"<Store {self.path}: {patients}; {len(self.vocabulary)} variables>"

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a folder that `seqsetvae prepare` wrote. Raises InputError if it is none, incomplete, or of another version."""
        folder = Path(path)
        manifest = read_manifest(folder)
        version = manifest.get("format_version")
        if version not in READABLE:
            newer = isinstance(version, int) and version > FORMAT_VERSION
            remedy = (
                "It was prepared by a newer seqsetvae: update this one." if newer else "Run `seqsetvae prepare` again."
            )
            raise InputError(f"{folder}: store format {version!r}, but this version reads {FORMAT_VERSION}. {remedy}")
        try:
            _ = manifest["content_hash"], manifest["source"], manifest["vocabulary"]["sha256"]
            sizes = {VOCABULARY: manifest["vocabulary"]["bytes"]} | {s["file"]: s["bytes"] for s in manifest["shards"]}
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{folder / MANIFEST}: entry {error} is missing. Run `seqsetvae prepare` again."
            ) from error
        for name, size in sizes.items():
            file = folder / name
            found = file.stat().st_size if file.is_file() else None
            if found != size:
                state = "missing" if found is None else f"{found} bytes long instead of {size}" if found else "empty"
                raise InputError(f"{file}: {state}. Copy the store again, or run `seqsetvae prepare` again.")
        try:
            with pa.ipc.open_file(str(folder / VOCABULARY)) as file:
                table = file.read_all()
            table.validate(full=True)  # Else a flipped bit in an offset is read as text of a negative length.
            return cls(folder, manifest, Vocabulary.from_table(table))
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{folder}: {VOCABULARY} or {MANIFEST} was damaged ({error}). Copy the store again, or run `seqsetvae prepare` again."
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return Store.open, (self.path,)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._shards)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the data came from, and how it was prepared."""
        provenance: dict[str, Any] = self.manifest["source"]
        return provenance

    @property
    def content_hash(self) -> str:
        """Hash over vocabulary and shards: equal for equal data, wherever and whenever it was prepared."""
        return str(self.manifest["content_hash"])

    @property
    def keeps_events_without_number(self) -> bool:
        """Whether a value that is NaN is an event without a number, and not damage."""
        return self.provenance.get("without_number") == "keep"

    def shards(self, split: str) -> list[ShardInfo]:
        """The shard files of a split, or of `ALL`. Raises InputError for a split that the store lacks."""
        if split == ALL:
            return [shard for shards in self._shards.values() for shard in shards]
        if split not in self._shards:
            raise InputError(f"{self.path}: no split {split!r}; the store has {', '.join(self.splits)}.")
        return self._shards[split]

    def n_subjects(self, split: str) -> int:
        return sum(shard.subjects for shard in self.shards(split))

    def n_sets(self, split: str) -> int:
        return sum(shard.sets for shard in self.shards(split))

    def n_events(self, split: str) -> int:
        return sum(shard.events for shard in self.shards(split))

    def longest(self, split: str) -> tuple[int, int]:
        """Most events and most sets of one subject (not necessarily the same one)."""
        shards = self.shards(split)
        return max(shard.longest_events for shard in shards), max(shard.longest_sets for shard in shards)

    def longest_minutes(self) -> float:
        """From the first to the last set of a subject of any split, at most; 0 where it is not known."""
        return max(shard.longest_minutes for split in self.splits for shard in self.shards(split))

    def shard(self, split: str, number: int) -> Packed:
        """The memory-mapped arrays of one shard."""
        if split == ALL:
            return self.shard(*self._places[number])
        if (split, number) not in self._mapped:
            self._mapped[split, number] = read_packed(self.path / self.shards(split)[number].file)
        return self._mapped[split, number]

    def events_per_subject(self, split: str, shard: int) -> NDArray[np.int64]:
        """(subjects of the shard,) events of each."""
        return np.diff(self.shard(split, shard).events_before_B).astype(np.int64)

    def labels(self, split: str) -> NDArray[np.float32]:
        """(n_subjects,) outcomes 0 or 1, NaN where there is none."""
        return np.concatenate([self.shard(split, i).label_B for i in range(len(self.shards(split)))])

    def subject_ids(self, split: str, rows: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """Names of the subjects in some rows of a split (`EventBatch.row_B`)."""
        first = self.first_rows[split]
        shard_of = np.searchsorted(first, rows, side="right") - 1
        return [
            str(self.shard(split, int(i)).subject_id[int(row - first[i])])
            for i, row in zip(shard_of, rows, strict=True)
        ]

    def row_of(self, split: str, subject_id: str) -> int | None:
        """Row of a subject in a split; None where the split has no such subject."""
        for number, first_row in enumerate(self.first_rows.get(split, ())):
            row = np.flatnonzero(np.asarray(self.shard(split, number).subject_id, dtype=object) == subject_id)
            if len(row):
                return int(first_row + row[0])
        return None

    def gather(
        self,
        split: str,
        shard: int,
        rows_in_shard: NDArray[np.int64],
        max_sequence_length: int | None = None,
        grid_columns: int | None = None,
    ) -> EventBatch:
        """The batch of some subjects of one shard; see :func:`seqsetvae.data.packed.gather`."""
        first_row = int(self.first_rows[split][shard])
        packed = self.shard(split, shard)
        return gather(
            packed,
            rows_in_shard,
            self.vocabulary,
            max_sequence_length=max_sequence_length,
            grid_columns=grid_columns,
            first_row=first_row,
        )

    @cached_property
    def first_rows(self) -> dict[str, NDArray[np.int64]]:
        """By split, and for `ALL`: row in the split of the first subject of each shard."""
        return {
            split: np.cumsum([0] + [shard.subjects for shard in self.shards(split)])[:-1]
            for split in (*self._shards, ALL)
        }

    @property
    def _places(self) -> list[tuple[str, int]]:
        """Split and number of each shard of `ALL`."""
        return [(split, number) for split, shards in self._shards.items() for number in range(len(shards))]


class HeldStore(Store):
    """What was made of another store, in memory: subjects by split, with the vocabulary and the provenance of that store."""

    def __init__(self, store: Store, content_hash: str, held: Mapping[str, Packed]) -> None:
        super().__init__(store.path, store.manifest | {"shards": []}, store.vocabulary)
        self._hash = content_hash
        for split, packed in held.items():
            self._shards[split] = [_described(split, packed)]
            self._mapped[split, 0] = packed

    def __reduce__(self) -> tuple[Any, ...]:
        """Not by its path, as other stores: what is held is not in that folder."""
        return _again, (type(self), self.__dict__)

    @property
    def content_hash(self) -> str:
        """Of what is held."""
        return self._hash


def _again(kind: type[HeldStore], state: dict[str, Any]) -> HeldStore:
    store = object.__new__(kind)
    store.__dict__.update(state)
    return store


def _described(split: str, packed: Packed) -> ShardInfo:
    events, sets = np.diff(packed.events_before_B), np.diff(packed.first_set)
    longest = int(events.max()), int(sets.max())
    return ShardInfo("", split, packed.n_subjects, len(packed.minute_S), len(packed.value_N), *longest, 0, "")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a store. Raises InputError if the folder is no store."""
    file = folder / MANIFEST
    if not file.is_file():
        raise InputError(f"{folder}: not a prepared store (no {MANIFEST}). Make one with `seqsetvae prepare`.")
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: not readable ({error}). Run `seqsetvae prepare` again.") from error
    if not isinstance(manifest, dict):
        raise InputError(f"{file}: not the manifest of a store. Run `seqsetvae prepare` again.")
    return manifest


def content_hash(vocabulary_sha256: str, shards: Sequence[ShardInfo]) -> str:
    """Hash over vocabulary and shards."""
    lines = [vocabulary_sha256, *(f"{shard.split} {shard.sha256}" for shard in shards)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
