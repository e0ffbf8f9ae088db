"""One run of `prepare`: splits are checked, arranged and written; variables are settled by the train split; then the manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqsetvae.data.aligned import keep_known
from seqsetvae.data.arrange import arrange
from seqsetvae.data.checked import check, drop_unknown, near_duplicates, strip_names
from seqsetvae.data.far import far_from_train
from seqsetvae.data.overview import FILE, Lengths, stays_with, write_variables
from seqsetvae.data.packed import Packed, read_packed, write_packed
from seqsetvae.data.quarantine import Quarantine
from seqsetvae.data.report import PrepareReport, SplitReport
from seqsetvae.data.report_page import write_page
from seqsetvae.data.shard_writer import ShardWriter, describe_shard
from seqsetvae.data.sources.base import SPLITS, Chunk, Source, WithoutNumber
from seqsetvae.data.statistics import Statistics, Values, statistics
from seqsetvae.data.store import FORMAT_VERSION, MANIFEST, VOCABULARY, ShardInfo, content_hash
from seqsetvae.data.vocabulary import Scaling, Vocabulary, robust_spread, safe_spread
from seqsetvae.errors import InputError
from seqsetvae.progress import ProgressBar


@dataclass(frozen=True)
class Rules:
    """What a user may choose about sets and events."""

    set_window: float
    without_number: WithoutNumber
    min_subjects: int

    def describe(self) -> list[str]:
        """In words, for the report."""
        window = f"one window of {self.set_window:g} minutes" if self.set_window else "exactly one time"
        if self.set_window == 1.0:
            window = "one minute"
        numbers = "are kept as their variable" if self.without_number == "keep" else "are refused"
        found = [
            f"All events of {window} are one set; its minute is that of its last event, from the subject's first event.",
            f"Events without a number {numbers}.",
        ]
        if self.min_subjects > 1:
            found.append(f"Variables in fewer than {self.min_subjects} subjects of the train split are left out.")
        return found


@dataclass
class Preparation:
    """One run of `prepare`, from the empty folder to the manifest."""

    source: Source
    folder: Path
    quarantine: Quarantine
    report: PrepareReport
    rules: Rules
    shard_events: int
    progress: bool
    subjects_with: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Subjects of the train split that have each variable, by its number."""
    number: dict[str, int] = field(default_factory=dict)
    """Number of each variable: in order of appearance while train is read, alphabetical from then on."""
    shards: list[ShardInfo] = field(default_factory=list)

    def write_splits(self) -> None:
        if lack := self.source.empty_split():
            raise InputError(lack)
        train, *others = SPLITS
        self.shards = self._write_split(train, is_train=True)
        self._settle_variables()
        for split in others:
            self.shards += self._write_split(split, is_train=False)

    def _write_split(self, split: str, is_train: bool) -> list[ShardInfo]:
        writer = ShardWriter(self.folder, split, self.shard_events)
        total = self.source.n_subjects(split)
        with ProgressBar(
            total=total or None, desc=f"prepare {split}", unit="subject", disable=not self.progress
        ) as bar:
            for raw in self.source.chunks(split, self.quarantine):
                named, stripped = strip_names(raw)
                self.report.names_stripped += stripped
                chunk = check(named, split, self.quarantine, self.rules.without_number, self.source.columns)
                if is_train:
                    self._number_new(chunk)
                else:
                    chunk = self._leave_out_unknown(chunk, split)
                if chunk.n_subjects:
                    numbers = np.array([self.number.get(name, -1) for name in chunk.variables], dtype=np.int32)
                    packed, repeats = arrange(chunk, numbers, self.rules.set_window)
                    self.report.repeated_measurements += repeats
                    if is_train:
                        self._count_subjects(packed)
                    writer.add(packed)
                bar.update(raw.n_subjects)
        shards = writer.close()
        if not shards and not self.strangers_are_expected:
            raise InputError(
                f"split {split!r} of source {self.source.name!r} has no usable subject. Every split needs at least one."
                + (
                    f" The first was left out because: {self.quarantine.rejected[0].reason}"
                    if self.quarantine.rejected
                    else ""
                )
            )
        return shards

    @property
    def strangers_are_expected(self) -> bool:
        """Whether subjects, and whole splits, may have no known variable, which is no fault then."""
        return False

    def _leave_out_unknown(self, chunk: Chunk, split: str) -> Chunk:
        before, expected = chunk.n_subjects, self.rules.min_subjects > 1 or self.strangers_are_expected
        chunk, unknown = drop_unknown(chunk, self.number.keys(), split, self.quarantine, expected)
        self.report.subjects_without_frequent_variable += (before - chunk.n_subjects) * expected
        for name, count in unknown.items():
            self.report.unknown_variables[name] = self.report.unknown_variables.get(name, 0) + count
        return chunk

    def _number_new(self, chunk: Chunk) -> None:
        used = np.bincount(chunk.variable_N, minlength=len(chunk.variables)) > 0
        present = {name for name, is_used in zip(chunk.variables, used, strict=True) if is_used}
        # Alphabetical within a chunk, so that renumbering is rarely needed: the first chunk usually shows all variables.
        for name in sorted(present - self.number.keys()):
            self.number[name] = len(self.number)

    def _count_subjects(self, packed: Packed) -> None:
        """In how many subjects each variable occurs."""
        self.subjects_with.resize(len(self.number), refcheck=False)
        self.subjects_with += stays_with(packed, len(self.number))

    def _settle_variables(self) -> None:
        """Leave out rare variables, put the others in alphabetical order, and write the train split's shards again where needed."""
        names = list(self.number)
        frequent = [name for name, n in zip(names, self.subjects_with, strict=True) if n >= self.rules.min_subjects]
        if not frequent:
            raise InputError(
                f"--min_subjects is {self.rules.min_subjects}, but no variable of the train split occurs in so many subjects. Lower it."
            )
        self.report.rare_variables = len(names) - len(frequent)
        self.number = {name: i for i, name in enumerate(sorted(frequent))}
        new_number = np.array([self.number.get(name, -1) for name in names], dtype=np.int32)
        before = sum(shard.subjects for shard in self.shards)
        if len(frequent) < len(names) or (np.diff(new_number) < 0).any():
            rewritten = [_renumber(self.folder, shard, new_number) for shard in self.shards]
            self.shards = [shard for shard in rewritten if shard is not None]
        if not self.shards:
            raise InputError("No subject of the train split keeps an event. Lower --min_subjects.")
        self.report.subjects_without_frequent_variable = before - sum(shard.subjects for shard in self.shards)
        self.subjects_with = self.subjects_with[np.argsort(new_number)[len(names) - len(frequent) :]]

    def write_vocabulary(self, scaling: Scaling) -> None:
        def values() -> Iterator[Values]:
            for packed in self._packed(SPLITS[0]):
                yield packed.variable_N, packed.value_N

        names = tuple(self.number)
        of_train = statistics(values, len(names))
        if scaling == "stats":
            center_V, std_V = self.source.published_scaling(names)
            spread_V, warnings = safe_spread(std_V, names)
            self.report.warnings += warnings
        else:
            center_V, spread_V = of_train.median_V, robust_spread(of_train)
        vocabulary = Vocabulary(
            names,
            of_train,
            center_V,
            spread_V,
            self.source.embedding(names),
            of_train.without_number_V > 0 if of_train.without_number_V.any() else None,
            self.rules.set_window,
        )
        self._look_over(vocabulary)
        self.write_overview(of_train, SPLITS[:1])
        table = vocabulary.to_table()
        with pa.ipc.new_file(str(self.folder / VOCABULARY), table.schema) as writer:
            writer.write_table(table)

    def _look_over(self, vocabulary: Vocabulary) -> None:
        """What is worth a look: events without a number, names that are nearly the same, values that are far from train's."""
        of_train = vocabulary.statistics
        share_V = of_train.without_number_V / of_train.events_V
        self.report.without_number = {
            name: float(share) for name, share in zip(vocabulary.names, share_V, strict=True) if share
        }
        self.report.near_duplicates = near_duplicates(vocabulary.names)
        self._look_for_far_values(vocabulary, SPLITS[1:])

    def _look_for_far_values(self, vocabulary: Vocabulary, splits: Sequence[str]) -> None:
        for split in splits:
            found = far_from_train(((one.variable_N, one.value_N) for one in self._packed(split)), vocabulary)
            if found:
                self.report.far_from_train[split] = found

    def _packed(self, split: str) -> Iterator[Packed]:
        """The shards of a split that was written."""
        return (read_packed(self.folder / shard.file) for shard in self.shards if shard.split == split)

    def write_overview(self, of_values: Statistics, splits: Sequence[str]) -> None:
        """Counts and lengths of the stays for the report, and the table of the variables as they are in some splits."""
        for split in SPLITS:
            counts, lengths = SplitReport(), Lengths()
            for packed in self._packed(split):
                counts.add(packed)
                lengths.add(packed)
            counts.quantiles = lengths.quantiles()
            self.report.splits[split] = counts
        stays = sum(self.report.splits[split].subjects for split in splits)
        write_variables(self.folder / FILE, tuple(self.number), of_values, self.subjects_with, stays)

    def write_manifest(self, scaling: Scaling) -> None:
        self.quarantine.write(self.folder)
        self.report.finish(self.source.counts(), self.quarantine, len(self.number))
        write_page(self.folder, self.report)
        vocabulary = (self.folder / VOCABULARY).read_bytes()
        vocabulary_sha256 = hashlib.sha256(vocabulary).hexdigest()
        manifest = {
            "format_version": FORMAT_VERSION,
            "content_hash": content_hash(vocabulary_sha256, self.shards),
            "source": self.source.describe() | self.report.origin | {"scaling": scaling} | asdict(self.rules),
            "report": self.report.to_dict(),
            "vocabulary": {"file": VOCABULARY, "bytes": len(vocabulary), "sha256": vocabulary_sha256},
            "shards": [asdict(shard) for shard in self.shards],
        }
        (self.folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def _renumber(folder: Path, shard: ShardInfo, new_number: NDArray[np.int32]) -> ShardInfo | None:
    """Write a shard again with final variable numbers, without events of number -1; None where nothing is left of it.

    Within a set the events are in alphabetical order already.
    """
    path, new_path = folder / shard.file, folder / "renumbered"
    packed = read_packed(path)
    packed = keep_known(packed, new_number)
    if not packed.n_subjects:
        path.unlink()
        return None
    write_packed(new_path, packed)
    new_path.replace(path)
    return describe_shard(path, shard.split, packed)
