"""The interface of all raw data: whole subjects, many at a time, as plain columns."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.quarantine import Quarantine
from seqsetvae.errors import InputError

SPLITS = ("train", "valid", "test")
"""In this order a source is read: the vocabulary is fitted on `train` before anything else is looked at."""

SPLIT_SHARES = (0.64, 0.16, 0.20)
"""Train, valid, test where the raw data has no split of its own."""

Embedding = NDArray[np.float32]
WithoutNumber = Literal["refuse", "keep"]
"""What becomes of an event that carries no number."""


@dataclass(frozen=True)
class Chunk:
    """Raw events of B whole subjects of one split, subject after subject, otherwise unordered and unchecked."""

    subject_ids: Sequence[str]
    """B names."""
    files: Sequence[str]
    """B paths: where each subject was read, for error messages."""
    label_B: NDArray[np.float32]
    """Outcome 0 or 1, NaN where the subject has none."""
    variables: Sequence[str]
    """The names that `variable_N` points into."""
    subject_N: NDArray[np.int64]
    """Ascending, 0..B-1. A subject without events does not occur."""
    minute_N: NDArray[np.float64]
    """Minutes since the subject's `start_B`."""
    variable_N: NDArray[np.int64]
    """Index into `variables`."""
    value_N: NDArray[np.float64]
    """As recorded, in the unit of the source; NaN where there is no number."""
    row_N: NDArray[np.int64]
    """1-based data row in the subject's file, for error messages."""
    start_B: NDArray[np.int64] | None = None
    """Microseconds since 1970 that minute 0 of each subject stands for. None: the source knows no dates, and minute 0 is whatever it
    counts from."""
    texts: Mapping[int, str] = field(default_factory=dict)
    """By index into `variables`: the text that stands in place of a number in the events of that variable, whose name ends in it."""

    @property
    def n_subjects(self) -> int:
        return len(self.subject_ids)

    def select(self, keep_B: NDArray[np.bool_]) -> Chunk:
        """The chunk without the subjects (and their events) where `keep_B` is False."""
        if keep_B.all():
            return self
        rows = np.flatnonzero(keep_B).tolist()
        new_index_B = np.cumsum(keep_B) - 1
        kept = self.select_events(keep_B[self.subject_N])
        return replace(
            kept,
            subject_ids=[self.subject_ids[row] for row in rows],
            files=[self.files[row] for row in rows],
            label_B=self.label_B[keep_B],
            subject_N=new_index_B[kept.subject_N],
            start_B=None if self.start_B is None else self.start_B[keep_B],
        )

    def select_events(self, keep_N: NDArray[np.bool_]) -> Chunk:
        """The chunk without the events where `keep_N` is False; all subjects stay, also those without any event left."""
        if keep_N.all():
            return self
        columns: dict[str, Any] = {
            name: getattr(self, name)[keep_N] for name in ("subject_N", "minute_N", "variable_N", "value_N", "row_N")
        }
        return replace(self, **columns)


@dataclass(frozen=True)
class LabelMatch:
    """How many rows of a table of outcomes belong to a subject, and how many subjects have none."""

    file: str
    rows: int
    without_subject: int
    """Rows whose id is that of no subject."""
    example: str = ""
    """Id of the first such row, as it is written."""

    def __str__(self) -> str:
        text = f"{self.file}: {self.rows:,} rows"
        return text + (
            f", {self.without_subject:,} of no subject, e.g. {self.example!r}" if self.without_subject else ""
        )


