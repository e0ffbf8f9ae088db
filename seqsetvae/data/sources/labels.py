"""Outcomes of subjects from a small table: read once, matched by a stated rule, every row and every subject accounted for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from seqsetvae.data.sources.base import LabelMatch, normalise_id
from seqsetvae.data.tables import as_number, read_table
from seqsetvae.errors import InputError

NO_LABEL = ("", "nan", "na", "none", "null", "<na>")


@dataclass
class Labels:
    """Outcome of each subject, and what is wrong with the outcome of some."""

    files: list[str] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)
    """By subject: its id as the table writes it, of every row, also where the label is empty."""
    rows: int = 0

    def of(self, subject_id: str) -> float:
        """0, 1, or NaN where the table has no outcome for the subject: never a guess. Raises InputError for an unusable one."""
        if subject_id in self.problems:
            raise InputError(self.problems[subject_id])
        return self.values.get(subject_id, float("nan"))

    def update(self, other: Labels) -> None:
        self.files += other.files
        self.values.update(other.values)
        self.problems.update(other.problems)
        self.spelled.update(other.spelled)
        self.rows += other.rows

    def match(self, subject_ids: Collection[str]) -> LabelMatch | None:
        """How rows and subjects found each other; None without a table.

        Raises:
            InputError: there are rows, but none is of a subject.

        >>> Labels(["oc.csv"], {"1": 0.0}, {}, {"1": "1"}, rows=18).match({"00001"})
        Traceback (most recent call last):
        seqsetvae.errors.InputError: oc.csv: 18 rows, 0 match a stay, e.g. '1' against '00001'. Write the ids as the stays are called.
        """
        if not self.files:
            return None
        missing = [spelled for name, spelled in self.spelled.items() if name not in subject_ids]
        names = ", ".join(self.files)
        if self.rows and subject_ids and len(missing) == len(self.spelled):
            raise InputError(
                f"{names}: {self.rows} rows, 0 match a stay, e.g. {missing[0]!r} against {min(subject_ids)!r}. "
                "Write the ids as the stays are called."
            )
        return LabelMatch(names, self.rows, len(missing), missing[0] if missing else "")


def read_labels(path: Path, id_column: str, label_column: str) -> Labels:
    """Read an outcome table: .csv, .csv.gz or .parquet. An empty label is no label.

    Ids are those of :func:`seqsetvae.data.sources.base.normalise_id`: as written, but without blanks around them, `.0` behind them, or
    scientific notation. Raises InputError if the file or a column is missing or no table; a label other than 0 or 1 and contradicting
    rows are kept as problems of their subject, so that they count only where the subject occurs.
    """
    table = read_table(path)
    labels = Labels([str(path)], rows=len(table.rows))
    first_row: dict[str, int] = {}
    cells = zip(table.column(id_column), table.column(label_column), strict=True)
    for row, (raw_id, text) in enumerate(cells, start=1):
        subject_id = normalise_id(raw_id)
        labels.spelled.setdefault(subject_id, raw_id)
        if text.lower() in NO_LABEL:
            continue
        label = {"true": 1.0, "false": 0.0}.get(text.lower(), as_number(text))
        if label not in (0.0, 1.0):
            labels.problems[subject_id] = (
                f"{path}, row {row}, column {label_column!r}: {text[:40]!r} is not a label. Use 0 or 1, or leave the cell empty."
            )
        elif labels.values.setdefault(subject_id, label) != label:
            labels.problems[subject_id] = (
                f"{path}, row {row}: subject {subject_id!r} has label {label:g} here and "
                f"{labels.values[subject_id]:g} in row {first_row[subject_id]}. Keep one of the two rows."
            )
        first_row.setdefault(subject_id, row)
    return labels
