"""One Parquet file per stay: `train/200001.0.parquet` with variable, value, minute, and the small tables that belong to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqsetvae.data.quarantine import Quarantine
from seqsetvae.data.sources.base import SPLITS, Chunk, Embedding, LabelMatch, Source, normalise_id, refuse_repeats
from seqsetvae.data.sources.columns import (
    NO_TIME,
    find_column,
    minute_column,
    number_column,
    read_parquet,
    text_column,
)
from seqsetvae.data.sources.labels import Labels, read_labels
from seqsetvae.data.tables import find_table, read_embedding, read_scaling, refuse_other_formats
from seqsetvae.data.times import MICROSECONDS
from seqsetvae.errors import InputError

EVENTS_PER_CHUNK = 1_000_000
LONGEST_TEXT = 200
"""Characters of a text in place of a number: what is longer is prose, not a category."""


@dataclass(frozen=True)
class PatientEhr(Source):
    """Folders train/, valid/, test/ of one Parquet file per stay; of an external cohort one of them is enough.

    Columns: variable (text), value (numbers, or numbers as text) and minute (numbers, timestamps or dates), and optionally set_index
    (whole number), which must then belong to one time only. The name of the file is the subject's id; `200001.0` and `200001` are
    the same.
    """

    name: ClassVar[str] = "patient_ehr"

    input: Path
    """Folder that holds train/, valid/ and test/, or holds a folder patient_ehr/ that does."""
    label_path: Path | None = None
    """Outcomes with the columns ts_id, in_hospital_mortality. None: oc.csv (or .csv.gz, .parquet) in the input folder or beside it, if
    there is one."""
    params_map_path: Path | None = None
    """Statistics with the columns variable, mean, std, used with --scaling stats. None: stats.csv, likewise."""
    cached_path: Path | None = None
    """Frozen variable embeddings with the columns Key, 0, 1, ... None: cached.csv, likewise."""
    _counts: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    _clock: dict[str, tuple[bool, Path]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def describe(self) -> dict[str, object]:
        paths = {
            "label_path": self._beside(self.label_path, "oc"),
            "params_map_path": self._beside(self.params_map_path, "stats"),
            "cached_path": self._beside(self.cached_path, "cached"),
        }
        return {"source": self.name, "input": str(self.input)} | {k: str(v) if v else None for k, v in paths.items()}

    def counts(self) -> dict[str, int]:
        return {rule: rows for rule, rows in self._counts.items() if rows}

    def n_subjects(self, split: str) -> int:
        return len(self._files[split])

    def label_match(self) -> LabelMatch | None:
        return self._labels.match({normalise_id(path.stem) for split in SPLITS for path in self._files[split]})

    def chunks(self, split: str, quarantine: Quarantine) -> Iterator[Chunk]:
        stays: list[_Stay] = []
        events = 0
        labels = self._labels  # Not inside the guard: a broken table is one error about that table, not one per stay.
        for path in self._files[split]:
            subject_id = normalise_id(path.stem)
            with quarantine.guard(split, subject_id):
                stay = _read(path, subject_id, _label(labels, subject_id, split, quarantine))
                self._check_clock(stay)
                stays.append(stay)
                events += len(stays[-1].value_N)
            if events >= EVENTS_PER_CHUNK:
                yield _chunk(stays)
                stays, events = [], 0
        if stays:
            yield _chunk(stays)

    def _check_clock(self, stay: _Stay) -> None:
        """Dates in one file and minutes in another are two clocks: the tables of outcomes could not be read by both."""
        dated = stay.start is not None
        first_dated, first = self._clock.setdefault("of the first stay", (dated, stay.path))
        if dated != first_dated:
            kinds = ("minutes", "dates")
            raise InputError(
                f"{stay.path}, column 'minute': holds {kinds[dated]}, but {first} holds {kinds[first_dated]}. "
                "Write all files with the same clock."
            )

    def embedding(self, names: Sequence[str]) -> Embedding | None:
        path = self._beside(self.cached_path, "cached")
        return read_embedding(path, names) if path else None

    def published_scaling(self, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        path = self._beside(self.params_map_path, "stats")
        return read_scaling(path, names) if path else super().published_scaling(names)

    @cached_property
    def _folder(self) -> Path:
        """The folder that holds the splits."""
        folder = Path(self.input)
        return folder / "patient_ehr" if (folder / "patient_ehr").is_dir() else folder

    def _beside(self, given: Path | None, stem: str) -> Path | None:
        """The given path (which must then exist), or a table of that name in the folder of the splits or in the one above it."""
        return Path(given) if given is not None else find_table((self._folder, self._folder.parent), stem)

    @cached_property
    def _labels(self) -> Labels:
        path = self._beside(self.label_path, "oc")
        if path is None:
            refuse_other_formats((self._folder, self._folder.parent), "oc")
        return read_labels(path, "ts_id", "in_hospital_mortality") if path else Labels()

    def empty_split(self) -> str:
        return next((self._lack(split) for split in SPLITS if not self._files[split]), "")

    def _lack(self, split: str) -> str:
        folder = self._folder / split
        if folder.is_dir():
            return f"{folder}: no .parquet file. Every split needs at least one stay."
        hint = " This looks like MEDS: `seqsetvae prepare meds` reads it." if (self._folder / "data").is_dir() else ""
        return f"{folder}: no such folder. The input needs the folders {', '.join(SPLITS)}.{hint}"

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """The stays of each split. Raises InputError where there is none at all."""
        files: dict[str, list[Path]] = {}
        others = 0
        for split in SPLITS:
            folder = self._folder / split
            entries = list(folder.iterdir()) if folder.is_dir() else []
            # `._7.parquet`, which a Mac leaves beside 7.parquet, `.DS_Store`, `_SUCCESS`: none of them is a stay.
            stays = [path for path in entries if path.suffix.lower() == ".parquet" and path.name[0] not in "._"]
            others += len(entries) - len(stays)
            files[split] = sorted(stays, key=lambda path: (normalise_id(path.stem), path.name))
        if not any(files.values()):
            raise InputError(self._lack(SPLITS[0]))
        refuse_repeats((normalise_id(path.stem), str(path)) for split in SPLITS for path in files[split])
        self._counts["files_that_are_not_data"] = others
        return files


@dataclass(frozen=True)
class _Stay:
    path: Path
    subject_id: str
    label: float
    variable: pa.ChunkedArray
    value_N: NDArray[np.float64]
    minute_N: NDArray[np.float64]
    start: int | None
    """Of a stay with dates: microseconds since 1970 of its minute 0."""
    text: dict[str, str]
    """By the name of a variable that a text is part of: that text."""


def _label(labels: Labels, subject_id: str, split: str, quarantine: Quarantine) -> float:
    """The stay's label; an unusable one costs the stay, or, where bad rows are dropped, is no label."""
    if quarantine.drops_rows and (problem := labels.problems.get(subject_id)):
        quarantine.reject_row(split, subject_id, "label cannot be used", InputError(problem))
        return float("nan")
    return labels.of(subject_id)


