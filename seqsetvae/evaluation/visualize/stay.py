"""One stay as a model sees it: its posterior over time, and what the decoder says of each variable, with its uncertainty."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from seqsetvae.config import ForecastConfig, ImputeConfig, VisualizeConfig
from seqsetvae.data.aligned import align
from seqsetvae.data.packed import Packed, gather
from seqsetvae.data.store import Store
from seqsetvae.data.units import AS_RECORDED, units_of
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError
from seqsetvae.figures.latent.arrays import StayView, VariableTrace
from seqsetvae.training.pretrained.exported import Pretrained

TRACES = 6
"""Variables that are drawn."""
DRAWS = 200
"""Of the posterior and of a value, for the band of a reconstruction."""
BAND = (0.05, 0.5, 0.95)


def choose_stay(
    store: Store,
    config: VisualizeConfig | ForecastConfig | ImputeConfig,
    rows_B: NDArray[np.int64],
    group: str = "visualize",
) -> int:
    """Row of the stay that is drawn: the one that was asked for, else of some rows the one with the most events.

    Raises:
        InputError: the split has no such patient, or fewer rows.
    """
    in_split = store.n_subjects(config.split)
    if config.patient is not None:
        row = store.row_of(config.split, config.patient)
        if row is None:
            elsewhere = [split for split in store.splits if store.row_of(split, config.patient) is not None]
            where = f"; the patient is in split {elsewhere[0]!r}: --{group}.split {elsewhere[0]}" if elsewhere else ""
            raise InputError(
                f"--{group}.patient is {config.patient!r}, but split {config.split!r} of {store.path} has no such patient among its "
                f"{in_split:,}{where}."
            )
        return row
    if config.patient_row is not None:
        if config.patient_row >= in_split:
            raise InputError(
                f"--{group}.patient_row is {config.patient_row}, but split {config.split!r} of {store.path} has the rows 0 to "
                f"{in_split - 1}."
            )
        return config.patient_row
    first_B = store.first_rows[config.split]
    shard_B = np.searchsorted(first_B, rows_B, side="right") - 1
    events_B = np.zeros(len(rows_B), dtype=np.int64)
    for shard in np.unique(shard_B):
        mine_B = shard_B == shard
        events_B[mine_B] = store.events_per_subject(config.split, int(shard))[rows_B[mine_B] - first_B[shard]]
    return int(rows_B[events_B.argmax()])


def one_packed(store: Store, split: str, vocabulary: Vocabulary, row: int) -> Packed:
    """One stay in the vocabulary of a model. Raises :class:`InputError` where that has none of its variables."""
    packed = align(store, split, vocabulary, np.array([row])).packed
    if not packed.n_subjects:
        raise InputError(
            f"The model knows none of the variables of the patient in row {row} of split {split!r} of {store.path}."
        )
    return packed


def most_recorded(packed: Packed, variables: int) -> NDArray[np.int64]:
    """The variables with most numbers, at most as many as are drawn."""
    count_V = np.bincount(packed.variable_N[~np.isnan(packed.value_N)], minlength=variables)
    return np.argsort(-count_V, kind="stable")[: min(TRACES, int((count_V > 0).sum()))]


@torch.inference_mode()
def view_stay(model: Pretrained, store: Store, split: str, row: int, seed: int = 0) -> StayView:
    """Encode one stay, and draw from what the decoder says of it.

    The band of a value is that of the whole model: each draw takes latents from the posterior, and a value from the decoder's
    distribution given these.

    Raises:
        InputError: the model knows none of the stay's variables.
    """
    vocabulary = model.vocabulary
    packed = one_packed(store, split, vocabulary, row)
    batch = gather(packed, np.array([0]), vocabulary)
    posterior = model.vae.encode(batch)
    set_N, variable_N = batch.set_N.numpy(), batch.variable_N.numpy()
    shown_K = most_recorded(packed, len(vocabulary))
    every_set = torch.arange(batch.n_sets).repeat_interleave(len(shown_K))
    every_shown = torch.from_numpy(shown_K).repeat(batch.n_sets)
    generator = torch.Generator().manual_seed(seed)
    draws = []
    for _ in range(DRAWS):
        noise_SZ = torch.randn(posterior.mu_SZ.shape, generator=generator)
        events = model.vae.decode(posterior.sample(noise_SZ), batch)
        mean_SK, scale_SK = (number.view(batch.n_sets, -1) for number in events.value(every_set, every_shown))
        draws.append(mean_SK + scale_SK * torch.randn(mean_SK.shape, generator=generator))
    # Quantiles on the scale, then in the unit: the scale is monotone.
    band_QSK = np.quantile(torch.stack(draws).numpy(), BAND, axis=0)
    units, hour_S = units_of(store), batch.minute_S.numpy().astype(np.float64) / 60.0
    traces = []
    for place, variable in enumerate(shown_K.tolist()):
        low_S, middle_S, high_S = vocabulary.said(np.array([variable]), band_QSK[:, :, place])
        here_N = np.flatnonzero((variable_N == variable) & ~np.isnan(packed.value_N))
        traces.append(
            VariableTrace(
                name=vocabulary.names[variable],
                unit=units.get(vocabulary.names[variable], AS_RECORDED),
                hour_S=hour_S,
                hour_T=hour_S[set_N[here_N]],
                recorded_T=packed.value_N[here_N].astype(np.float64),
                low_S=low_S,
                middle_S=middle_S,
                high_S=high_S,
            )
        )
    return StayView(
        row=row,
        label=float(packed.label_B[0]),
        hour_S=hour_S,
        events_S=np.bincount(set_N, minlength=batch.n_sets),
        mu_SZ=posterior.mu_SZ.numpy(),
        sd_SZ=(0.5 * posterior.logvar_SZ).exp().numpy(),
        traces=tuple(traces),
    )
