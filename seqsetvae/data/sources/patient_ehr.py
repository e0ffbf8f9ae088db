"""One Parquet file per stay: `train/200001.0.parquet` with variable, value, minute, and the CSV files that belong to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from seqsetvae.data.quarantine import Quarantine
from seqsetvae.data.sources.base import SPLITS, Chunk, Embedding, Source, normalise_id, refuse_repeats
from seqsetvae.data.tables import Labels, read_embedding, read_labels, read_scaling
from seqsetvae.errors import InputError

EVENTS_PER_CHUNK = 1_000_000


@dataclass(frozen=True)
class PatientEhr(Source):
    """Folders train/, valid/, test/ of one Parquet file per stay.

    Columns: variable (text), value and minute (numbers), and optionally set_index (whole number), which must then belong to one
    minute only. The name of the file is the subject's id; `200001.0` and `200001` are the same.
    """

    name: ClassVar[str] = "patient_ehr"

    input: Path
    """Folder that holds train/, valid/ and test/, or holds a folder patient_ehr/ that does."""
    label_path: Path | None = None
    """Outcomes with the columns ts_id, in_hospital_mortality. None: oc.csv in the input folder or beside it, if there is one."""
    params_map_path: Path | None = None
    """Statistics with the columns variable, mean, std, used with --scaling stats. None: stats.csv, likewise."""
    cached_path: Path | None = None
    """Frozen variable embeddings with the columns Key, 0, 1, ... None: cached.csv, likewise."""

    def describe(self) -> dict[str, object]:
        paths = {
            "label_path": self._beside(self.label_path, "oc.csv"),
            "params_map_path": self._beside(self.params_map_path, "stats.csv"),
            "cached_path": self._beside(self.cached_path, "cached.csv"),
        }
        return {"source": self.name, "input": str(self.input)} | {k: str(v) if v else None for k, v in paths.items()}

    def n_subjects(self, split: str) -> int:
        return len(self._files[split])

    def chunks(self, split: str, quarantine: Quarantine) -> Iterator[Chunk]:
        stays: list[_Stay] = []
        events = 0
        for path in self._files[split]:
            subject_id = normalise_id(path.stem)
            with quarantine.guard(split, subject_id):
                stays.append(_Stay(path, subject_id, self._labels.of(subject_id), _read(path)))
                events += len(stays[-1].table)
            if events >= EVENTS_PER_CHUNK:
                yield _chunk(stays)
                stays, events = [], 0
        if stays:
            yield _chunk(stays)

    def embedding(self, names: Sequence[str]) -> Embedding | None:
        path = self._beside(self.cached_path, "cached.csv")
        return read_embedding(path, names) if path else None

    def published_scaling(self, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        path = self._beside(self.params_map_path, "stats.csv")
        return read_scaling(path, names) if path else super().published_scaling(names)

    @cached_property
    def _folder(self) -> Path:
        """The folder that holds the splits."""
        folder = Path(self.input)
        return folder / "patient_ehr" if (folder / "patient_ehr").is_dir() else folder

    def _beside(self, given: Path | None, name: str) -> Path | None:
        """The given path (which must then exist), or `name` in the folder of the splits or in the one above it."""
        if given is not None:
            return Path(given)
        return next((path for path in (self._folder / name, self._folder.parent / name) if path.is_file()), None)

    @cached_property
    def _labels(self) -> Labels:
        path = self._beside(self.label_path, "oc.csv")
        return read_labels(path, "ts_id", "in_hospital_mortality") if path else Labels()

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        files: dict[str, list[Path]] = {}
        for split in SPLITS:
            folder = self._folder / split
            if not folder.is_dir():
                raise InputError(f"{folder}: no such folder. The input needs the folders {', '.join(SPLITS)}.")
            files[split] = sorted(folder.glob("*.parquet"), key=lambda path: normalise_id(path.stem))
            if not files[split]:
                raise InputError(f"{folder}: no .parquet file. Every split needs at least one stay.")
        refuse_repeats((normalise_id(path.stem), str(path)) for split in SPLITS for path in files[split])
        return files


@dataclass(frozen=True)
class _Stay:
    path: Path
    subject_id: str
    label: float
    table: pa.Table


def _read(path: Path) -> pa.Table:
    """The columns variable, value, minute of one stay. Raises InputError naming file and column or row."""
    try:
        # Plain open: the dataset machinery behind pq.read_table takes several times as long for a small file.
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}). Write or copy it again.") from error
    columns = {
        "variable": _column(path, table, "variable", pa.string(), "text"),
        "value": _column(path, table, "value", pa.float64(), "numbers"),
        "minute": _column(path, table, "minute", pa.float64(), "numbers"),
    }
    if "set_index" in table.column_names:
        set_index = _column(path, table, "set_index", pa.float64(), "whole numbers")
        _check_sets(path, set_index.to_numpy(), columns["minute"].to_numpy())
    return pa.table(columns)


def _column(path: Path, table: pa.Table, name: str, wanted: pa.DataType, words: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise InputError(f"{path}, column {name!r}: missing. The file has {', '.join(table.column_names)}.")
    column = table[name]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if not (is_text if wanted == pa.string() else is_number):
        raise InputError(f"{path}, column {name!r}: holds {column.type}, but must hold {words}. Write the file again.")
    return column.cast(wanted).fill_null("" if wanted == pa.string() else float("nan"))


def _check_sets(path: Path, set_index_N: NDArray[np.float64], minute_N: NDArray[np.float64]) -> None:
    """Raise InputError if a set_index has two minutes.

    >>> _check_sets(Path("7.parquet"), np.array([0.0, 1.0, 1.0]), np.array([0.0, 30.0, 31.0]))
    Traceback (most recent call last):
    seqsetvae.errors.InputError: 7.parquet, row 3, column 'set_index': set 1 has minute 30 in row 2 and minute 31 here. Correct one.
    """
    order = np.argsort(set_index_N, kind="stable")
    same_set = set_index_N[order][1:] == set_index_N[order][:-1]
    for i in np.flatnonzero(same_set & (minute_N[order][1:] != minute_N[order][:-1]))[:1]:
        before, row = order[i], order[i + 1]
        raise InputError(
            f"{path}, row {row + 1}, column 'set_index': set {set_index_N[row]:g} has minute {minute_N[before]:g} in row "
            f"{before + 1} and minute {minute_N[row]:g} here. Correct one."
        )


def _chunk(stays: list[_Stay]) -> Chunk:
    table = pa.concat_tables([stay.table for stay in stays])
    variable = table["variable"].combine_chunks().dictionary_encode()
    n_rows = np.array([len(stay.table) for stay in stays])
    subject_N = np.repeat(np.arange(len(stays)), n_rows)
    return Chunk(
        subject_ids=[stay.subject_id for stay in stays],
        files=[str(stay.path) for stay in stays],
        label_B=np.array([stay.label for stay in stays], dtype=np.float32),
        variables=variable.dictionary.to_pylist(),
        subject_N=subject_N,
        minute_N=table["minute"].to_numpy(),
        variable_N=variable.indices.to_numpy().astype(np.int64),
        value_N=table["value"].to_numpy(),
        row_N=np.arange(1, len(subject_N) + 1) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows),
    )
