"""Forecasts held against what came: how many values lie inside the bands, and how far off they are, beside the last value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsetvae.data.packed import Packed
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.training.pretrained.forecasting import BANDS

Floats = NDArray[np.float64]

FEWEST = 20
"""Values of a variable, below which it is not said in how many variables a forecast is better."""


@dataclass(frozen=True)
class HeldOut:
    """How bands did on values that were not known."""

    values: int
    coverage_50: float
    """Share inside the band."""
    coverage_90: float
    error: float
    """Mean distance of the median, in the variables' spreads (the vocabulary's scale), where a last value is known."""
    error_of_last: float
    """The same of the last value before."""
    better: int
    """Variables with a smaller error than the last value's."""
    compared: int
    """Variables with enough values."""

    @classmethod
    def of(
        cls, said_LR: Floats, value_R: Floats, last_R: Floats, variable_R: NDArray[np.int64], variables: int
    ) -> HeldOut | None:
        """Of R values on the vocabulary's scale. None: nothing can be compared.

        Args:
            said_LR: quantiles, ascending, of 5, 25, 50, 75 and 95 %; NaN where nothing was said.
            value_R: what came; NaN where nothing did.
            last_R: the last value before; NaN where there is none.
            variable_R: of each.
            variables: V.
        """
        there_R = np.isfinite(value_R) & np.isfinite(said_LR[2])
        if not there_R.any():
            return None
        known_R = there_R & ~np.isnan(last_R)
        error_R, of_last_R = np.abs(said_LR[2] - value_R), np.abs(last_R - value_R)
        count_V = np.bincount(variable_R[known_R], minlength=variables)
        sum_V, sum_of_last_V = (np.bincount(variable_R[known_R], x[known_R], variables) for x in (error_R, of_last_R))
        enough_V = count_V >= FEWEST
        low_90, low_50, _, high_50, high_90 = said_LR
        return cls(
            values=int(there_R.sum()),
            coverage_50=float(((low_50 <= value_R) & (value_R <= high_50))[there_R].mean()),
            coverage_90=float(((low_90 <= value_R) & (value_R <= high_90))[there_R].mean()),
            error=float(error_R[known_R].mean()) if known_R.any() else np.nan,
            error_of_last=float(of_last_R[known_R].mean()) if known_R.any() else np.nan,
            better=int((sum_V < sum_of_last_V)[enough_V].sum()),
            compared=int(enough_V.sum()),
        )

    def __str__(self) -> str:
        return (
            f"  of {self.values:,} values, {100 * self.coverage_50:.1f} % lie inside the 50 % band and "
            f"{100 * self.coverage_90:.1f} % inside the 90 % band; mean error {self.error:.3f} spreads, of the last value "
            f"{self.error_of_last:.3f}; nearer than the last value in {self.better} of {self.compared} variables"
        )


def held_out(table: pd.DataFrame, whole: Packed, cut: Packed, vocabulary: Vocabulary, horizon: float) -> HeldOut | None:
    """Score a table of forecasts. None: nothing came.

    Args:
        table: of :func:`~seqsetvae.training.pretrained.forecasting.forecast_table`, made of `cut`.
        whole: stays as they went on.
        cut: the same stays up to the time of the forecast, perhaps fewer of them.
        vocabulary: of the model.
        horizon: hours.
    """
    variables, stays = len(vocabulary), {str(name): row for row, name in enumerate(cut.subject_id)}
    stay_B = np.array([stays.get(str(name), -1) for name in whole.subject_id])
    later_C = mean_of_cells(whole, vocabulary, stay_B, cut.end_B, cut.end_B + 60.0 * horizon)
    last_C = last_of_cells(cut, vocabulary)
    variable_R = np.array([vocabulary.index(name) for name in table["variable"]])
    cell_R = np.array([stays[name] for name in table["subject"]]) * variables + variable_R
    said_LR = [vocabulary.scale(variable_R, table[name].to_numpy(np.float32)) for name in BANDS]
    return HeldOut.of(np.stack(said_LR).astype(np.float64), later_C[cell_R], last_C[cell_R], variable_R, variables)


def mean_of_cells(
    packed: Packed, vocabulary: Vocabulary, stay_B: NDArray[np.int64], after_B: Floats, until_B: Floats
) -> Floats:
    """Mean scaled value of each stay and variable between two times, end to end; NaN where there is none.

    Args:
        packed: stays.
        vocabulary: V variables.
        stay_B: the number of each stay in the answer, -1 for none.
        after_B: minutes, of each stay of the answer.
        until_B: minutes.
    """
    stay_N, minute_N = stay_B[packed.subject_N], packed.minute_N
    inside_N = (stay_N >= 0) & (minute_N > after_B[stay_N]) & (minute_N <= until_B[stay_N]) & ~np.isnan(packed.value_N)
    variable_N = packed.variable_N[inside_N].astype(np.int64)
    cell_N, cells = stay_N[inside_N] * len(vocabulary) + variable_N, len(after_B) * len(vocabulary)
    total_C = np.bincount(cell_N, vocabulary.scale(variable_N, packed.value_N[inside_N]), cells)
    count_C = np.bincount(cell_N, minlength=cells)
    return np.where(count_C > 0, total_C / np.maximum(count_C, 1), np.nan)


def last_of_cells(packed: Packed, vocabulary: Vocabulary) -> Floats:
    """Last scaled value of each stay and variable, end to end; NaN where there is none."""
    number_N = ~np.isnan(packed.value_N)
    variable_N = packed.variable_N[number_N].astype(np.int64)
    last_C = np.full(packed.n_subjects * len(vocabulary), np.nan)
    # Events ascend in time, and of several assignments numpy keeps the last.
    last_C[packed.subject_N[number_N] * len(vocabulary) + variable_N] = vocabulary.scale(
        variable_N, packed.value_N[number_N]
    )
    return last_C


def last_before(packed: Packed, vocabulary: Vocabulary) -> Floats:
    """The last scaled value of the same stay and variable before each event, (N,); NaN where there is none."""
    number_M = np.flatnonzero(~np.isnan(packed.value_N))
    variable_M = packed.variable_N[number_M].astype(np.int64)
    cell_M = packed.subject_N[number_M] * len(vocabulary) + variable_M
    order_M = np.argsort(cell_M, kind="stable")
    value_M = vocabulary.scale(variable_M, packed.value_N[number_M])[order_M]
    follows_M = cell_M[order_M][1:] == cell_M[order_M][:-1]
    found_N = np.full(len(packed.value_N), np.nan)
    found_N[number_M[order_M][1:][follows_M]] = value_M[:-1][follows_M]
    return found_N
