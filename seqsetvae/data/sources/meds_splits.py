"""Which subject of a MEDS data set is in which split: by folders, by metadata/subject_splits.parquet, or divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from seqsetvae.data.sources.base import SPLIT_SHARES, SPLITS, stratified_split
from seqsetvae.data.sources.columns import first_line, read_parquet
from seqsetvae.data.sources.meds_rows import COLUMNS, ROWS_AT_A_TIME, Rows
from seqsetvae.errors import InputError

MEDS_SPLITS = dict(zip(SPLITS, ("train", "tuning", "held_out"), strict=True))
"""Our names of the splits, and those of MEDS."""
FOLDER_SPLITS = {meds: ours for ours, meds in MEDS_SPLITS.items()}


@dataclass(frozen=True)
class MedsSplits:
    """The division of a data set."""

    root: Path
    files: Sequence[Path]
    """Of the events, somewhere in `root`/data."""
    seed: int
    """Of the division of a data set that has none."""

    @property
    def table(self) -> Path:
        """Where a data set may say it."""
        return self.root / "metadata" / "subject_splits.parquet"

    @property
    def published(self) -> bool:
        """Whether the data set has splits."""
        return self.table.exists() or any(map(self.of_file, self.files))

    def rule(self) -> str:
        """What `prepare` has decided, in words; empty where the data set has splits."""
        shares = "/".join(f"{100 * share:.0f}" for share in SPLIT_SHARES)
        words = f"The data set has no splits: its subjects are divided {shares} by --seed {self.seed}."
        return "" if self.published else words

    def folder_of(self, path: Path) -> str:
        """Of data/, the folder that a file lies in; empty: in none."""
        first, *below = path.relative_to(self.root / "data").parts
        return first if below else ""

    def of_file(self, path: Path) -> str | None:
        """The split that a file's folder is named after, if any."""
        return FOLDER_SPLITS.get(self.folder_of(path))

    def size(self, split: str) -> int:
        """Subjects in a split."""
        return int((self._division[1] == SPLITS.index(split)).sum())

    def lack(self) -> str:
        """Which split has no subject, and what would mend that; empty: none."""
        lacking = [MEDS_SPLITS[split] for split in SPLITS if not self.size(split)]
        if not lacking:
            return ""
        folders = sorted({self.folder_of(path) for path in self.files} - {""})
        held = f"the folders of data/ are {', '.join(folders[:8])}" if folders else "data/ has no folders"
        return (
            f"{self.root}: no subject is in split {lacking[0]!r}: {held}. Name them {', '.join(MEDS_SPLITS.values())}, or give each "
            "subject one of these in metadata/subject_splits.parquet."
        )

    def number_of(self, rows: Rows) -> NDArray[np.int64]:
        """Number of the split of each row's subject, -1 for none. Raises InputError where folder and table contradict each other."""
        subjects, split_of = self._division
        place_N = np.searchsorted(subjects, rows.subject_N).clip(max=len(subjects) - 1)
        split_N = np.where(subjects[place_N] == rows.subject_N, split_of[place_N], -1)
        if (folder := self.of_file(rows.path)) is not None:
            for wrong in np.flatnonzero((split_N >= 0) & (split_N != SPLITS.index(folder)))[:1]:
                raise InputError(
                    f"{rows.path}: subject {rows.subject_N[wrong]} lies in the folder of split {MEDS_SPLITS[folder]!r}, but "
                    f"{self.table.name} puts it in {MEDS_SPLITS[SPLITS[int(split_N[wrong])]]!r}. Correct one of the two."
                )
        return split_N

    @cached_property
    def _division(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Subjects, ascending, and the number of the split of each; -1: in none that is used."""
        if self.table.exists():
            subjects, split = self._of_table()
        elif self.published:
            found = [(subjects_of(path), self.of_file(path)) for path in self.files]
            subjects = np.concatenate([ids for ids, _ in found])
            split = np.concatenate([np.full(len(ids), SPLITS.index(name) if name else -1) for ids, name in found])
        else:
            subjects = np.unique(np.concatenate([subjects_of(path) for path in self.files]))
            split = stratified_split(np.full(len(subjects), np.nan, dtype=np.float32), self.seed)
        order = np.argsort(subjects, kind="stable")
        subjects, split = subjects[order], split[order]
        repeated = np.flatnonzero((subjects[1:] == subjects[:-1]) & (split[1:] != split[:-1]))
        if len(repeated):
            raise InputError(f"{self.root}: subject {subjects[repeated[0]]} is in two splits. Leave it in one.")
        if not len(subjects):
            raise InputError(f"{self.root}: no subject is in a split.")
        return subjects, split

    def _of_table(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        table = read_parquet(self.table)
        missing = {"subject_id", "split"} - set(table.column_names)
        if missing:
            raise InputError(f"{self.table}, column {min(missing)!r}: missing. MEDS needs subject_id and split.")
        # MEDS permits any other name: subjects of such splits are left out.
        number = {name: SPLITS.index(split) for name, split in FOLDER_SPLITS.items()}
        try:
            subjects = table["subject_id"].cast(pa.int64()).to_numpy()
        except (pa.ArrowException, ValueError) as error:
            raise InputError(f"{self.table}, column 'subject_id': not whole numbers ({error}).") from error
        return subjects, np.array([number.get(name, -1) for name in table["split"].to_pylist()], dtype=np.int64)


def subjects_of(path: Path) -> NDArray[np.int64]:
    """The subjects of a file, each once."""
    try:
        with pq.ParquetFile(path) as file:
            if COLUMNS[0] not in file.schema_arrow.names:
                raise InputError(f"{path}, column {COLUMNS[0]!r}: missing. MEDS files have {', '.join(COLUMNS)}.")
            pieces = file.iter_batches(ROWS_AT_A_TIME, columns=[COLUMNS[0]])
            known = [piece.column(0).cast(pa.int64()).drop_null() for piece in pieces]
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: subjects cannot be read ({first_line(error)}). Write it again.") from error
    return np.unique(np.concatenate([one.to_numpy() for one in known])) if known else np.zeros(0, dtype=np.int64)
