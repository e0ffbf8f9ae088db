"""An external cohort: prepared with the vocabulary, scaling and set window of a model, so that it is seen as the model's own data were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from seqsetvae.data.overview import stays_with
from seqsetvae.data.preparation import Preparation
from seqsetvae.data.sources.base import SPLITS, Chunk
from seqsetvae.data.statistics import Values, statistics
from seqsetvae.data.store import VOCABULARY
from seqsetvae.data.vocabulary import Scaling, Vocabulary
from seqsetvae.errors import InputError

WITHOUT_A_NUMBER = "without a number"


@dataclass(frozen=True)
class KnownVocabulary:
    """That of a model."""

    model: str
    """What the user calls it."""
    vocabulary: Vocabulary

    @property
    def bare(self) -> set[str]:
        """Variables whose events may come without a number."""
        bare_V = self.vocabulary.bare_V
        return set() if bare_V is None else {self.vocabulary.names[row] for row in np.flatnonzero(bare_V)}


@dataclass
class ExternalPreparation(Preparation):
    """As :class:`Preparation`, but nothing is learned from the cohort: what the model does not know is left out, and counted.

    A split may be empty: all of them are the model's test data.
    """

    known: KnownVocabulary = field(kw_only=True)

    def write_splits(self) -> None:
        names = self.known.vocabulary.names
        self.number = {name: row for row, name in enumerate(names)}
        for split in SPLITS:
            self.shards += self._write_split(split, is_train=False)
        if not self.shards:
            raise InputError(
                f"{self.known.model} knows no variable of any stay: they are matched by name, and it was trained with "
                f"{', '.join(names[:5])}, ... The stays have {', '.join(sorted(self.report.unknown_variables)[:5])}, ..."
            )
        pieces = (packed for split in SPLITS for packed in self._packed(split))
        self.subjects_with = np.sum([stays_with(packed, len(names)) for packed in pieces], axis=0)
        self.report.absent_variables = [names[row] for row in np.flatnonzero(self.subjects_with == 0)]

    @property
    def strangers_are_expected(self) -> bool:
        return True

    def _leave_out_unknown(self, chunk: Chunk, split: str) -> Chunk:
        return super()._leave_out_unknown(without_number_apart(chunk, set(self.number) - self.known.bare), split)

    def write_vocabulary(self, scaling: Scaling) -> None:
        self._look_for_far_values(self.known.vocabulary, SPLITS)

        def values() -> Iterator[Values]:
            for split in SPLITS:
                for packed in self._packed(split):
                    yield packed.variable_N, packed.value_N

        self.write_overview(statistics(values, len(self.number)), SPLITS)
        table = self.known.vocabulary.to_table()
        with pa.ipc.new_file(str(self.folder / VOCABULARY), table.schema) as writer:
            writer.write_table(table)


def without_number_apart(chunk: Chunk, numeric: set[str]) -> Chunk:
    """Events without a number, of variables that the model knows with numbers only, as events of another variable, which it does not know.

    >>> chunk = Chunk(
    ...     ["7"], ["7.parquet"], np.array([np.nan], np.float32), ["HR", "Drug"], subject_N=np.zeros(3, int),
    ...     minute_N=np.zeros(3), variable_N=np.array([0, 0, 1]), value_N=np.array([80.0, np.nan, np.nan]), row_N=np.arange(3),
    ... )
    >>> apart = without_number_apart(chunk, {"HR"})
    >>> [apart.variables[number] for number in apart.variable_N]
    ['HR', 'HR without a number', 'Drug']
    """
    names = list(chunk.variables)
    is_numeric = np.array([name in numeric for name in names] or [False])
    apart_N = np.isnan(chunk.value_N) & is_numeric[chunk.variable_N]
    if not apart_N.any():
        return chunk
    others = [f"{name} {WITHOUT_A_NUMBER}" for name in names]
    return replace(
        chunk, variables=names + others, variable_N=np.where(apart_N, chunk.variable_N + len(names), chunk.variable_N)
    )
