"""A plain table of events (subject, minute, variable, value) -> packed subjects, with what is wrong said per row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from seqsetvae import names
from seqsetvae.batch import EventBatch
from seqsetvae.data.arrange import arrange
from seqsetvae.data.far import unusual_values
from seqsetvae.data.packed import Packed, gather
from seqsetvae.data.sources.base import Chunk
from seqsetvae.data.times import LARGEST_MINUTE
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError

SHOWN = 40
"""Characters of a cell that a message shows."""
AnyTable = TypeVar("AnyTable", pd.DataFrame, pa.Table)
"""What is asked with a table of one kind is answered with one of the same."""


@dataclass(frozen=True)
class EventsTable:
    """Subjects of a table, in order of their first row."""

    subjects: list[str]
    problems: dict[str, str]
    """By subject that cannot be used: the first rows that are wrong, and why. Rows count from 1. Rows that name no subject make one of
    their own, called ''."""
    packed: Packed | None
    """The other subjects; None where there are none."""
    left_out: dict[str, str]
    """By subject: rows that are not used, in words. Where events without a number are kept, rare codes are unknown to the model by
    intent: such a row costs itself alone, as when a store is read."""

    def batch(self, vocabulary: Vocabulary) -> EventBatch:
        """All usable subjects as one batch, values scaled by the vocabulary they were read with."""
        assert self.packed is not None, "no subject is usable"
        return gather(self.packed, np.arange(self.packed.n_subjects), vocabulary)

    def warnings(self, vocabulary: Vocabulary) -> list[str]:
        """For each of `subjects`: rows that are not used, values far from all that the model was trained on, in words; '' for none."""
        if self.packed is None:
            return [""] * len(self.subjects)
        names = map(str, self.packed.subject_id)
        unusual = dict(zip(names, unusual_values(self.packed, vocabulary), strict=True))
        said = ((self.left_out.get(name, ""), unusual.get(name, "")) for name in self.subjects)
        return ["; ".join(filter(None, texts)) for texts in said]

    def require_all(self) -> EventsTable:
        """The table itself. Raises :class:`InputError` naming the rows if any subject cannot be used."""
        if self.problems:
            raise InputError("\n".join(f"subject {name!r}: {text}" for name, text in self.problems.items()))
        if self.packed is None:
            raise InputError("The table of events is empty.")
        return self


def read_events(table: pd.DataFrame, vocabulary: Vocabulary) -> EventsTable:
    """Check and pack a table. Rules as for `prepare`: events of one minute are a set, the last of repeated measurements counts.

    Raises:
        InputError: a column is missing, or there twice.

    >>> from seqsetvae.data.statistics import Statistics
    >>> vocabulary = Vocabulary(("HR",), Statistics.empty(1), np.array([80.0]), np.array([10.0]))
    >>> table = pd.DataFrame({"subject": ["a", "b"], "minute": [0, 5], "variable": ["HR", "hr"], "value": [90, 90]})
    >>> read_events(table, vocabulary).problems
    {'b': "row 2: variable 'hr' is unknown to the model"}
    """
    require_columns(table)
    subject_N, subjects = pd.factorize(_names(table["subject"]))
    minute_N, value_N = _numbers(table["minute"]), _numbers(table["value"])
    variable_N = _variables(table, vocabulary, np.isnan(value_N))
    bare_V = np.zeros(len(vocabulary), dtype=bool) if vocabulary.bare_V is None else vocabulary.bare_V
    is_text_N = np.array([isinstance(cell, str) for cell in table["value"]], dtype=bool)
    bare_N = (
        (variable_N >= 0) & bare_V[variable_N] & (table["value"].isna().to_numpy() | (is_text_N & np.isnan(value_N)))
    )
    left_out_N = _left_out(subject_N, variable_N, vocabulary)
    faults = (
        (np.isin(subject_N, np.flatnonzero(subjects == "")), "subject", "is no name"),
        (~(minute_N >= 0), "minute", "is not a time: minutes are 0 or more"),
        (minute_N > LARGEST_MINUTE, "minute", "is beyond any time"),
        (~np.isfinite(value_N) & ~bare_N & ~left_out_N, "value", "is not a finite number"),
        ((variable_N < 0) & ~left_out_N, "variable", "is unknown to the model"),
        (_out_of_range(variable_N, value_N, vocabulary), "value", "is too far from all values that the model has seen"),
    )
    wrong: dict[int, list[str]] = {}
    for bad_N, column, reason in faults:
        for row in np.flatnonzero(bad_N).tolist():
            fault = _fault(column, table[column].iloc[row], reason)
            wrong.setdefault(int(subject_N[row]), []).append(f"row {row + 1}: {fault}")
    problems = {str(subjects[number]): _shorten(texts) for number, texts in sorted(wrong.items())}
    good = [number for number in range(len(subjects)) if number not in wrong]
    kept = np.where(left_out_N, -1, subject_N)
    packed = _pack(subjects, good, kept, minute_N, variable_N, value_N, vocabulary) if good else None
    unknown: dict[int, dict[str, None]] = {}
    for row in np.flatnonzero(left_out_N).tolist():
        unknown.setdefault(int(subject_N[row]), {})[repr(table["variable"].iloc[row])[:SHOWN]] = None
    left_out = {
        str(subjects[number]): f"rows of codes unknown to the model are left out: {_shorten(list(codes))}"
        for number, codes in unknown.items()
    }
    return EventsTable([str(name) for name in subjects], problems, packed, left_out)


def _left_out(subject_N: NDArray[np.int64], variable_N: NDArray[np.int64], vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """Rows of unknown codes of subjects that have others, where events without a number are kept."""
    known_B = np.bincount(subject_N[variable_N >= 0], minlength=subject_N.max(initial=-1) + 1) > 0
    return (variable_N < 0) & (vocabulary.bare_V is not None) & known_B[subject_N]


def as_pandas(table: pd.DataFrame | pa.Table) -> pd.DataFrame:
    """A table of pandas or Arrow as one of pandas."""
    return table if isinstance(table, pd.DataFrame) else table.to_pandas()


def like(given: AnyTable, answer: pd.DataFrame) -> AnyTable:
    """An answer as a table of the kind that was given."""
    return answer if isinstance(given, pd.DataFrame) else pa.Table.from_pandas(answer, preserve_index=False)


def require_columns(table: pd.DataFrame) -> None:
    """Raises :class:`InputError` where a column of a table of events is missing, or there twice; others do not matter."""
    for column in names.EVENT_COLUMNS:
        if (found := list(table.columns).count(column)) != 1:
            raise InputError(
                f"The table of events {'has' if found else 'lacks'} the column {column!r}{' twice' if found else ''}. "
                f"It needs {', '.join(names.EVENT_COLUMNS)}."
            )


def _pack(
    subjects: NDArray[np.object_],
    good: list[int],
    subject_N: NDArray[np.int64],
    minute_N: NDArray[np.float64],
    variable_N: NDArray[np.int64],
    value_N: NDArray[np.float64],
    vocabulary: Vocabulary,
) -> Packed:
    new_number = np.full(len(subjects), -1)
    new_number[good] = np.arange(len(good))
    order_N = np.argsort(new_number[subject_N], kind="stable")
    order_N = order_N[(subject_N[order_N] >= 0) & (new_number[subject_N[order_N]] >= 0)]
    chunk = Chunk(
        subject_ids=[str(subjects[number]) for number in good],
        files=["table"] * len(good),
        label_B=np.full(len(good), np.nan, dtype=np.float32),
        variables=vocabulary.names,
        subject_N=new_number[subject_N[order_N]],
        minute_N=minute_N[order_N],
        variable_N=variable_N[order_N],
        value_N=value_N[order_N],
        row_N=order_N + 1,
    )
    return arrange(chunk, np.arange(len(vocabulary), dtype=np.int32), vocabulary.set_window)[0]


def _variables(table: pd.DataFrame, vocabulary: Vocabulary, no_number_N: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of each row's variable, -1 for one that the model does not know. A text in place of a number may be part of its name."""
    row_of = {name: row for row, name in enumerate(vocabulary.names)}
    names_N = [name.strip() for name in _names(table["variable"])]
    variable_N = np.array([row_of.get(name, -1) for name in names_N], dtype=np.int64)
    if vocabulary.bare_V is not None:
        for row in np.flatnonzero(no_number_N).tolist():
            cell = table["value"].iloc[row]
            if isinstance(cell, str) and (text := cell.strip()):
                variable_N[row] = row_of.get(f"{names_N[row]}//{text}", -1)
    return variable_N