def _read(path: Path, subject_id: str, label: float) -> _Stay:
    """One stay. Raises InputError naming file and column or row."""
    table = read_parquet(path)
    if not table.num_columns:
        raise InputError(f"{path}: the stay holds no event. Remove it.")
    variable = text_column(path, "variable", find_column(path, table, "variable"))
    value_N, text = number_column(path, "value", find_column(path, table, "value"))
    minute_N, date_N = minute_column(path, "minute", find_column(path, table, "minute"))
    start = None
    if date_N is not None:
        known_N = date_N != NO_TIME
        start = int(date_N[known_N].min()) if known_N.any() else 0
        minute_N = np.where(known_N, date_N - start, np.nan) / MICROSECONDS
    if "set_index" in table.column_names:
        set_index_N, words = number_column(path, "set_index", find_column(path, table, "set_index"))
        if words is not None:
            raise InputError(
                f"{path}, column 'set_index': holds text, but must hold whole numbers. Write the file again."
            )
        _check_sets(path, set_index_N, minute_N)
    names: dict[str, str] = {}
    if text is not None:
        variable, names = _name_texts(variable, text)
    return _Stay(path, subject_id, label, variable, value_N, minute_N, start, names)


def _name_texts(variable: pa.ChunkedArray, text: pa.ChunkedArray) -> tuple[pa.ChunkedArray, dict[str, str]]:
    """`Glucose//positive` for the text `positive` of Glucose; also the text of each such name.

    >>> named, texts = _name_texts(pa.chunked_array([["Glucose", "HR"]]), pa.chunked_array([["positive", None]]))
    >>> named.to_pylist(), texts
    (['Glucose//positive', 'HR'], {'Glucose//positive': 'positive'})
    """
    names, texts = variable.to_pylist(), {}
    for row, cell in enumerate(text.to_pylist()):
        if cell is not None and names[row].strip():
            names[row] = f"{names[row].strip()}//{cell[:LONGEST_TEXT]}"
            texts[names[row]] = cell
    return pa.chunked_array([pa.array(names, pa.string())]), texts


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
    joined = pa.chunked_array([piece for stay in stays for piece in stay.variable.chunks], pa.string())
    variable = joined.combine_chunks().dictionary_encode()
    names: list[str] = variable.dictionary.to_pylist()
    n_rows = np.array([len(stay.value_N) for stay in stays])
    subject_N = np.repeat(np.arange(len(stays)), n_rows)
    texts = {name: text for stay in stays for name, text in stay.text.items()}
    dated = any(stay.start is not None for stay in stays)
    return Chunk(
        subject_ids=[stay.subject_id for stay in stays],
        files=[str(stay.path) for stay in stays],
        label_B=np.array([stay.label for stay in stays], dtype=np.float32),
        variables=names,
        subject_N=subject_N,
        minute_N=np.concatenate([stay.minute_N for stay in stays]),
        variable_N=variable.indices.to_numpy().astype(np.int64),
        value_N=np.concatenate([stay.value_N for stay in stays]),
        row_N=np.arange(1, len(subject_N) + 1) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows),
        start_B=np.array([stay.start or 0 for stay in stays], dtype=np.int64) if dated else None,
        texts={row: texts[name] for row, name in enumerate(names) if name in texts},
    )
