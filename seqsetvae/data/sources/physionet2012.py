"""The raw text of the PhysioNet/Computing in Cardiology Challenge 2012: `set-a/132539.txt`, `Outcomes-a.txt`, ..."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from seqsetvae.data.quarantine import Quarantine
from seqsetvae.data.sources.base import (
    SPLIT_SHARES,
    SPLITS,
    Chunk,
    LabelMatch,
    Source,
    refuse_repeats,
    stratified_split,
)
from seqsetvae.data.sources.labels import Labels, read_labels
from seqsetvae.data.sources.physionet2012_tasks import write_tasks
from seqsetvae.data.tables import FORMATS, as_number, find_table, read_table
from seqsetvae.errors import InputError

HEADER = b"Time,Parameter,Value"
DESCRIPTORS = ("Age", "Gender", "Height", "ICUType", "Weight")
"""Recorded once at 00:00; -1 stands for "not known" there and only there."""
FILES_PER_CHUNK = 500
NO_ROW = b"00:00,,0"


@dataclass(frozen=True)
class PhysioNet2012(Source):
    """Stays of the challenge's sets a, b and c, as far as they lie in one folder.

    Rules: the RecordID row is dropped (it must agree with the name of the file); -1 of a descriptor (Age, Gender, Height, ICUType,
    Weight) means "not known" and is dropped; a row without a Parameter is dropped (set c has 2,403 in 1,594 files); every other value
    is kept as recorded, however wild. The stays are divided 64/16/20 into train, valid and test, stratified by In-hospital_death. Length of
    stay and time to death are written beside the store, as `tasks.csv`.
    """

    name: ClassVar[str] = "physionet2012"
    rules: ClassVar[tuple[str, ...]] = (
        "-1 of a descriptor (Age, Gender, Height, ICUType, Weight) means not known: the row is left out.",
        "A row without a Parameter is left out: the published set c has such rows.",
    )

    input: Path
    """Folder that holds set-a/ and Outcomes-a.txt (and set-b, set-c)."""
    seed: int = 0
    """Seed of the split into train, valid and test."""
    _counts: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def describe(self) -> dict[str, object]:
        return {
            "source": self.name,
            "input": str(self.input),
            "sets": [path.name for path in self._sets],
            "seed": self.seed,
            "split_shares": list(SPLIT_SHARES),
        }

    def counts(self) -> dict[str, int]:
        return {rule: rows for rule, rows in self._counts.items() if rows}

    def n_subjects(self, split: str) -> int:
        return len(self._files[split])

    def chunks(self, split: str, quarantine: Quarantine) -> Iterator[Chunk]:
        files, labels = self._files[split], self._labels
        for start in range(0, len(files), FILES_PER_CHUNK):
            stays = _StayFiles(split, quarantine)
            for path in files[start : start + FILES_PER_CHUNK]:
                with quarantine.guard(split, path.stem):
                    stays.add(path, labels.of(path.stem))
            yield self._chunk(stays, split, quarantine)

    @cached_property
    def _sets(self) -> list[Path]:
        sets = sorted(path for path in Path(self.input).glob("set-*") if path.is_dir())
        if not sets:
            raise InputError(
                f"{self.input}: no folder set-a, set-b or set-c. Give the folder that holds them and Outcomes-*.txt."
            )
        return sets

    @cached_property
    def _labels(self) -> Labels:
        labels = Labels()
        for path in self._outcomes:
            labels.update(read_labels(path, "RecordID", "In-hospital_death"))
        return labels

    @property
    def _outcomes(self) -> Iterator[Path]:
        for folder in self._sets:
            stem = f"Outcomes-{folder.name.removeprefix('set-')}"
            yield find_table([Path(self.input)], stem, (".txt", *FORMATS)) or Path(self.input) / f"{stem}.txt"

    def write_tasks(self, folder: Path) -> None:
        write_tasks(folder, [read_table(path) for path in self._outcomes])

    def label_match(self) -> LabelMatch | None:
        return self._labels.match({path.stem for split in SPLITS for path in self._files[split]})

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        entries = [path for folder in self._sets for path in folder.iterdir()]
        files = [path for path in entries if path.suffix == ".txt" and path.name[0] != "."]
        self._counts["files_that_are_not_data"] = len(entries) - len(files)
        files.sort(key=lambda path: path.stem)
        refuse_repeats((path.stem, str(path)) for path in files)
        label_B = np.array([self._labels.values.get(path.stem, np.nan) for path in files], dtype=np.float32)
        split_B = stratified_split(label_B, self.seed)
        return {name: [files[row] for row in np.flatnonzero(split_B == i)] for i, name in enumerate(SPLITS)}

    def _chunk(self, stays: _StayFiles, split: str, quarantine: Quarantine) -> Chunk:
        table = stays.parse()
        parameter = table["Parameter"].combine_chunks().dictionary_encode()
        names: list[str] = parameter.dictionary.to_pylist()
        variable_N = parameter.indices.to_numpy().astype(np.int64)
        subject_N = np.repeat(np.arange(len(stays.paths)), stays.n_rows)
        first_N = np.repeat(np.cumsum(stays.n_rows) - stays.n_rows, stays.n_rows)
        row_N = np.arange(len(subject_N)) - first_N + 1
        value_N, number_N = _numbers(table["Value"].combine_chunks())
        minute_N, time_N = _minutes(table["Time"].combine_chunks())

        nameless_N = np.array([not name.strip() for name in names] or [False])[variable_N]
        self._count("rows_without_a_parameter", int(nameless_N.sum()) - stays.dropped_rows)
        is_record_id = np.array([name == "RecordID" for name in names] or [False])[variable_N]
        wrong_id_N = np.zeros_like(is_record_id)
        for event in np.flatnonzero(is_record_id & number_N).tolist():
            wrong_id_N[event] = f"{value_N[event]:.0f}" != stays.paths[subject_N[event]].stem
        good_B = np.ones(len(stays.paths), dtype=bool)
        bad_N = (~number_N | ~time_N | wrong_id_N) & ~nameless_N
        for event in np.flatnonzero(bad_N).tolist():
            subject = int(subject_N[event])
            if good_B[subject]:
                path = stays.paths[subject]
                error = _bad_row(path, int(row_N[event]), table, event, time_N[event], number_N[event])
                if wrong_id_N[event]:  # The file is another stay's: no row of it can be trusted.
                    good_B[subject] = False
                    quarantine.reject(split, path.stem, error)
                else:
                    reason = "value is not a number" if time_N[event] else "minute is not HH:MM"
                    good_B[subject] = quarantine.reject_row(split, path.stem, reason, error)

        is_descriptor = np.array([name in DESCRIPTORS for name in names] or [False])[variable_N]
        unknown_N = is_descriptor & (value_N == -1.0)
        self._count("descriptors_not_known", int(unknown_N.sum()))
        keep_N = ~is_record_id & ~unknown_N & ~nameless_N & ~bad_N
        return Chunk(
            subject_ids=[path.stem for path in stays.paths],
            files=[str(path) for path in stays.paths],
            label_B=np.array(stays.labels, dtype=np.float32),
            variables=names,
            subject_N=subject_N[keep_N],
            minute_N=minute_N[keep_N],
            variable_N=variable_N[keep_N],
            value_N=value_N[keep_N],
            row_N=row_N[keep_N],
        ).select(good_B)

    def _count(self, rule: str, rows: int) -> None:
        self._counts[rule] = self._counts.get(rule, 0) + rows


class _StayFiles:
    """Many small text files joined into one buffer: parsing them together is 50 times faster than one by one."""

    def __init__(self, split: str, quarantine: Quarantine) -> None:
        self.split = split
        self.quarantine = quarantine
        self.paths: list[Path] = []
        self.labels: list[float] = []
        self.n_rows: list[int] = []
        self.dropped_rows = 0
        """Rows that stand in `_bodies` as :data:`NO_ROW`."""
        self._bodies: list[bytes] = []

    def add(self, path: Path, label: float) -> None:
        if not path.is_file():
            raise InputError(f"{path}: not a file, but something else of that name. Remove it.")
        try:
            text = path.read_bytes()
            text.decode("utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}). Check the file.") from error
        except UnicodeDecodeError as error:
            row = text.count(b"\n", 0, error.start)
            raise InputError(f"{path}, row {row}: bytes that are not UTF-8. Write the file again.") from error
        header, _, body = text.replace(b"\r", b"").partition(b"\n")
        if header.strip() != HEADER:
            raise InputError(f"{path}, row 0: the header is {header[:60]!r}, but must be {HEADER.decode()!r}.")
        lines = body.strip(b"\n").split(b"\n") if body.strip() else []
        for row, line in enumerate(lines, start=1):
            if line.count(b",") != 2 or b'"' in line:
                self._bad_line(path, row, line)
                lines[row - 1] = (
                    NO_ROW  # Keeps the numbers of the rows behind it; it is left out as one without a Parameter.
                )
        self.paths.append(path)
        self.labels.append(label)
        self.n_rows.append(len(lines))
        self._bodies.extend(lines)

    def _bad_line(self, path: Path, row: int, line: bytes) -> None:
        error = InputError(
            f"{path}, row {row}: {line[:60]!r} does not have the 3 cells Time,Parameter,Value. Correct the row."
        )
        if not self.quarantine.drops_rows:
            raise error
        self.quarantine.reject_row(self.split, path.stem, "row does not have 3 cells", error)
        self.dropped_rows += 1

    def parse(self) -> pa.Table:
        names = HEADER.decode().split(",")
        if not self._bodies:
            return pa.table({name: pa.array([], pa.string()) for name in names})
        return csv.read_csv(
            io.BytesIO(b"\n".join(self._bodies)),
            read_options=csv.ReadOptions(column_names=names),
            parse_options=csv.ParseOptions(quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )


def _numbers(text: pa.StringArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values, and whether each cell is a number. Slow only where one is not."""
    try:
        return pc.cast(text, pa.float64()).to_numpy(), np.ones(len(text), dtype=bool)
    except pa.ArrowInvalid:
        cells = text.to_pylist()
        value_N = np.array([as_number(cell) for cell in cells])
        said_nan_N = np.array([cell.strip().lower() == "nan" for cell in cells])
        return value_N, said_nan_N | ~np.isnan(value_N)


def _minutes(text: pa.StringArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Minutes of "HH:MM", and whether each cell has that form. There are at most a few thousand different times."""
    encoded = text.dictionary_encode()
    minutes = [_minute(cell) for cell in encoded.dictionary.to_pylist()]
    minute = np.array([np.nan if m is None else m for m in minutes], dtype=np.float64)[encoded.indices.to_numpy()]
    return minute, ~np.isnan(minute)


def _minute(cell: str) -> float | None:
    hours, colon, minutes = cell.partition(":")
    digits = cell.isascii() and hours.isdigit() and minutes.isdigit() and len(cell) <= 12
    return 60.0 * int(hours) + int(minutes) if colon and digits else None


def _bad_row(path: Path, row: int, table: pa.Table, event: int, is_time: bool, is_number: bool) -> InputError:
    column = "Value" if is_time else "Time"
    expected = "HH:MM" if not is_time else "the RecordID in the name of the file" if is_number else "a number"
    cell = table[column][event].as_py()
    return InputError(f"{path}, row {row}, column {column!r}: {cell!r} is not {expected}. Correct or remove the row.")