def _names(column: pd.Series) -> NDArray[np.object_]:
    """Names as text, '' where there is none. A column of whole numbers with a gap reads as floats: 7.0 is the name 7 all the same."""
    if pd.api.types.is_float_dtype(column):
        names_N = ["" if math.isnan(x) else str(int(x)) if x.is_integer() else str(x) for x in column.tolist()]
        return np.array(names_N, dtype=object)
    # Cell by cell: pandas makes no text of bytes or broken UTF-16, which JSON and Parquet may hold.
    missing_N = column.isna().to_numpy()
    names_N = ["" if gone else str(cell) for gone, cell in zip(missing_N, column.tolist(), strict=True)]
    return np.array(names_N, dtype=object)


def _numbers(column: pd.Series) -> NDArray[np.float64]:
    """Numbers, NaN for what is none or does not fit float32."""
    if column.dtype.kind in "mMc":  # dates, durations, complex numbers: pandas would make numbers of them
        return np.full(len(column), np.nan)
    try:
        number = pd.to_numeric(column, errors="coerce")
    except OverflowError:  # a whole number beyond all floats, as JSON may hold
        number = pd.to_numeric(column.astype(str), errors="coerce")
    with np.errstate(over="ignore"):
        number_N = number.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(number_N.astype(np.float32)), number_N, np.nan)


def _out_of_range(
    variable_N: NDArray[np.int64], value_N: NDArray[np.float64], vocabulary: Vocabulary
) -> NDArray[np.bool_]:
    """Finite values of known variables whose distance from the center, in spreads, float32 cannot hold: no unit explains that."""
    row_N = np.maximum(variable_N, 0)
    distance_N = np.abs(value_N - vocabulary.center_V[row_N])
    return (
        (variable_N >= 0) & np.isfinite(value_N) & (distance_N > vocabulary.spread_V[row_N] * np.finfo(np.float32).max)
    )


def _fault(column: str, cell: Any, reason: str) -> str:
    """What is wrong with a cell, which is shown as a person would write it."""
    if pd.api.types.is_scalar(cell) and (pd.isna(cell) or cell == ""):
        return f"{column} is missing"
    text = repr(cell.item() if isinstance(cell, np.generic) else cell)
    return f"{column} {text if len(text) <= SHOWN else text[: SHOWN - 1] + '…'} {reason}"


def _shorten(texts: list[str], shown: int = 3) -> str:
    more = f"; and {len(texts) - shown} more" if len(texts) > shown else ""
    return "; ".join(texts[:shown]) + more
