"""From a source to a store: check, arrange, fit the vocabulary on the train split, write shards."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from seqsetvae.data.arrange import arrange, check, drop_unknown
from seqsetvae.data.packed import read_packed, write_packed
from seqsetvae.data.quarantine import OnError, Quarantine
from seqsetvae.data.report import PrepareReport, SplitReport
from seqsetvae.data.shard_writer import ShardWriter, describe_shard
from seqsetvae.data.sources.base import SPLITS, Chunk, Source
from seqsetvae.data.staging import staged_store
from seqsetvae.data.statistics import Values, statistics
from seqsetvae.data.store import FORMAT_VERSION, MANIFEST, VOCABULARY, ShardInfo
from seqsetvae.data.vocabulary import Vocabulary, robust_spread, safe_spread
from seqsetvae.errors import InputError

SHARD_EVENTS = 4_000_000


def prepare(
    source: Source,
    output: Path,
    *,
    on_error: OnError = "stop",
    scaling: Literal["robust", "stats"] = "robust",
    shard_events: int = SHARD_EVENTS,
    progress: bool = True,
) -> PrepareReport:
    """Read a source and write it as a store; an earlier store at `output` is replaced when all went well.

    Args:
        source: Raw data.
        output: Folder of the new store.
        on_error: `stop` at the first subject that cannot be used, or `quarantine`: leave such subjects out and list them with
            their reasons in quarantine.csv.
        scaling: Center and spread of each variable: `robust` takes median and interquartile range of the train split, `stats`
            mean and std of the source's stats.csv.
        shard_events: Events per shard file, about.
        progress: Show a progress bar.
    """
    if shard_events < 1:
        raise InputError(f"--shard_events is {shard_events}, but must be at least 1.")
    quarantine = Quarantine(on_error)
    report = PrepareReport(source=source.name, output=str(output))
    with staged_store(Path(output)) as folder:
        names = _Names()
        shards = _write_split(source, SPLITS[0], folder, names, quarantine, report, shard_events, progress)
        order = names.fix()
        shards = [_renumber(folder, shard, order) for shard in shards]
        vocabulary = _fit(source, folder, shards, tuple(names.number), scaling, report)
        for split in SPLITS[1:]:
            shards += _write_split(source, split, folder, names, quarantine, report, shard_events, progress)
        with pa.ipc.new_file(str(folder / VOCABULARY), vocabulary.to_table().schema) as writer:
            writer.write_table(vocabulary.to_table())
        if quarantine.rejected:
            quarantine.write(folder / "quarantine.csv")
        report.finish(source.counts(), quarantine, len(vocabulary))
        _write_manifest(folder, source, scaling, shards, vocabulary, report)
    return report


class _Names:
    """Numbers the variables in the order of their appearance, and in alphabetical order once the train split is through."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}
        self.fixed = False

    def of(self, chunk: Chunk) -> NDArray[np.int32]:
        """(len(chunk.variables),) number of each variable, -1 for those without an event."""
        used = np.bincount(chunk.variable_N, minlength=len(chunk.variables)) > 0
        present = [name for name, is_used in zip(chunk.variables, used, strict=True) if is_used]
        # Alphabetical within a chunk, so that renumbering is rarely needed: the first chunk usually shows all variables.
        for name in sorted(set(present) - self.number.keys()):
            self.number[name] = len(self.number)
        return np.array([self.number.get(name, -1) for name in chunk.variables], dtype=np.int32)

    def fix(self) -> NDArray[np.int32]:
        """Renumber alphabetically; the new number of each old one."""
        old = self.number
        self.number = {name: i for i, name in enumerate(sorted(old))}
        self.fixed = True
        return np.array([self.number[name] for name in old], dtype=np.int32)


def _write_split(
    source: Source,
    split: str,
    folder: Path,
    names: _Names,
    quarantine: Quarantine,
    report: PrepareReport,
    shard_events: int,
    progress: bool,
) -> list[ShardInfo]:
    counts = report.splits[split] = SplitReport()
    with tqdm(total=source.n_subjects(split), desc=f"prepare {split}", unit="subject", disable=not progress) as bar:
        writer = ShardWriter(folder, split, shard_events)
        for raw in source.chunks(split, quarantine):
            chunk = check(raw, split, quarantine)
            if names.fixed:
                chunk, unknown = drop_unknown(chunk, set(names.number), split, quarantine)
                report.unknown_variables += Counter(unknown)
            if chunk.n_subjects:
                packed, repeats = arrange(chunk, names.of(chunk))
                report.repeated_measurements += repeats
                counts.add(packed)
                writer.add(packed)
            bar.update(raw.n_subjects)
        shards = writer.close()
    if not shards:
        raise InputError(
            f"split {split!r} of source {source.name!r} has no usable subject. Every split needs at least one."
        )
    return shards


def _renumber(folder: Path, shard: ShardInfo, order: NDArray[np.int32]) -> ShardInfo:
    """Write a train shard again with final variable numbers. Within a set the events are in alphabetical order already."""
    if (order == np.arange(len(order))).all():
        return shard
    path, new_path = folder / shard.file, folder / "renumbered"
    packed = read_packed(path)
    packed = replace(packed, variable_N=order[packed.variable_N])
    write_packed(new_path, packed)
    new_path.replace(path)
    return describe_shard(path, shard.split, packed)


def _fit(
    source: Source, folder: Path, shards: list[ShardInfo], names: tuple[str, ...], scaling: str, report: PrepareReport
) -> Vocabulary:
    def values() -> Iterator[Values]:
        for shard in shards:
            packed = read_packed(folder / shard.file)
            yield packed.variable_N, packed.value_N

    of_train = statistics(values, len(names))
    if scaling == "stats":
        center_V, std_V = source.published_scaling(names)
        spread_V, warnings = safe_spread(std_V, names)
        report.warnings += warnings
    else:
        center_V, spread_V = of_train.median_V, robust_spread(of_train)
    return Vocabulary(names, of_train, center_V, spread_V, source.embedding(names))


def _write_manifest(
    folder: Path, source: Source, scaling: str, shards: list[ShardInfo], vocabulary: Vocabulary, report: PrepareReport
) -> None:
    vocabulary_file = folder / VOCABULARY
    vocabulary_sha256 = hashlib.sha256(vocabulary_file.read_bytes()).hexdigest()
    content = [vocabulary_sha256, *(f"{shard.split} {shard.sha256}" for shard in shards)]
    manifest = {
        "format_version": FORMAT_VERSION,
        "content_hash": hashlib.sha256("\n".join(content).encode()).hexdigest(),
        "source": source.describe() | {"scaling": scaling},
        "report": report.to_dict(),
        "vocabulary": {
            "file": VOCABULARY,
            "bytes": vocabulary_file.stat().st_size,
            "sha256": vocabulary_sha256,
            "variables": len(vocabulary),
            "fingerprint": vocabulary.fingerprint,
        },
        "shards": [asdict(shard) for shard in shards],
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
