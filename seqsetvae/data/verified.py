"""Whether the files of a store are still those that were prepared: each byte is read once, after that sizes and times are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from seqsetvae.atomic import atomic_write
from seqsetvae.data.cache import cache_folder
from seqsetvae.data.packed import Packed
from seqsetvae.data.store import MANIFEST, VOCABULARY, ShardInfo, Store, content_hash
from seqsetvae.errors import InputError

ADVICE = "Copy the store again, or run `seqsetvae prepare` again."


def verify(store: Store, *, again: bool = False) -> None:
    """Hold vocabulary and shards against the hashes of the manifest, and the manifest against itself.

    What was verified is remembered in the user's cache by the files' sizes and times, so that only the first opening reads everything
    (about a second for a gigabyte); without a cache that can be written every opening does.

    Args:
        store: an opened store.
        again: read everything, whatever is remembered.

    Raises:
        InputError: a file was damaged or changed, or holds what no model can take; it is named, and for an event its row and variable.
    """
    if not again and _notes().get(str(store.path.resolve())) == _seen(store):
        return
    for name, expected in _hashes(store).items():
        with (store.path / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise InputError(
                f"{store.path / name} was damaged or changed after it was prepared: its hash differs. {ADVICE}"
            )
    shards = [shard for split in store.splits for shard in store.shards(split)]
    if content_hash(str(store.manifest["vocabulary"]["sha256"]), shards) != store.content_hash:
        raise InputError(f"{store.path / MANIFEST} was damaged or changed: its hashes contradict each other. {ADVICE}")
    for split in store.splits:
        for number, shard in enumerate(store.shards(split)):
            _check_shard(store, shard, store.shard(split, number), int(store.first_rows[split][number]))
    remember(store)


def remember(store: Store) -> None:
    """From now on the store, as its files are, counts as verified."""
    with suppress(OSError):  # a full disk, or no home that can be written: the next opening reads all again
        kept = {place: seen for place, seen in _notes().items() if Path(place).is_dir()}
        notes_file().parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(notes_file()) as file:
            file.write(json.dumps(kept | {str(store.path.resolve()): _seen(store)}).encode())


def notes_file() -> Path:
    """Where it is remembered: outside the stores, which may be read-only. Raises OSError where there is no such place."""
    return cache_folder() / "verified.json"


def _notes() -> dict[str, Any]:
    """Sizes and times of the files of each store, by its path."""
    try:
        found = json.loads(notes_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _check_shard(store: Store, shard: ShardInfo, packed: Packed, first_row: int) -> None:
    counted = {
        "subjects": packed.n_subjects,
        "sets": len(packed.minute_S),
        "events": len(packed.value_N),
        "longest_events": int(np.diff(packed.events_before_B).max()),
        "longest_sets": int(np.diff(packed.first_set).max()),
    }
    for key, count in counted.items():
        if (said := asdict(shard)[key]) != count:
            raise InputError(
                f"{store.path / MANIFEST} was damaged or changed: it gives {shard.file} {said} {key}, but there are {count}. {ADVICE}"
            )
    for row, what in _unusable(packed, store):
        raise InputError(
            f"{store.path / shard.file}: row {first_row + row} of split {shard.split!r} (rows count from 0) has {what}, which no model can "
            "take. Correct that patient or leave it out, and prepare the store again."
        )


def _unusable(packed: Packed, store: Store) -> Iterator[tuple[int, str]]:
    """Subjects with a time or a value that is not finite as a model sees it, and what it is."""
    for one in np.flatnonzero(~np.isfinite(packed.minute_S)):
        yield int(np.searchsorted(packed.first_set, one, side="right")) - 1, "a time that is NaN or inf"
    scaled_N = store.vocabulary.scale(packed.variable_N.astype(np.int64), packed.value_N)
    bad_N = np.isinf(scaled_N) if store.keeps_events_without_number else ~np.isfinite(scaled_N)
    for event in np.flatnonzero(bad_N):
        name = store.vocabulary.names[int(packed.variable_N[event])]
        yield (
            int(np.searchsorted(packed.events_before_B, event, side="right")) - 1,
            f"a value of {name!r} that is NaN or too large",
        )


def _hashes(store: Store) -> dict[str, str]:
    shards = {shard.file: shard.sha256 for split in store.splits for shard in store.shards(split)}
    return {VOCABULARY: str(store.manifest["vocabulary"]["sha256"]), **shards}


def _seen(store: Store) -> dict[str, list[int]]:
    """Size and time of each file."""
    stats = {name: (store.path / name).stat() for name in (MANIFEST, *_hashes(store))}
    return {name: [one.st_size, one.st_mtime_ns] for name, one in stats.items()}
