"""MEDS data sets: `data/**/*.parquet` with subject_id, time, code, numeric_value, text_value, streamed file by file.

Read by pyarrow, which is there already and hands out a Parquet file piece by piece; a second engine would bring its weight and no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from seqsetvae.data.quarantine import Quarantine
from seqsetvae.data.sources.base import SPLITS, Chunk, Source, WithoutNumber
from seqsetvae.data.sources.columns import first_line, read_parquet
from seqsetvae.data.sources.meds_rows import COLUMNS, Rows, read_rows
from seqsetvae.data.sources.meds_splits import MedsSplits
from seqsetvae.data.sources.meds_stays import admissions, to_chunk
from seqsetvae.errors import InputError


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
        return [*self.rules, *filter(None, [self._splits.rule()])]

    def empty_split(self) -> str:
        return self._splits.lack()

    def n_subjects(self, split: str) -> int:
        """Subjects of the data set; 0, for not known, where a stay is an admission."""
        return self._splits.size(split) if self.stay == "subject" else 0

    def chunks(self, split: str, quarantine: Quarantine) -> Iterator[Chunk]:
        seen: set[int] = set()
        for path in self._files:
            if self._splits.of_file(path) in (None, split):
                for whole in self._whole_subjects(path, seen, self._without_subject(path, split, quarantine)):
                    rows = self._of_split(whole, split)
                    if self.stay == "admission":
                        rows = admissions(rows, self.admission_code, self.discharge_code, self._counts)
                    if len(rows):
                        yield to_chunk(rows)

    def _without_subject(self, path: Path, split: str, quarantine: Quarantine) -> Callable[[InputError], None]:
        """What becomes of a row without a subject: it belongs to nobody, and is left out wherever reading goes on."""

        def left_out(error: InputError) -> None:
            if not self._is_counted(path, split):
                return
            if quarantine.drops_rows or quarantine.on_error == "stop":
                quarantine.reject_row(split, "", "subject is missing", error)
            else:
                quarantine.reject(split, "", error)

        return left_out

    def _is_counted(self, path: Path, split: str) -> bool:
        """A file is read for the split of its folder, or else for all of them: counted once."""
        return split == SPLITS[0] or self._splits.of_file(path) is not None

    def _whole_subjects(self, path: Path, seen: set[int], nobodys: Callable[[InputError], None]) -> Iterator[Rows]:
        """The rows of a file, piece by piece, each subject in one piece. Raises InputError where a subject's rows lie apart."""
        waiting: list[Rows] = []
        for piece in read_rows(path, self._parents, nobodys):
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

    def _of_split(self, rows: Rows, split: str) -> Rows:
        """Rows of the subjects of a split; those of a subject that is in none are counted."""
        split_N = self._splits.number_of(rows)
        if self._is_counted(rows.path, split):
            rule = "events_of_subjects_in_none_of_these_splits"
            self._counts[rule] = self._counts.get(rule, 0) + int((split_N < 0).sum())
        return rows.take(split_N == SPLITS.index(split))

    @cached_property
    def _splits(self) -> MedsSplits:
        return MedsSplits(Path(self.input), self._files, self.seed)

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


def _note_subjects(rows: Rows, seen: set[int]) -> None:
    subjects = rows.subject_N[np.flatnonzero(np.diff(rows.subject_N, prepend=rows.subject_N[0] - 1))].tolist()
    again = len(set(subjects)) < len(subjects) or not seen.isdisjoint(subjects)
    if again:
        counted = [s for i, s in enumerate(subjects) if s in seen or s in subjects[:i]]
        raise InputError(
            f"{rows.path}: the rows of subject {counted[0]} do not lie together. In MEDS they are in one file, one after another."
        )
    seen.update(subjects)
