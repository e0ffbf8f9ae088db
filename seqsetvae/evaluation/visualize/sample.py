"""One pass of a model over some stays of a split: posteriors and reconstruction errors, in memory that does not grow with the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqsetvae.batch import EventBatch
from seqsetvae.collapse.information import DecoderInformation
from seqsetvae.config import VisualizeConfig
from seqsetvae.data.aligned import align
from seqsetvae.data.packed import Packed, gather
from seqsetvae.data.store import Store
from seqsetvae.data.units import AS_RECORDED, units_of
from seqsetvae.errors import InputError
from seqsetvae.evaluation.visualize.reservoir import Reservoir
from seqsetvae.evaluation.visualize.severity import Severity
from seqsetvae.evaluation.visualize.told import Told
from seqsetvae.figures.latent.arrays import LatentSample, Quartiles, VariableError, VariableTold
from seqsetvae.progress import ProgressBar
from seqsetvae.training.monitor.latents import Latents
from seqsetvae.training.pretrained.exported import Pretrained

SETS_KEPT = 4000
"""Posteriors that are kept. From 4096 on UMAP searches neighbors approximately, which takes several times as long and shows no more."""
EVENTS_KEPT = 20_000
"""Reconstruction errors of one variable that are kept."""


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
    told, told_before = Told(model), None if before is None else Told(before)
    gathered = Gathered(model, store, config)
    unknown: dict[str, int] = {}
    without_events = 0
    pieces = np.split(rows_B, np.arange(config.batch_size, len(rows_B), config.batch_size))
    for piece in ProgressBar(pieces, desc="visualize", unit="batch"):
        aligned = align(store, config.split, model.vocabulary, piece)
        without_events += aligned.without_events
        unknown = {name: unknown.get(name, 0) + aligned.unknown.get(name, 0) for name in unknown | aligned.unknown}
        if not aligned.packed.n_subjects:
            continue
        batch = gather(aligned.packed, np.arange(aligned.packed.n_subjects), model.vocabulary)
        latents = told.encode(batch)
        gathered.add(aligned.packed, batch, latents)
        told.add_use(batch, latents)
        told.add(batch, latents)
        if told_before is not None:
            told_before.add(batch, told_before.encode(batch))
    if not gathered.stays:
        raise InputError(f"The model knows no variable of any of the {len(rows_B)} drawn stays of {store.path}.")
    return Sampled(
        latents=gathered.latents(told.use),
        errors=tuple(gathered.errors()),
        told=tuple(told_of(*(one.by_variable() for one in (told, told_before) if one is not None))),
        unknown=unknown,
        without_events=without_events,
    )


class Gathered:
    """Posteriors and reconstruction errors of the stays so far, as many as are kept."""

    def __init__(self, model: Pretrained, store: Store, config: VisualizeConfig) -> None:
        self.stays = 0
        self._model = model
        self._units = units_of(store)
        self._severity = Severity.choose(model.vocabulary, self._units, config.severity)
        self._posteriors = Reservoir(SETS_KEPT, 1, config.seed)
        self._errors = Reservoir(EVENTS_KEPT, len(model.vocabulary), config.seed)

    def add(self, packed: Packed, batch: EventBatch, latents: Latents) -> None:
        """Take in a batch, of which `packed` holds the values as they were recorded."""
        label_S = batch.label_B[batch.subject_S].numpy()
        stay_S = batch.subject_S.numpy() + self.stays
        columns = [batch.minute_S.numpy() / 60.0, label_S, self._severity.of(packed, self._model.vocabulary), stay_S]
        news = latents.residual
        self._posteriors.add(
            np.zeros(batch.n_sets, dtype=np.int64),
            np.column_stack([*columns, news.mu_SZ.numpy(), news.logvar_SZ.numpy()]),
        )
        number_N = ~np.isnan(packed.value_N)
        means_SZ = latents.as_offered(news.mu_SZ)
        errors_N2 = reconstruction_errors(self._model, batch, means_SZ, packed)
        self._errors.add(batch.variable_N.numpy()[number_N], errors_N2[number_N])
        self.stays += packed.n_subjects

    def latents(self, decoder_use: float) -> LatentSample:
        """The posteriors that were kept, with what the decoder makes of them."""
        hour_S, label_S, severity_S, stay_S, *moments = self._posteriors.rows(0).T
        mu_ZS, logvar_ZS = np.split(np.array(moments, dtype=np.float32), 2)
        return LatentSample(
            mu_SZ=mu_ZS.T,
            logvar_SZ=logvar_ZS.T,
            hour_S=hour_S,
            label_S=label_S,
            severity_S=severity_S,
            severity=self._severity.label,
            stay_S=stay_S.astype(np.int64),
            stays=self.stays,
            sets=int(self._posteriors.seen[0]),
            decoder_use=decoder_use,
        )

    def errors(self) -> Iterator[VariableError]:
        """Quartiles of each variable that was recorded."""
        for variable, name in enumerate(self._model.vocabulary.names):
            if self._errors.seen[variable]:
                model_T, median_T = self._errors.rows(variable).T
                yield VariableError(
                    name=name,
                    unit=self._units.get(name, AS_RECORDED),
                    events=int(self._errors.seen[variable]),
                    model=Quartiles.of(model_T),
                    training_median=Quartiles.of(median_T),
                )


def reconstruction_errors(
    model: Pretrained, batch: EventBatch, means_SZ: Tensor, packed: Packed
) -> NDArray[np.float64]:
    """(N, 2) absolute errors in the variables' units: of the reconstruction from the posterior means, and of the training median.

    The scale is monotone, so that the decoder's mean on it is the median in the variable's unit.
    """
    vocabulary = model.vocabulary
    mean_N, _ = model.vae.decode(means_SZ, batch).value(batch.set_N, batch.variable_N)
    variable_N = batch.variable_N.numpy()
    recorded_N = packed.value_N.astype(np.float64)
    said_N = vocabulary.unscale(variable_N, mean_N.numpy())
    return np.column_stack([np.abs(recorded_N - said_N), np.abs(recorded_N - vocabulary.center_V[variable_N])])


def told_of(
    now: Mapping[str, DecoderInformation], before: Mapping[str, DecoderInformation] | None = None
) -> Iterator[VariableTold]:
    """What reaches the decoder of each variable, beside what did."""
    for name, found in now.items():
        earlier = None if before is None else float(before[name].bound)
        yield VariableTold(name, float(found.bound), float(found.error), earlier)
