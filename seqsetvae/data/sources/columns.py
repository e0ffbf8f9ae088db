"""Columns of raw Parquet files, of whatever type Arrow can turn into text, numbers or times without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from seqsetvae.data.times import MICROSECONDS
from seqsetvae.errors import InputError

MEDS_COLUMNS = {"subject_id", "time", "code"}
REMEDY = "Write the file again."


def read_parquet(path: Path) -> pa.Table:
    """All of a small Parquet file. Raises InputError naming it if it is none."""
    if not path.is_file():
        raise InputError(f"{path}: not a file, but something else of that name. Remove it.")
    try:
        # Plain open: the dataset machinery behind pq.read_table takes several times as long for a small file.
        with pq.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable Parquet file ({first_line(error)}). Write or copy it again."
        ) from error


def find_column(path: Path, table: pa.Table, name: str) -> pa.ChunkedArray:
    """The one column of that name, plain: no dictionary, no view. Raises InputError if there is none, or several."""
    found = table.column_names.count(name)
    if found != 1:
        state = "there twice" if found else "missing"
        others = ", ".join(table.column_names)
        hint = ""
        if not found and set(table.column_names) >= MEDS_COLUMNS:
            hint = " This looks like MEDS: `seqsetvae prepare meds` reads it."
        raise InputError(f"{path}, column {name!r}: {state}. The file has {others}.{hint}")
    return plain(table[name])


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without dictionary or view types, which many of Arrow's functions do not take."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.type in (pa.string_view(), pa.large_string()):
        column = column.cast(pa.string())
    return column


def text_column(path: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text, '' where there is none. Raises InputError where the column holds something else."""
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = _decoded(path, name, column)  # as those write it who write no logical types
    if not (pa.types.is_string(column.type) or pa.types.is_null(column.type)):
        raise InputError(f"{path}, column {name!r}: holds {column.type}, but must hold text. {REMEDY}")
    _check_encoding(path, name, column)
    return pc.fill_null(column.cast(pa.string()), "")


def number_column(path: Path, name: str, column: pa.ChunkedArray) -> tuple[NDArray[np.float64], pa.ChunkedArray | None]:
    """Numbers, NaN where there is none; and where the column holds text that is not all numbers, the text of each such cell.

    Raises InputError for types that are no numbers, and where a whole number is too large to be held exactly.
    """
    kind = column.type
    if pa.types.is_string(kind):
        return _numbers_in_text(path, name, column)
    if not (_is_number(kind) or pa.types.is_null(kind) or pa.types.is_boolean(kind)):
        raise InputError(f"{path}, column {name!r}: holds {kind}, but must hold numbers. {REMEDY}")
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    return _to_float(column), None


def minute_column(
    path: Path, name: str, column: pa.ChunkedArray
) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    """Minutes as they are, NaN where there is none; or, of timestamps and dates, microseconds since 1970 (`NO_TIME` for none).

    Of the two results of the second kind the minutes are empty. A time zone is taken into account: times are compared in UTC.
    """
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return np.zeros(0), _to_microseconds(path, name, column)
    if pa.types.is_duration(kind):
        return _to_float(_cut(column, pa.duration("us")).cast(pa.int64())) / MICROSECONDS, None
    if not (_is_number(kind) or pa.types.is_null(kind)):
        raise InputError(f"{path}, column {name!r}: holds {kind}, but must hold numbers, timestamps or dates. {REMEDY}")
    return _to_float(column), None


NO_TIME = np.iinfo(np.int64).min
"""Stands for a missing timestamp."""


def _to_microseconds(path: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.int64]:
    try:
        # Nanoseconds are cut: two events within a microsecond are of one time.
        ticks = _cut(column, pa.timestamp("us", getattr(column.type, "tz", None)))
    except pa.ArrowException as error:
        ticks_N = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
        row = int(np.abs(ticks_N.astype(np.float64)).argmax()) + 1
        raise InputError(
            f"{path}, row {row}, column {name!r}: a time that cannot be read ({first_line(error)}). {REMEDY}"
        ) from error
    return pc.fill_null(ticks.cast(pa.int64()), NO_TIME).to_numpy()


def _cut(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return pc.cast(column, options=pc.CastOptions(kind, allow_time_truncate=True))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _to_float(column: pa.ChunkedArray) -> NDArray[np.float64]:
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    # Not safe: a whole number beyond 2^53 becomes the nearest float64, as any text of it would.
    return pc.fill_null(pc.cast(column, pa.float64(), safe=False), float("nan")).to_numpy()


def _numbers_in_text(
    path: Path, name: str, column: pa.ChunkedArray
) -> tuple[NDArray[np.float64], pa.ChunkedArray | None]:
    _check_encoding(path, name, column)
    column = pc.utf8_trim_whitespace(column)
    try:
        return _to_float(column), None
    except pa.ArrowInvalid:
        pass
    encoded = column.combine_chunks().dictionary_encode()
    number = np.array([_number(text) for text in encoded.dictionary.to_pylist()] or [np.nan])
    none = np.array([text == "" for text in encoded.dictionary.to_pylist()] or [True])
    index = pc.fill_null(encoded.indices, -1).to_numpy()
    value_N = np.where(index >= 0, number[index], np.nan)
    is_text_N = np.isnan(value_N) & (index >= 0) & ~none[index]
    return value_N, pc.if_else(pa.array(is_text_N), column.combine_chunks(), None)


def _number(text: str) -> float:
    try:
        return pc.cast(pa.scalar(text), pa.float64()).as_py()
    except pa.ArrowInvalid:
        return float("nan")


def _decoded(path: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path}, column {name!r}: bytes that are not UTF-8 ({first_line(error)}). {REMEDY}"
        ) from error


def _check_encoding(path: Path, name: str, column: pa.ChunkedArray) -> None:
    """Arrow does not look at the bytes of a text until somebody asks for it. Raises InputError where they are not UTF-8."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}, column {name!r}: text that is not UTF-8 ({first_line(error)}). {REMEDY}") from error


def first_line(error: BaseException) -> str:
    """What an error says, without its details."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
