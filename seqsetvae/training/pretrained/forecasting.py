"""What a pretrained model expects of the hours behind the last set of each stay: values with bands, and the chance that they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from seqsetvae.data.by_length import by_length
from seqsetvae.data.packed import Packed
from seqsetvae.data.times import MICROSECONDS
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError
from seqsetvae.model.vae import SeqSetVAE

Floats = NDArray[np.float64]

BANDS = ("low_90", "low_50", "value", "high_50", "high_90")
"""Columns of a table: the quantiles of 5, 25, 50, 75 and 95 %."""


NARROWEST = 1e-3
"""Spreads: least half of a band, so that one without width can be widened."""


@dataclass(frozen=True)
class Stretch:
    """What the halves of both bands of each of V variables are multiplied by, on the vocabulary's scale."""

    factor_50_V: Floats
    factor_90_V: Floats

    @staticmethod
    def distance(value: Floats, low: Floats, median: Floats, high: Floats) -> Floats:
        """Of values from the median, in halves of a band on their side: 1 is its edge."""
        half = np.where(value >= median, high - median, median - low)
        return np.asarray(np.abs(value - median) / np.maximum(half, NARROWEST))

    def of(self, quantile_QXV: Floats) -> Floats:
        """The quantiles, stretched; they ascend still."""
        low_90, low_50, median, high_50, high_90 = quantile_QXV
        said: list[Floats] = []
        for low, high, factor_V in ((low_50, high_50, self.factor_50_V), (low_90, high_90, self.factor_90_V)):
            said.append(median - factor_V * np.maximum(median - low, NARROWEST))
            said.append(median + factor_V * np.maximum(high - median, NARROWEST))
        low_50, high_50, low_90, high_90 = said
        return np.stack([np.minimum(low_90, low_50), low_50, median, high_50, np.maximum(high_90, high_50)])


@dataclass(frozen=True)
class Expected:
    """Of B stays and V variables, in the variables' units."""

    chance_BV: Floats
    """That the variable is measured within the horizon, where the stay goes on so long."""
    quantile_QBV: Floats
    """Ascending, in the order of :data:`BANDS`: of the mean of the variable's values within the horizon."""


def window_of(vae: SeqSetVAE, horizon: float) -> int:
    """Which window of the model's heads a horizon is.

    Raises:
        InputError: it is none, or the model has no heads that foresee.
    """
    heads = vae.history_heads
    if heads is None or not heads.hours:
        raise InputError(
            "The model cannot forecast: it was trained without heads that foresee. Pretrain it with --model.foresee_hours [1,6,24]."
        )
    if heads.quantiles is None:
        raise InputError(
            "The model is of an earlier version, whose heads give no bands of a forecast. Pretrain it again."
        )
    known = ", ".join(f"{hours:g}" for hours in heads.hours)
    if not horizon > 0.0:
        raise InputError(f"The horizon is {horizon:g} hours, but must be above 0: the model foresees {known} hours.")
    if horizon not in heads.hours:
        raise InputError(
            f"The horizon is {horizon:g} hours, but the model foresees {known} hours (--model.foresee_hours of its pretraining)."
        )
    return list(heads.hours).index(horizon)


def rows_of_variables(vocabulary: Vocabulary, variables: Sequence[str] | None) -> NDArray[np.int64]:
    """Rows of some variables, or of all.

    Raises:
        InputError: the model does not know one of them.
    """
    if variables is None:
        return np.arange(len(vocabulary))
    if unknown := [name for name in variables if name not in vocabulary.names]:
        known = ", ".join(vocabulary.names[:8])
        raise InputError(
            f"Variable {unknown[0]!r} is unknown to the model; it knows {known}{', ...' * (len(vocabulary) > 8)}."
        )
    return np.array([vocabulary.index(name) for name in variables], dtype=np.int64)


@torch.inference_mode()
def expect(
    vae: SeqSetVAE, vocabulary: Vocabulary, packed: Packed, horizon: float, stretch: Stretch | None = None
) -> Expected:
    """The forecast from the last set of each stay; the states are computed from posterior means, so that it is always the same.

    Its bands are the model's own, or stretched.

    Raises:
        InputError: see :func:`window_of`.
    """
    window = window_of(vae, horizon)
    assert vae.history_heads is not None
    order_B, batches = by_length(packed, vocabulary)
    chances, quantiles = [], []
    for batch in batches:
        said = vae.history_heads.forecast(vae.state(vae.encode(batch).mu_SZ, batch), batch)
        last_B = batch.last_set_B
        chances.append(said.chance_WSV[window, last_B].double().numpy())
        quantiles.append(said.quantile_QWSV[:, window, last_B].double().numpy())
    back_B = np.argsort(order_B)
    scaled_QBV = np.concatenate(quantiles, axis=1)[:, back_B]
    scaled_QBV = scaled_QBV if stretch is None else stretch.of(scaled_QBV)
    # The scale is monotone: quantiles of the value are the values of its quantiles.
    every_QBV = np.broadcast_to(np.arange(len(vocabulary)), scaled_QBV.shape)
    return Expected(np.concatenate(chances)[back_B], vocabulary.said(every_QBV, scaled_QBV))


def forecast_table(
    vae: SeqSetVAE,
    vocabulary: Vocabulary,
    packed: Packed,
    horizon: float,
    variables: Sequence[str] | None = None,
    stretch: Stretch | None = None,
) -> pd.DataFrame:
    """A row for each stay and variable: subject, minute (of the last set), hours, variable, chance, and the columns of :data:`BANDS`."""
    shown_K = rows_of_variables(vocabulary, variables)
    found = expect(vae, vocabulary, packed, horizon, stretch)
    minute_B = packed.end_B + packed.start_B / MICROSECONDS
    many = len(shown_K)
    return pd.DataFrame(
        {
            "subject": np.repeat([str(name) for name in packed.subject_id], many),
            "minute": np.repeat(minute_B, many),
            "hours": horizon,
            "variable": np.tile(np.array(vocabulary.names, dtype=object)[shown_K], packed.n_subjects),
            "chance": found.chance_BV[:, shown_K].reshape(-1),
            **dict(zip(BANDS, found.quantile_QBV[:, :, shown_K].reshape(len(BANDS), -1), strict=True)),
        }
    )
