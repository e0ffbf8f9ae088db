"""How far the bands of forecasts have to be widened or narrowed to hold what they promise: split conformal prediction, by variable."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from seqsetvae.data.aligned import align
from seqsetvae.data.by_length import by_length
from seqsetvae.data.store import Store
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.evaluation.left_out import FEWEST, conformal_by_variable
from seqsetvae.model.history_heads import history_targets
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.pretrained.forecasting import Stretch, window_of

Floats = NDArray[np.float64]


def stretch_for(value_E: Floats, variable_E: NDArray[np.int64], quantile_QE: Floats, variables: int) -> Stretch:
    """What makes the bands of E forecasts hold as many of the values that came as they promise (Lei et al. 2018; Romano et al. 2019).

    Scores are distances from the median in units of the band's own half on that side, so that a lopsided band stays lopsided. Variables
    with fewer than 30 values get the factor of all together, and bands stay as they are where even these are too few.

    >>> rng = np.random.default_rng(0)
    >>> value, nothing = rng.normal(size=4000), np.zeros(4000, dtype=np.int64)
    >>> too_wide = np.repeat(2 * np.array([[-1.645], [-0.674], [0.0], [0.674], [1.645]]), 4000, axis=1)
    >>> found = stretch_for(value, nothing, too_wide, variables=1)
    >>> bool(abs(found.factor_50_V[0] - 0.5) < 0.03), bool(abs(found.factor_90_V[0] - 0.5) < 0.03)
    (True, True)
    """
    if len(value_E) < FEWEST:
        return Stretch(np.ones(variables), np.ones(variables))
    low_90, low_50, median, high_50, high_90 = quantile_QE
    return Stretch(
        *(
            conformal_by_variable(Stretch.distance(value_E, low, median, high), variable_E, variables, share)
            for low, high, share in ((low_50, high_50, 0.5), (low_90, high_90, 0.9))
        )
    )


@torch.inference_mode()
def stretch_on(
    vae: SeqSetVAE,
    vocabulary: Vocabulary,
    store: Store,
    horizon: float,
    stays: int,
    split: str = "valid",
    seed: int = 0,
) -> Stretch:
    """:func:`stretch_for` the forecasts from every set of some stays of a split, drawn at random.

    Raises:
        InputError: see :func:`~seqsetvae.training.pretrained.forecasting.window_of`.
    """
    window = window_of(vae, horizon)
    assert vae.history_heads is not None
    packed = align(store, split, vocabulary).packed
    rows = np.sort(np.random.default_rng(seed).permutation(packed.n_subjects)[:stays])
    _, batches = by_length(packed.take(rows), vocabulary)
    values, variables, quantiles = [], [], []
    for batch in batches:
        targets = history_targets(batch, len(vocabulary), vae.history_heads.hours)
        said = vae.history_heads.forecast(vae.state(vae.encode(batch).mu_SZ, batch), batch)
        there_SV = targets.valued_WSV[window]
        values.append(targets.later_WSV[window][there_SV].double().numpy())
        variables.append(there_SV.nonzero()[:, 1].numpy())
        quantiles.append(said.quantile_QWSV[:, window][:, there_SV].double().numpy())
    return stretch_for(
        np.concatenate(values), np.concatenate(variables), np.concatenate(quantiles, axis=1), len(vocabulary)
    )
