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
from seqsetvae.data.sources.base import SPLIT_SHARES, SPLITS, Chunk, Source, refuse_repeats, stratified_split
from seqsetvae.data.tables import Labels, read_labels
from seqsetvae.errors import InputError

HEADER = b"Time,Parameter,Value"
DESCRIPTORS = ("Age", "Gender", "Height", "ICUType", "Weight")
"""Recorded once at 00:00; -1 stands for "not known" there and only there."""
FILES_PER_CHUNK = 500


@dataclass(frozen=True)
class PhysioNet2012(Source):
    """Stays of the challenge's sets a, b and c, as far as they lie in one folder.

    Rules: the RecordID row is dropped (it must agree with the name of the file); -1 of a descriptor (Age, Gender, Height, ICUType,
    Weight) means "not known" and is dropped; every other value is kept as recorded, however wild. The stays are divided 64/16/20
    into train, valid and test, stratified by In-hospital_death.
    """

    name: ClassVar[str] = "physionet2012"

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
        return dict(self._counts)

    def n_subjects(self, split: str) -> int:
        return len(self._files[split])

    def chunks(self, split: str, quarantine: Quarantine) -> Iterator[Chunk]:
        files = self._files[split]
        for start in range(0, len(files), FILES_PER_CHUNK):
            stays = _Stays()
            for path in files[start : start + FILES_PER_CHUNK]:
                with quarantine.guard(split, path.stem):
                    label = self._labels.of(path.stem)
                    stays.add(path, label)
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
        for folder in self._sets:
            outcomes = Path(self.input) / f"Outcomes-{folder.name.removeprefix('set-')}.txt"
            labels.update(read_labels(outcomes, "RecordID", "In-hospital_death"))
        return labels

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        files = sorted((path for folder in self._sets for path in folder.glob("*.txt")), key=lambda path: path.stem)
        refuse_repeats((path.stem, str(path)) for path in files)
        label_B = np.array([self._labels.values.get(path.stem, np.nan) for path in files], dtype=np.float32)
        split_B = stratified_split(label_B, self.seed)
        return {name: [files[row] for row in np.flatnonzero(split_B == i)] for i, name in enumerate(SPLITS)}

    def _chunk(self, stays: _Stays, split: str, quarantine: Quarantine) -> Chunk:
        table = stays.parse()
        parameter = table["Parameter"].combine_chunks().dictionary_encode()
        names: list[str] = parameter.dictionary.to_pylist()
        variable_N = parameter.indices.to_numpy().astype(np.int64)
        subject_N = np.repeat(np.arange(len(stays.paths)), stays.n_rows)
        first_N = np.repeat(np.cumsum(stays.n_rows) - stays.n_rows, stays.n_rows)
        row_N = np.arange(len(subject_N)) - first_N + 1
        value_N, number_N = _numbers(table["Value"].combine_chunks())
        minute_N, time_N = _minutes(table["Time"].combine_chunks())

        is_record_id = np.array([name == "RecordID" for name in names] or [False])[variable_N]
        wrong_id_N = np.zeros_like(is_record_id)
        for event in np.flatnonzero(is_record_id & number_N).tolist():
            wrong_id_N[event] = f"{value_N[event]:.0f}" != stays.paths[subject_N[event]].stem
        good_B = np.ones(len(stays.paths), dtype=bool)
        for event in np.flatnonzero(~number_N | ~time_N | wrong_id_N).tolist():
            subject = int(subject_N[event])
            if good_B[subject]:
                good_B[subject] = False
                path = stays.paths[subject]
                quarantine.reject(
                    split, path.stem, _bad_row(path, int(row_N[event]), table, event, time_N[event], number_N[event])
                )

        is_descriptor = np.array([name in DESCRIPTORS for name in names] or [False])[variable_N]
        unknown_N = is_descriptor & (value_N == -1.0)
        self._counts["descriptors_not_known"] = self._counts.get("descriptors_not_known", 0) + int(unknown_N.sum())
        keep_N = ~is_record_id & ~unknown_N
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


class _Stays:
    """Many small text files joined into one buffer: parsing them together is 50 times faster than one by one."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.labels: list[float] = []
        self.n_rows: list[int] = []
        self._bodies: list[bytes] = []

    def add(self, path: Path, label: float) -> None:
        try:
            text = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}). Check the file.") from error
        header, _, body = text.replace(b"\r", b"").partition(b"\n")
        if header.strip() != HEADER:
            raise InputError(f"{path}, row 0: the header is {header[:60]!r}, but must be {HEADER.decode()!r}.")
        lines = body.strip(b"\n").split(b"\n") if body.strip() else []
        for row, line in enumerate(lines, start=1):
            if line.count(b",") != 2 or b'"' in line:
                raise InputError(
                    f"{path}, row {row}: {line[:60]!r} does not have the 3 cells Time,Parameter,Value. Correct the row."
                )
        self.paths.append(path)
        self.labels.append(label)
        self.n_rows.append(len(lines))
        self._bodies.extend(lines)

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
        values = [_number(cell) for cell in text.to_pylist()]
        return np.array([value or 0.0 for value in values]), np.array([value is not None for value in values])


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _minutes(text: pa.StringArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Minutes of "HH:MM", and whether each cell has that form. There are at most a few thousand different times."""
    encoded = text.dictionary_encode()
    minutes = [_minute(cell) for cell in encoded.dictionary.to_pylist()]
    minute = np.array([np.nan if m is None else m for m in minutes], dtype=np.float64)[encoded.indices.to_numpy()]
    return minute, ~np.isnan(minute)


def _minute(cell: str) -> float | None:
    hours, colon, minutes = cell.partition(":")
    return 60.0 * int(hours) + int(minutes) if colon and hours.isdigit() and minutes.isdigit() else None


def _bad_row(path: Path, row: int, table: pa.Table, event: int, is_time: bool, is_number: bool) -> InputError:
    column = "Value" if is_time else "Time"
    expected = "HH:MM" if not is_time else "the RecordID in the name of the file" if is_number else "a number"
    cell = table[column][event].as_py()
    return InputError(f"{path}, row {row}, column {column!r}: {cell!r} is not {expected}. Correct or remove the row.")
