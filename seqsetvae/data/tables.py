"""The small tables beside the events: read as text from .csv, .csv.gz or .parquet, with errors that quote what stands there."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from seqsetvae.errors import InputError

FORMATS = (".csv", ".csv.gz", ".parquet")
SEPARATORS = ",;\t|"
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class TextTable:
    """A small table as text."""

    path: Path
    columns: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """All cells of a column. Raises InputError if there is none of that name, or several."""
        if (found := self.columns.count(name)) != 1:
            state = "there twice" if found else "missing"
            raise InputError(f"{self.path}, column {name!r}: {state}. The file has {named(self.columns)}.")
        index = self.columns.index(name)
        return [row[index].strip() for row in self.rows]

    def numbers(self, columns: Sequence[str]) -> NDArray[np.float64]:
        """Columns as an array (rows, columns). Raises InputError at the first cell that is not a finite number, as float32 holds it."""
        text = np.array([self.column(name) for name in columns], dtype=object).T
        numbers = np.array([[as_number(cell) for cell in row] for row in text], dtype=np.float64)
        numbers = numbers.reshape(len(self.rows), len(columns))
        bad = np.argwhere(~(np.abs(numbers) <= LARGEST))
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise InputError(
                f"{self.path}, row {row + 1}, column {columns[column]!r}: {text[row, column][:40]!r} is not a finite number. "
                "Correct the cell."
            )
        return numbers

    def rows_of(self, key_column: str, names: Sequence[str]) -> list[int]:
        """The row of each name. Raises InputError naming those that have none."""
        row_of = {key: row for row, key in enumerate(self.column(key_column))}
        missing = [name for name in names if name not in row_of]
        if missing:
            shown = ", ".join(map(repr, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise InputError(
                f"{self.path}: no row for {shown}, which the train split contains. "
                "Add the row, or remove the variable from the data."
            )
        return [row_of[name] for name in names]


def named(columns: Sequence[str], most: int = 12) -> str:
    """The columns of a table, in words.

    >>> named(["a", "b", "c"]), named(["a", "b", "c"], most=1)
    ('a, b, c', 'a and 2 more')
    """
    more = len(columns) - most
    return ", ".join(columns[:most]) + (f" and {more} more" if more > 0 else "")


def find_table(folders: Iterable[Path], stem: str, formats: Sequence[str] = FORMATS) -> Path | None:
    """The first file `stem.csv`, `stem.csv.gz` or `stem.parquet` in some folders. Raises InputError if one folder holds several."""
    for folder in folders:
        found = [path for ending in formats if (path := folder / f"{stem}{ending}").exists()]
        if len(found) > 1:
            raise InputError(f"{found[0]}: {found[1].name} is there too. Remove one of the two.")
        if found:
            return found[0]
    return None


def refuse_other_formats(folders: Iterable[Path], stem: str) -> None:
    """Raise InputError for `oc.zip` or `OC.csv`, which would be passed over in silence where there is no `oc.csv`."""
    for folder in filter(Path.is_dir, folders):
        for path in sorted(folder.iterdir()):
            if path.name.partition(".")[0].lower() == stem and "." in path.name and path.is_file():
                raise InputError(
                    f"{path}: not read in this form. Write it as {', '.join(stem + end for end in FORMATS)}."
                )


def read_table(path: Path) -> TextTable:
    """Read a table with a header. Raises InputError if it is missing, not text, or has rows of unequal width.

    A .csv may be separated by comma, semicolon, tab or bar (the header tells), and begin with a byte-order mark.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file. Check the path.")
    if not path.is_file():
        raise InputError(f"{path}: not a file. Check the path.")
    if path.name.endswith(".parquet"):
        return _read_parquet(path)
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.name.endswith(".gz") else content).decode("utf-8-sig")
        first = text.partition("\n")[0]
        separator = max(SEPARATORS, key=first.count)
        header, *rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)) or [[]]
    except (csv.Error, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a readable CSV file ({error}). Write it again.") from error
    rows = [row for row in rows if row]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise InputError(
                f"{path}, row {number}: {len(row)} cells, but the header has {len(header)}. Correct the row."
            )
    return TextTable(path, [name.strip() for name in header], rows)


def _read_parquet(path: Path) -> TextTable:
    """Every cell as the text that a CSV file would hold; a null is an empty one."""
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        columns = [_as_text(column) for column in table.columns]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}). Write or copy it again.") from error
    return TextTable(
        path, [name.strip() for name in table.column_names], [list(row) for row in zip(*columns, strict=True)]
    )


def _as_text(column: pa.ChunkedArray) -> list[str]:
    return ["" if cell is None else str(cell) for cell in column.to_pylist()]


def read_scaling(path: Path, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (V,), (V,) of `names` from a stats.csv with the columns variable, mean, std."""
    table = read_table(path)
    mean, std = table.numbers(("mean", "std"))[table.rows_of("variable", names)].T
    return mean, std


def read_embedding(path: Path, names: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings (V, E) of `names` from a cached.csv with the columns Key, 0, 1, ..., E-1."""
    table = read_table(path)
    rows = table.rows_of("Key", names)
    width = [name for name in table.columns if name != "Key"]
    if not width:
        raise InputError(f"{path}: no column besides 'Key'. An embedding needs the columns 0, 1, ...")
    return table.numbers(width)[rows].astype(np.float32)


def as_number(text: str) -> float:
    """A cell as a number, NaN where it is none. Python's underscores are no part of a number."""
    try:
        return float(text) if "_" not in text else float("nan")
    except ValueError:
        return float("nan")
