"""MEDS data sets: `data/**/*.parquet` with subject_id, time, code, numeric_value, text_value, streamed file by file.

Read by pyarrow, which is there already and hands out a Parquet file piece by piece; a second engine would bring its weight and no more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from seqsetvae.data.quarantine import Quarantine
from seqsetvae.data.sources.base import SPLIT_SHARES, SPLITS, Chunk, Source, WithoutNumber, stratified_split
from seqsetvae.data.sources.columns import first_line, read_parquet
from seqsetvae.data.sources.meds_rows import COLUMNS, Rows, read_rows
from seqsetvae.data.sources.meds_stays import admissions, to_chunk
from seqsetvae.errors import InputError

ROWS_AT_A_TIME = 500_000
"""Of a file, and of a chunk about: what bounds the memory."""


@dataclass(frozen=True)
class Meds(Source):
    """A data set of the Medical Event Data Standard (https://medical-event-data-standard.github.io).

    An event is its code, or `code//text` where it has a short text and no number. Events without a time (static ones) belong to the
    first set. The folders data/train, data/tuning and data/held_out, or metadata/subject_splits.parquet, divide the subjects into train,
    valid and test; without either they are divided 64/16/20.
    """

    name: ClassVar[str] = "meds"
    without_number: ClassVar[WithoutNumber] = "keep"
    min_subjects: ClassVar[int] = 10
    rules: ClassVar[tuple[str, ...]] = (
        "Events without a time belong to the first set of their stay.",
        "A text of more than 60 characters is no category: the event is its code alone.",
    )

    columns: ClassVar[tuple[str, str, str]] = (COLUMNS[1], COLUMNS[2], COLUMNS[3])

    input: Path
    """Folder that holds data/ and metadata/."""
    stay: Literal["subject", "admission"] = "subject"
    """What a subject of the store is: a whole subject, or each of its admissions, called SUBJECT/1, SUBJECT/2, ... An admission begins
    with a code of --admission_code and ends with the first one of --discharge_code, or before the next admission."""
    admission_code: str = "HOSPITAL_ADMISSION"
    """How the codes begin that start an admission."""
    discharge_code: str = "HOSPITAL_DISCHARGE"
    """How the codes begin that end one."""
    parent_codes: bool = False
    """Replace each code by the first of its parents in metadata/codes.parquet, where it has one."""
    seed: int = 0
    """Seed of the division where the data set has none."""
    _counts: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.stay not in ("subject", "admission"):
            raise InputError(f"--stay is {self.stay!r}, but must be 'subject' or 'admission'.")

    def describe(self) -> dict[str, object]:
        about: dict[str, object] = {"source": self.name, "input": str(self.input), "stay": self.stay, "seed": self.seed}
        about |= {"parent_codes": self.parent_codes, "dataset": self._dataset}
        codes = {"admission_code": self.admission_code, "discharge_code": self.discharge_code}
        return about | (codes if self.stay == "admission" else {})

    def counts(self) -> dict[str, int]:
        return {rule: rows for rule, rows in self._counts.items() if rows}

    def stated_rules(self) -> Sequence[str]:
        if self._is_divided:
            return self.rules
        shares = "/".join(f"{share:.0%}".rstrip("%") for share in SPLIT_SHARES)
        return [*self.rules, f"The data set has no splits: its subjects are divided {shares} by --seed {self.seed}."]

    def empty_split(self) -> str:
        lacking = [MEDS_SPLITS[split] for split in SPLITS if not self._subjects_in(split)]
        if not lacking:
            return ""
        folders = sorted({self._folder(path) for path in self._files} - {""})
        held = f"the folders of data/ are {', '.join(folders[:8])}" if folders else "data/ has no folders"
        return (
            f"{self.input}: no subject is in split {lacking[0]!r}: {held}. Name them {', '.join(MEDS_SPLITS.values())}, or give each "
            "subject one of these in metadata/subject_splits.parquet."
        )

    def n_subjects(self, split: str) -> int:
        """Subjects of the data set; 0, for not known, where a stay is an admission."""
        return self._subjects_in(split) if self.stay == "subject" else 0

    def _subjects_in(self, split: str) -> int:
        return int((self._division.split == SPLITS.index(split)).sum())

    def chunks(self, split: str, quarantine: Quarantine) -> Iterator[Chunk]:
        seen: set[int] = set()
        for path in self._files:
            folder = self._folder_split(path)
            if folder in (None, split):
                for whole in self._whole_subjects(path, seen):
                    rows = self._of_split(whole, split, folder is not None)
                    if self.stay == "admission":
                        rows = admissions(rows, self.admission_code, self.discharge_code, self._counts)
                    if len(rows):
                        yield to_chunk(rows)

    def _whole_subjects(self, path: Path, seen: set[int]) -> Iterator[Rows]:
        """The rows of a file, piece by piece, each subject in one piece. Raises InputError where a subject's rows lie apart."""
        waiting: list[Rows] = []
        for piece in read_rows(path, ROWS_AT_A_TIME, self._parents):
            waiting.append(piece)
            if piece.subject_N[0] != piece.subject_N[-1]:
                whole, rest = Rows.join(waiting).split_last()
                _note_subjects(whole, seen)
                yield whole
                waiting = [rest]
        if waiting:
            whole = Rows.join(waiting)
            _note_subjects(whole, seen)
            yield whole

    def _of_split(self, rows: Rows, split: str, by_folder: bool) -> Rows:
        """Rows of the subjects of a split; those of a subject that is in none are counted."""
        subjects, split_of = self._division.subjects, self._division.split
        place_N = np.searchsorted(subjects, rows.subject_N).clip(max=len(subjects) - 1)
        known_N = subjects[place_N] == rows.subject_N
        split_N = np.where(known_N, split_of[place_N], -1)
        wrong = np.flatnonzero((split_N >= 0) & (split_N != SPLITS.index(split)) & by_folder)
        if len(wrong):
            subject = int(rows.subject_N[wrong[0]])
            raise InputError(
                f"{rows.path}: subject {subject} lies in the folder of split {MEDS_SPLITS[split]!r}, but {self._splits_file.name} puts it "
                f"in {MEDS_SPLITS[SPLITS[int(split_N[wrong[0]])]]!r}. Correct one of the two."
            )
        if split == SPLITS[0] or by_folder:  # Each file is read for one split, or for all of them: counted once.
            rule = "events_of_subjects_in_none_of_these_splits"
            self._counts[rule] = self._counts.get(rule, 0) + int((split_N < 0).sum())
        return rows.take(split_N == SPLITS.index(split))

    @cached_property
    def _files(self) -> list[Path]:
        folder = Path(self.input) / "data"
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder. --input is the folder of a MEDS data set, with data/ and metadata/."
            )
        entries = sorted(path for path in folder.rglob("*") if not path.is_dir())
        files = [path for path in entries if path.suffix.lower() == ".parquet" and path.name[0] not in "._"]
        self._counts["files_that_are_not_data"] = len(entries) - len(files)
        if not files:
            raise InputError(f"{folder}: no .parquet file.")
        return files

    def _folder(self, path: Path) -> str:
        """Of data/, the folder that a file lies in; empty: in none."""
        first, *below = path.relative_to(Path(self.input) / "data").parts
        return first if below else ""

    def _folder_split(self, path: Path) -> str | None:
        """The split that a file's folder is named after, if any."""
        return FOLDER_SPLITS.get(self._folder(path))

    @property
    def _splits_file(self) -> Path:
        return Path(self.input) / "metadata" / "subject_splits.parquet"

    @property
    def _is_divided(self) -> bool:
        """Whether the data set has splits."""
        return self._splits_file.exists() or any(self._folder_split(path) for path in self._files)

    @cached_property
    def _division(self) -> Division:
        if self._splits_file.exists():
            subjects, split = self._published_splits()
        elif not self._is_divided:
            subjects = np.unique(np.concatenate([_subjects(path) for path in self._files]))
            split = stratified_split(np.full(len(subjects), np.nan, dtype=np.float32), self.seed)
        else:
            found = [(_subjects(path), self._folder_split(path)) for path in self._files]
            subjects = np.concatenate([ids for ids, _ in found])
            split = np.concatenate([np.full(len(ids), SPLITS.index(name) if name else -1) for ids, name in found])
        order = np.argsort(subjects, kind="stable")
        subjects, split = subjects[order], split[order]
        repeated = np.flatnonzero((subjects[1:] == subjects[:-1]) & (split[1:] != split[:-1]))
        if len(repeated):
            raise InputError(f"{self.input}: subject {subjects[repeated[0]]} is in two splits. Leave it in one.")
        if not len(subjects):
            raise InputError(f"{self.input}: no subject is in a split.")
        return Division(subjects, split)

    def _published_splits(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        table = read_parquet(self._splits_file)
        missing = {"subject_id", "split"} - set(table.column_names)
        if missing:
            raise InputError(f"{self._splits_file}, column {min(missing)!r}: missing. MEDS needs subject_id and split.")
        # MEDS permits any other name: subjects of such splits are left out.
        number = [
            SPLITS.index(FOLDER_SPLITS[name]) if name in FOLDER_SPLITS else -1 for name in table["split"].to_pylist()
        ]
        try:
            subjects = table["subject_id"].cast(pa.int64()).to_numpy()
        except (pa.ArrowException, ValueError) as error:
            raise InputError(f"{self._splits_file}, column 'subject_id': not whole numbers ({error}).") from error
        return subjects, np.array(number, dtype=np.int64)

    @cached_property
    def _parents(self) -> dict[str, str]:
        """Code -> its first parent."""
        if not self.parent_codes:
            return {}
        path = Path(self.input) / "metadata" / "codes.parquet"
        if not path.exists():
            raise InputError(f"{path}: no such file, but --parent_codes needs it.")
        table = read_parquet(path)
        for name in ("code", "parent_codes"):
            if name not in table.column_names:
                raise InputError(f"{path}, column {name!r}: missing, but --parent_codes needs it.")
        try:
            lists = table["parent_codes"].cast(pa.list_(pa.string()))
            rows = zip(table["code"].cast(pa.string()).to_pylist(), lists.to_pylist(), strict=True)
            return {code: parents[0] for code, parents in rows if code and parents and parents[0]}
        except (pa.ArrowException, ValueError) as error:
            raise InputError(
                f"{path}: code must hold texts, and parent_codes lists of them ({first_line(error)})."
            ) from error

    @cached_property
    def _dataset(self) -> dict[str, Any]:
        """What metadata/dataset.json says of the data set's name and version."""
        try:
            about = json.loads((Path(self.input) / "metadata" / "dataset.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        wanted = ("dataset_name", "dataset_version", "etl_name", "etl_version", "meds_version")
        return {key: str(about[key]) for key in wanted if key in about} if isinstance(about, dict) else {}


class Division(NamedTuple):
    """Which subject is in which split."""

    subjects: NDArray[np.int64]
    """Ascending."""
    split: NDArray[np.int64]
    """Number of the split of each; -1: in none that is used."""


MEDS_SPLITS = dict(zip(SPLITS, ("train", "tuning", "held_out"), strict=True))
"""Our names of the splits, and those of MEDS."""
FOLDER_SPLITS = {meds: ours for ours, meds in MEDS_SPLITS.items()}


def _subjects(path: Path) -> NDArray[np.int64]:
    """The subjects of a file, each once."""
    try:
        with pq.ParquetFile(path) as file:
            if COLUMNS[0] not in file.schema_arrow.names:
                raise InputError(f"{path}, column {COLUMNS[0]!r}: missing. MEDS files have {', '.join(COLUMNS)}.")
            pieces = file.iter_batches(ROWS_AT_A_TIME, columns=[COLUMNS[0]])
            found = [np.unique(piece.column(0).cast(pa.int64()).to_numpy(zero_copy_only=False)) for piece in pieces]
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: subjects cannot be read ({str(error).splitlines()[0]}). Write it again.") from error
    return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def _note_subjects(rows: Rows, seen: set[int]) -> None:
    subjects = rows.subject_N[np.flatnonzero(np.diff(rows.subject_N, prepend=rows.subject_N[0] - 1))].tolist()
    again = len(set(subjects)) < len(subjects) or not seen.isdisjoint(subjects)
    if again:
        counted = [s for i, s in enumerate(subjects) if s in seen or s in subjects[:i]]
        raise InputError(
            f"{rows.path}: the rows of subject {counted[0]} do not lie together. In MEDS they are in one file, one after another."
        )
    seen.update(subjects)
