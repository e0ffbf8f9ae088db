"""One pass of a model over some stays of a split: posteriors and reconstruction errors, in memory that does not grow with the data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from seqsetvae.batch import EventBatch
from seqsetvae.collapse.information import DecoderInformation
from seqsetvae.config import PretrainConfig, VisualizeConfig
from seqsetvae.data.aligned import align
from seqsetvae.data.packed import Packed, gather
from seqsetvae.data.store import Store
from seqsetvae.data.units import AS_RECORDED, units_of
from seqsetvae.errors import InputError
from seqsetvae.evaluation.visualize.reservoir import Reservoir
from seqsetvae.evaluation.visualize.severity import Severity
from seqsetvae.evaluation.visualize.told import Told
from seqsetvae.figures.latent.arrays import LatentSample, Quartiles, VariableError, VariableTold
from seqsetvae.posterior import DiagonalGaussian
from seqsetvae.progress import ProgressBar
from seqsetvae.training.module import PretrainModule
from seqsetvae.training.monitor.decoder_probe import Heard, ask
from seqsetvae.training.monitor.latents import WHOLE
from seqsetvae.training.monitor.offered import as_latents
from seqsetvae.training.pretrained.exported import Pretrained

SETS_KEPT = 4000
"""Posteriors that are kept. From 4096 on UMAP searches neighbors approximately, which takes several times as long and shows no more."""
EVENTS_KEPT = 20_000
"""Reconstruction errors of one variable that are kept."""
USE_BATCHES = 20
"""Batches on which decoder use is measured, each on its first 256 sets or so."""


@dataclass(frozen=True)
class Sampled:
    """What one pass over the stays has found."""

    latents: LatentSample
    errors: tuple[VariableError, ...]
    """Of the variables that were recorded at least once, in the order of the vocabulary."""
    told: tuple[VariableTold, ...] = ()
    """Of those with enough values."""
    unknown: dict[str, int] = field(default_factory=dict)
    """Events left out, by variable that the model does not know."""
    without_events: int = 0
    """Stays left out because the model knows none of their variables."""


def draw_rows(store: Store, config: VisualizeConfig) -> NDArray[np.int64]:
    """Rows of some stays of the split, ascending, all with the same chance. Raises :class:`InputError` for a split that the store lacks."""
    in_split = store.n_subjects(config.split)
    wanted = min(in_split, config.max_batches * config.batch_size)
    chosen = np.random.default_rng(config.seed).choice(in_split, wanted, replace=False, shuffle=False)
    return np.sort(chosen).astype(np.int64)


@torch.inference_mode()
def sample(
    model: Pretrained,
    store: Store,
    config: VisualizeConfig,
    rows_B: NDArray[np.int64],
    before: Pretrained | None = None,
) -> Sampled:
    """Encode and reconstruct the drawn stays, batch by batch, with a progress bar.

    `before` is asked as well what its latents tell of each variable. It knows the same ones.

    Raises:
        InputError: the model knows none of their variables, or not the one that severity was to be.
    """
    vocabulary = model.vocabulary
    severity = Severity.choose(vocabulary, units_of(store), config.severity)
    posteriors = Reservoir(SETS_KEPT, 1, config.seed)
    errors = Reservoir(EVENTS_KEPT, len(vocabulary), config.seed)
    uses: list[tuple[float, int]] = []
    tellers = [Told(one) for one in (model, before) if one is not None]
    unknown: dict[str, int] = {}
    stays = without_events = 0
    pieces = np.split(rows_B, np.arange(config.batch_size, len(rows_B), config.batch_size))
    for piece in ProgressBar(pieces, desc="visualize", unit="batch"):
        aligned = align(store, config.split, vocabulary, piece)
        packed = aligned.packed
        without_events += aligned.without_events
        unknown = {name: unknown.get(name, 0) + aligned.unknown.get(name, 0) for name in unknown | aligned.unknown}
        if not packed.n_subjects:
            continue
        batch = gather(packed, np.arange(packed.n_subjects), vocabulary)
        posterior = model.vae.encode(batch)
        stay_S = batch.subject_S.numpy() + stays
        label_S = batch.label_B[batch.subject_S].numpy()
        columns = [batch.minute_S.numpy() / 60.0, label_S, severity.of(packed, vocabulary), stay_S]
        news = model.vae.news(posterior, batch)
        posteriors.add(
            np.zeros(batch.n_sets, dtype=np.int64),
            np.column_stack([*columns, news.mu_SZ.numpy(), news.logvar_SZ.numpy()]),
        )
        number_N = ~np.isnan(packed.value_N)
        errors.add(batch.variable_N.numpy()[number_N], reconstruction_errors(model, batch, posterior, packed)[number_N])
        if len(uses) < USE_BATCHES:
            uses.append((measure_use(model, batch, len(uses)), batch.n_sets))
        for teller in tellers:
            teller.add(batch)
        stays += packed.n_subjects
    if not stays:
        raise InputError(f"The model knows no variable of any of the {len(rows_B)} drawn stays of {store.path}.")
    hour_S, label_S, severity_S, stay_S, *moments = posteriors.rows(0).T
    mu_ZS, logvar_ZS = np.split(np.array(moments, dtype=np.float32), 2)
    known = [(value, sets) for value, sets in uses if math.isfinite(value)]
    use = sum(value * sets for value, sets in known) / sum(sets for _, sets in known) if known else math.nan
    return Sampled(
        latents=LatentSample(
            mu_SZ=mu_ZS.T,
            logvar_SZ=logvar_ZS.T,
            hour_S=hour_S,
            label_S=label_S,
            severity_S=severity_S,
            severity=severity.label,
            stay_S=stay_S.astype(np.int64),
            stays=stays,
            sets=int(posteriors.seen[0]),
            decoder_use=use,
        ),
        errors=tuple(summaries(errors, model, store)),
        told=tuple(told_of(*(teller.by_variable() for teller in tellers))),
        unknown=unknown,
        without_events=without_events,
    )


def reconstruction_errors(
    model: Pretrained, batch: EventBatch, posterior: DiagonalGaussian, packed: Packed
) -> NDArray[np.float64]:
    """(N, 2) absolute errors in the variables' units: of the reconstruction from the posterior means, and of the training median.

    The scale is monotone, so that the decoder's mean on it is the median in the variable's unit.
    """
    vocabulary = model.vocabulary
    mean_N, _ = model.vae.decode(posterior.mu_SZ, batch).value(batch.set_N, batch.variable_N)
    variable_N = batch.variable_N.numpy()
    recorded_N = packed.value_N.astype(np.float64)
    said_N = vocabulary.unscale(variable_N, mean_N.numpy())
    return np.column_stack([np.abs(recorded_N - said_N), np.abs(recorded_N - vocabulary.center_V[variable_N])])


def measure_use(model: Pretrained, batch: EventBatch, seed: int) -> float:
    """Rise in negative log-likelihood, nats per set, when latents are exchanged between stays: as the collapse monitor measures it."""
    module = PretrainModule(PretrainConfig(), model.vae, total_steps=1).eval()
    found = ask(module, Heard(batch, as_latents(module.encode(batch)), 0), [], torch.Generator().manual_seed(seed))
    return math.nan if found is None else float(found.information()[WHOLE].use)


def summaries(errors: Reservoir, model: Pretrained, store: Store) -> Iterator[VariableError]:
    """Quartiles of each variable that was recorded."""
    units = units_of(store)
    for variable, name in enumerate(model.vocabulary.names):
        if errors.seen[variable]:
            model_T, median_T = errors.rows(variable).T
            yield VariableError(
                name=name,
                unit=units.get(name, AS_RECORDED),
                events=int(errors.seen[variable]),
                model=Quartiles.of(model_T),
                training_median=Quartiles.of(median_T),
            )


def told_of(
    now: Mapping[str, DecoderInformation], before: Mapping[str, DecoderInformation] | None = None
) -> Iterator[VariableTold]:
    """What reaches the decoder of each variable, beside what did."""
    for name, found in now.items():
        earlier = None if before is None else float(before[name].bound)
        yield VariableTold(name, float(found.bound), float(found.error), earlier)