class Source(ABC):
    """Raw data of one kind. Construction is cheap; files are listed on first use and read chunk by chunk."""

    name: ClassVar[str]
    rules: ClassVar[tuple[str, ...]] = ()
    """What the source does with rows by what is known of its data, for the report."""
    columns: ClassVar[tuple[str, str, str]] = ("minute", "variable", "value")
    """What it calls time, variable and value, for error messages."""
    without_number: ClassVar[WithoutNumber] = "refuse"
    """What becomes of events without a number unless `prepare` is told."""
    min_subjects: ClassVar[int] = 1
    """Subjects of the train split that a variable must occur in, unless `prepare` is told."""

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Provenance for the manifest: what was read, from where, with which rules. JSON types only."""

    def empty_split(self) -> str:
        """Which split has no data and what would mend it, where that can be told beforehand.

        It is empty where none lacks any. Only an external cohort may have one.
        """
        return ""

    @abstractmethod
    def n_subjects(self, split: str) -> int:
        """Subjects on offer in a split, before any is rejected."""

    @abstractmethod
    def chunks(self, split: str, quarantine: Quarantine) -> Iterator[Chunk]:
        """Stream a split in bounded memory. Subjects that cannot be read go to `quarantine`."""

    def stated_rules(self) -> Sequence[str]:
        """The rules, and what of them depends on the data."""
        return self.rules

    def counts(self) -> dict[str, int]:
        """Rows left out so far by the source's own rules, by rule."""
        return {}

    def label_match(self) -> LabelMatch | None:
        """How the table of outcomes and the subjects found each other; None where there is no such table."""
        return None

    def write_tasks(self, folder: Path) -> None:  # noqa: B027 - most sources have nothing to write
        """Write outcomes beside that of the store into its folder, as a table for `--labels`, where the raw data have such."""

    def embedding(self, names: Sequence[str]) -> Embedding | None:
        """Frozen variable embeddings (V, E) in the order of `names`, or None where the source brings none."""
        return None

    def published_scaling(self, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Center and spread (V,), (V,) that came with the data, for `--scaling stats`. Raises InputError if none came."""
        raise InputError(
            f"--scaling stats needs a stats.csv, and the source {self.name!r} brings none. Use --scaling robust."
        )


SCIENTIFIC = re.compile(r"([1-9])(?:\.([0-9]*))?[eE]\+?([0-9]{1,3})", re.ASCII)


def normalise_id(text: object) -> str:
    """One spelling for ids that passed through a float column somewhere: `200001.0` and `2.00001e+05` are 200001.

    Leading zeros are part of an id. Scientific notation is read only where it writes all digits: 1.23457e+06 could be any of ten ids.

    >>> normalise_id("200001.0"), normalise_id(200001), normalise_id(" stay-7 "), normalise_id("00001.0")
    ('200001', '200001', 'stay-7', '00001')
    >>> normalise_id("2.00001e+05"), normalise_id("1.23457e+06")
    ('200001', '1.23457e+06')
    """
    name = str(text).strip()
    head, dot, tail = name.rpartition(".")
    if dot and head.isascii() and head.isdigit() and tail.strip("0") == "":
        return head
    if found := SCIENTIFIC.fullmatch(name):
        first, digits, exponent = found[1], found[2] or "", int(found[3])
        if len(digits) >= exponent and digits[exponent:].strip("0") == "":
            return first + digits[:exponent]
    return name


def stratified_split(
    label_B: NDArray[np.float32], seed: int, shares: Sequence[float] = SPLIT_SHARES
) -> NDArray[np.int64]:
    """Number of the split (0, 1, 2, ...) of each subject, every outcome divided by the same shares.

    Each class (0, 1 and NaN) is permuted on its own and cut at the cumulated shares.

    >>> split_B = stratified_split(np.array([0] * 100 + [1] * 50, np.float32), seed=0)
    >>> [(int((split_B[:100] == s).sum()), int((split_B[100:] == s).sum())) for s in range(3)]
    [(64, 32), (16, 8), (20, 10)]
    """
    rng = np.random.default_rng(seed)
    split_B = np.empty(len(label_B), dtype=np.int64)
    for members in (np.flatnonzero(label_B == 0), np.flatnonzero(label_B == 1), np.flatnonzero(np.isnan(label_B))):
        edges = np.round(np.cumsum(shares)[:-1] * len(members)).astype(int)
        for split, rows in enumerate(np.split(rng.permutation(members), edges)):
            split_B[rows] = split
    return split_B


def refuse_repeats(subjects: Iterable[tuple[str, str]]) -> None:
    """Raise InputError if a subject comes twice. Takes (subject_id, file) of every subject.

    >>> refuse_repeats([("7", "train/7.parquet"), ("7", "test/7.0.parquet")])
    Traceback (most recent call last):
    seqsetvae.errors.InputError: test/7.0.parquet: subject '7' is also in train/7.parquet. Remove one of the two.
    """
    seen: dict[str, str] = {}
    for subject_id, file in subjects:
        if seen.setdefault(subject_id, file) != file:
            raise InputError(f"{file}: subject {subject_id!r} is also in {seen[subject_id]}. Remove one of the two.")
