"""The interface of all raw data: whole subjects, many at a time, as plain columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.quarantine import Quarantine
from seqsetvae.errors import InputError

SPLITS = ("train", "valid", "test")
"""In this order a source is read: the vocabulary is fitted on `train` before anything else is looked at."""

SPLIT_SHARES = (0.64, 0.16, 0.20)
"""Train, valid, test where the raw data has no split of its own."""

Embedding = NDArray[np.float32]


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
    """Minutes since the start of the stay."""
    variable_N: NDArray[np.int64]
    """Index into `variables`."""
    value_N: NDArray[np.float64]
    """As recorded, in the unit of the source."""
    row_N: NDArray[np.int64]
    """1-based data row in the subject's file, for error messages."""

    @property
    def n_subjects(self) -> int:
        return len(self.subject_ids)

    def select(self, keep_B: NDArray[np.bool_]) -> Chunk:
        """The chunk without the subjects (and their events) where `keep_B` is False."""
        if keep_B.all():
            return self
        rows = np.flatnonzero(keep_B).tolist()
        new_index_B = np.cumsum(keep_B) - 1
        keep_N = keep_B[self.subject_N]
        return Chunk(
            subject_ids=[self.subject_ids[row] for row in rows],
            files=[self.files[row] for row in rows],
            label_B=self.label_B[keep_B],
            variables=self.variables,
            subject_N=new_index_B[self.subject_N[keep_N]],
            minute_N=self.minute_N[keep_N],
            variable_N=self.variable_N[keep_N],
            value_N=self.value_N[keep_N],
            row_N=self.row_N[keep_N],
        )


class Source(ABC):
    """Raw data of one kind. Construction is cheap; files are listed on first use and read chunk by chunk."""

    name: ClassVar[str]

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Provenance for the manifest: what was read, from where, with which rules. JSON types only."""

    @abstractmethod
    def n_subjects(self, split: str) -> int:
        """Subjects on offer in a split, before any is rejected."""

    @abstractmethod
    def chunks(self, split: str, quarantine: Quarantine) -> Iterator[Chunk]:
        """Stream a split in bounded memory. Subjects that cannot be read go to `quarantine`."""

    def counts(self) -> dict[str, int]:
        """Rows left out so far by the source's own rules, by rule."""
        return {}

    def embedding(self, names: Sequence[str]) -> Embedding | None:
        """Frozen variable embeddings (V, E) in the order of `names`, or None where the source brings none."""
        return None

    def published_scaling(self, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Center and spread (V,), (V,) that came with the data, for `--scaling stats`. Raises InputError if none came."""
        raise InputError(
            f"--scaling stats needs a stats.csv, and the source {self.name!r} brings none. Use --scaling robust."
        )


def normalise_id(text: object) -> str:
    """One spelling for ids that passed through a float column somewhere.

    >>> normalise_id("200001.0"), normalise_id(200001), normalise_id(" stay-7 ")
    ('200001', '200001', 'stay-7')
    """
    name = str(text).strip()
    head, dot, tail = name.rpartition(".")
    return head if dot and head.isdigit() and tail.strip("0") == "" else name


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
