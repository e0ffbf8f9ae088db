"""Rows of MEDS files as plain columns, read piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from meds.schema import DataSchema
from numpy.typing import NDArray

from seqsetvae.data.sources.columns import first_line, minute_column, number_column, plain, text_column
from seqsetvae.errors import InputError

COLUMNS = (
    DataSchema.subject_id_name,
    DataSchema.time_name,
    DataSchema.code_name,
    DataSchema.numeric_value_name,
    DataSchema.text_value_name,
)
NEEDED = COLUMNS[:3]
ROWS_AT_A_TIME = 500_000
"""Of a file, and of a chunk about: what bounds the memory."""
LONGEST_CATEGORY = 60
"""Characters of a text that counts as a category."""


@dataclass(frozen=True)
class Rows:
    """Some rows of one file, in its order; `len` counts them."""

    path: Path
    subject_N: NDArray[np.int64]
    time_N: NDArray[np.int64]
    """Microseconds since 1970; `NO_TIME` of static rows."""
    names: Sequence[str]
    """What `variable_N` points into."""
    variable_N: NDArray[np.int64]
    value_N: NDArray[np.float64]
    """NaN: no number."""
    row_N: NDArray[np.int64]
    """Number in the file, from 1."""
    texts: Mapping[int, str] = field(default_factory=dict)
    """By index into `names`: the text that the name ends in."""
    stay_N: NDArray[np.int64] | None = None
    """Number of the admission, from 1, where a stay is an admission."""

    def __len__(self) -> int:
        return len(self.subject_N)

    def take(self, rows_N: NDArray[np.bool_] | NDArray[np.int64]) -> Rows:
        """Some rows, by a mask or by their places."""
        if rows_N.dtype == bool and rows_N.all():
            return self
        columns = (
            self.subject_N[rows_N],
            self.time_N[rows_N],
            self.names,
            self.variable_N[rows_N],
            self.value_N[rows_N],
            self.row_N[rows_N],
        )
        return Rows(self.path, *columns, self.texts, None if self.stay_N is None else self.stay_N[rows_N])

    def split_last(self) -> tuple[Rows, Rows]:
        """All rows before those of the last subject, and these."""
        start = int(np.flatnonzero(self.subject_N != self.subject_N[-1])[-1]) + 1
        places = np.arange(len(self))
        return self.take(places[:start]), self.take(places[start:])

    @classmethod
    def join(cls, pieces: Sequence[Rows]) -> Rows:
        """Pieces of one file, end to end."""
        if len(pieces) == 1:
            return pieces[0]
        row_of: dict[str, int] = {}
        texts: dict[int, str] = {}
        variables = []
        for piece in pieces:
            number = np.array([row_of.setdefault(name, len(row_of)) for name in piece.names], dtype=np.int64)
            texts |= {int(number[row]): text for row, text in piece.texts.items()}
            variables.append(number[piece.variable_N])
        return cls(
            pieces[0].path,
            np.concatenate([piece.subject_N for piece in pieces]),
            np.concatenate([piece.time_N for piece in pieces]),
            list(row_of),
            np.concatenate(variables),
            np.concatenate([piece.value_N for piece in pieces]),
            np.concatenate([piece.row_N for piece in pieces]),
            texts,
        )


def read_rows(path: Path, parents: Mapping[str, str], nobodys: Callable[[InputError], None]) -> Iterator[Rows]:
    """The rows of a file, some at a time.

    Args:
        path: the file.
        parents: what replaces codes.
        nobodys: called for each row without a subject, which is left out unless this raises.

    Raises:
        InputError: a column cannot be used; file and column are named.
    """
    if not path.is_file():
        raise InputError(f"{path}: not a file, but something else of that name. Remove it.")
    try:
        found = pq.read_schema(path).names
        for name in COLUMNS:
            if found.count(name) > 1 or (name in NEEDED and name not in found):
                state = "there twice" if name in found else "missing"
                raise InputError(f"{path}, column {name!r}: {state}. MEDS files have {', '.join(COLUMNS)}.")
        encoded = [name for name in (COLUMNS[2], COLUMNS[4]) if name in found]
        with pq.ParquetFile(path, pre_buffer=False, read_dictionary=encoded) as file:
            before = 0
            for piece in file.iter_batches(ROWS_AT_A_TIME, columns=[name for name in COLUMNS if name in found]):
                row_N = before + 1 + np.arange(len(piece))
                known = piece.column(COLUMNS[0]).is_valid()
                for row in row_N[~known.to_numpy(zero_copy_only=False)].tolist():
                    nobodys(
                        InputError(
                            f"{path}, row {row}, column {COLUMNS[0]!r}: a row without a subject. Correct or remove it."
                        )
                    )
                table = pa.Table.from_batches([piece]).filter(known)
                if len(table):
                    yield _rows(path, table, row_N[known.to_numpy(zero_copy_only=False)], parents)
                before += len(piece)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: not a readable Parquet file ({first_line(error)}). Write or copy it again."
        ) from error


def _rows(path: Path, table: pa.Table, row_N: NDArray[np.int64], parents: Mapping[str, str]) -> Rows:
    subject, time, code, number, text = COLUMNS
    _, ticks = minute_column(path, time, plain(table[time]))
    if ticks is None:
        raise InputError(f"{path}, column {time!r}: holds {table[time].type}, but must hold timestamps.")
    value_N = np.full(len(table), np.nan)
    if number in table.column_names:
        value_N, words = number_column(path, number, plain(table[number]))
        if words is not None:
            raise InputError(f"{path}, column {number!r}: holds text, but must hold numbers.")
    code_N, codes = _encoded(path, code, table)
    codes = [parents.get(name, name) for name in codes]
    names, variable_N = codes, code_N
    texts: dict[int, str] = {}
    if text in table.column_names:
        text_N, words_of = _encoded(path, text, table)
        names, variable_N, texts = _with_texts(codes, code_N, words_of, np.where(np.isnan(value_N), text_N, 0))
    return Rows(
        path,
        _whole(path, subject, table[subject]),
        ticks,
        names,
        variable_N,
        value_N,
        row_N,
        texts,
    )


def _encoded(path: Path, name: str, table: pa.Table) -> tuple[NDArray[np.int64], list[str]]:
    """Place of each cell among the different texts of a column, of which the first is ''."""
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    if not pa.types.is_dictionary(column.type):
        column = text_column(path, name, plain(pa.chunked_array([column]))).combine_chunks().dictionary_encode()
    words = text_column(path, name, plain(pa.chunked_array([column.dictionary]))).to_pylist()
    return column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 1, ["", *words]


def _with_texts(
    codes: Sequence[str], code_N: NDArray[np.int64], words: Sequence[str], word_N: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64], dict[int, str]]:
    """`code//text` where there is a short text; names, place of each row among them, and the text of each such name."""
    short = np.array([0 < len(word.strip()) <= LONGEST_CATEGORY for word in words])
    pair_N = code_N * len(words) + np.where(short[word_N], word_N, 0)
    pairs = pa.array(pair_N).dictionary_encode()
    names, texts = [], {}
    for place, pair in enumerate(pairs.dictionary.to_pylist()):
        code, word = divmod(pair, len(words))
        if word and codes[code].strip():
            texts[place] = words[word].strip()
        names.append(f"{codes[code].strip()}//{texts[place]}" if place in texts else codes[code])
    return names, pairs.indices.to_numpy().astype(np.int64), texts


def _whole(path: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.int64]:
    try:
        return column.cast(pa.int64()).to_numpy()
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{path}, column {name!r}: holds no whole numbers ({first_line(error)}).") from error
