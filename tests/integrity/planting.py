"""Damage that is known: a measurement that no model can take, in a store whose manifest fits it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from seqsetvae.data.packed import read_packed, write_packed
from seqsetvae.data.shard_writer import describe_shard
from seqsetvae.data.store import MANIFEST, Store


def plant(
    path: Path, split: str, row: int, *, value: float | None = None, minute: float | None = None
) -> tuple[str, str]:
    """Put a value into the first event of a subject, or a time to its last set; returns the subject's id and the event's variable."""
    store = Store.open(path)
    [shard] = store.shards(split)
    packed = read_packed(path / shard.file)
    event = int(packed.first_event[packed.first_set[row]])
    value_N, minute_S = packed.value_N.copy(), packed.minute_S.copy()
    if value is not None:
        value_N[event] = value
    if minute is not None:
        minute_S[int(packed.first_set[row + 1]) - 1] = minute
    changed = replace(packed, value_N=value_N, minute_S=minute_S, subject_id=np.array(packed.subject_id, dtype=object))
    write_packed(path / "changed", changed)
    (path / "changed").replace(path / shard.file)
    manifest = json.loads((path / MANIFEST).read_text())
    described = asdict(describe_shard(path / shard.file, split, changed))
    manifest["shards"] = [described if one["file"] == shard.file else one for one in manifest["shards"]]
    content = [manifest["vocabulary"]["sha256"], *(f"{one['split']} {one['sha256']}" for one in manifest["shards"])]
    manifest["content_hash"] = hashlib.sha256("\n".join(content).encode()).hexdigest()
    (path / MANIFEST).write_text(json.dumps(manifest))
    return str(packed.subject_id[row]), store.vocabulary.names[int(packed.variable_N[event])]
