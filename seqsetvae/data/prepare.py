"""From a source to a store: check, arrange, fit the vocabulary on the train split, write shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqsetvae.data.arrange import arrange, check, drop_unknown
from seqsetvae.data.packed import read_packed, write_packed
from seqsetvae.data.quarantine import OnError, Quarantine
from seqsetvae.data.report import PrepareReport, SplitReport
from seqsetvae.data.shard_writer import ShardWriter, describe_shard
from seqsetvae.data.sources.base import SPLITS, Chunk, Source
from seqsetvae.data.staging import staged_store
from seqsetvae.data.statistics import Values, statistics
from seqsetvae.data.store import FORMAT_VERSION, MANIFEST, VOCABULARY, ShardInfo, content_hash
from seqsetvae.data.vocabulary import Vocabulary, robust_spread, safe_spread
from seqsetvae.errors import InputError
from seqsetvae.progress import Progress

Scaling = Literal["robust", "stats"]
SHARD_EVENTS = 4_000_000


def prepare(
    source: Source,
    output: Path,
    *,
    on_error: OnError = "stop",
    scaling: Scaling = "robust",
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

    Raises InputError naming file, row or column; nothing is written then.
    """
    if shard_events < 1:
        raise InputError(f"--shard_events is {shard_events}, but must be at least 1.")
    if scaling not in ("robust", "stats"):
        raise InputError(f"--scaling is {scaling!r}, but must be 'robust' or 'stats'.")
    report = PrepareReport(source=source.name, output=str(output))
    with staged_store(Path(output)) as folder:
        run = _Preparation(source, folder, Quarantine(on_error), report, shard_events, progress)
        run.write_splits()
        run.write_vocabulary(scaling)
        run.write_manifest(scaling)
    return report


@dataclass
class _Preparation:
    """One run of `prepare`, from the empty folder to the manifest."""

    source: Source
    folder: Path
    quarantine: Quarantine
    report: PrepareReport
    shard_events: int
    progress: bool
    number: dict[str, int] = field(default_factory=dict)
    """Number of each variable: in order of appearance while train is read, alphabetical from then on."""
    shards: list[ShardInfo] = field(default_factory=list)

    def write_splits(self) -> None:
        train, *others = SPLITS
        self.shards = self._write_split(train, is_train=True)
        old, self.number = self.number, {name: i for i, name in enumerate(sorted(self.number))}
        new_number = np.array([self.number[name] for name in old], dtype=np.int32)
        if (np.diff(new_number) < 0).any():
            self.shards = [_renumber(self.folder, shard, new_number) for shard in self.shards]
        for split in others:
            self.shards += self._write_split(split, is_train=False)

    def _write_split(self, split: str, is_train: bool) -> list[ShardInfo]:
        counts = self.report.splits[split] = SplitReport()
        writer = ShardWriter(self.folder, split, self.shard_events)
        total = self.source.n_subjects(split)
        with Progress(total=total, desc=f"prepare {split}", unit="subject", disable=not self.progress) as bar:
            for raw in self.source.chunks(split, self.quarantine):
                chunk = check(raw, split, self.quarantine)
                if is_train:
                    self._number_new(chunk)
                else:
                    chunk, unknown = drop_unknown(chunk, self.number.keys(), split, self.quarantine)
                    for name, count in unknown.items():
                        self.report.unknown_variables[name] = self.report.unknown_variables.get(name, 0) + count
                if chunk.n_subjects:
                    numbers = np.array([self.number.get(name, -1) for name in chunk.variables], dtype=np.int32)
                    packed, repeats = arrange(chunk, numbers)
                    self.report.repeated_measurements += repeats
                    counts.add(packed)
                    writer.add(packed)
                bar.update(raw.n_subjects)
        shards = writer.close()
        if not shards:
            raise InputError(
                f"split {split!r} of source {self.source.name!r} has no usable subject. Every split needs at least one."
            )
        return shards

    def _number_new(self, chunk: Chunk) -> None:
        used = np.bincount(chunk.variable_N, minlength=len(chunk.variables)) > 0
        present = {name for name, is_used in zip(chunk.variables, used, strict=True) if is_used}
        # Alphabetical within a chunk, so that renumbering is rarely needed: the first chunk usually shows all variables.
        for name in sorted(present - self.number.keys()):
            self.number[name] = len(self.number)

    def write_vocabulary(self, scaling: Scaling) -> None:
        def values() -> Iterator[Values]:
            for shard in self.shards:
                if shard.split == SPLITS[0]:
                    packed = read_packed(self.folder / shard.file)
                    yield packed.variable_N, packed.value_N

        names = tuple(self.number)
        of_train = statistics(values, len(names))
        if scaling == "stats":
            center_V, std_V = self.source.published_scaling(names)
            spread_V, warnings = safe_spread(std_V, names)
            self.report.warnings += warnings
        else:
            center_V, spread_V = of_train.median_V, robust_spread(of_train)
        table = Vocabulary(names, of_train, center_V, spread_V, self.source.embedding(names)).to_table()
        with pa.ipc.new_file(str(self.folder / VOCABULARY), table.schema) as writer:
            writer.write_table(table)

    def write_manifest(self, scaling: Scaling) -> None:
        if self.quarantine.rejected:
            self.quarantine.write(self.folder / "quarantine.csv")
        self.report.finish(self.source.counts(), self.quarantine, len(self.number))
        vocabulary = (self.folder / VOCABULARY).read_bytes()
        vocabulary_sha256 = hashlib.sha256(vocabulary).hexdigest()
        manifest = {
            "format_version": FORMAT_VERSION,
            "content_hash": content_hash(vocabulary_sha256, self.shards),
            "source": self.source.describe() | {"scaling": scaling},
            "report": self.report.to_dict(),
            "vocabulary": {"file": VOCABULARY, "bytes": len(vocabulary), "sha256": vocabulary_sha256},
            "shards": [asdict(shard) for shard in self.shards],
        }
        (self.folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def _renumber(folder: Path, shard: ShardInfo, new_number: NDArray[np.int32]) -> ShardInfo:
    """Write a shard again with final variable numbers. Within a set the events are in alphabetical order already."""
    path, new_path = folder / shard.file, folder / "renumbered"
    packed = read_packed(path)
    packed = replace(packed, variable_N=new_number[packed.variable_N])
    write_packed(new_path, packed)
    new_path.replace(path)
    return describe_shard(path, shard.split, packed)
