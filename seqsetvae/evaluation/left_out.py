"""Values of a store that are left out one by one and filled in again: how far the bands have to be widened, and how far off they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.aligned import align
from seqsetvae.data.store import Store
from seqsetvae.data.times import microseconds
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.evaluation.held_out import HeldOut, last_before
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.pretrained.imputing import Imputed, Questions, Widening, impute

Floats = NDArray[np.float64]

BANDS = (0.5, 0.9)
FEWEST = 30
"""Left-out values below which a variable's bands are widened as those of all together."""


@dataclass(frozen=True)
class LeftOut:
    """Q recorded values with what was said of them when they were hidden."""

    said: Imputed
    variable_Q: NDArray[np.int64]
    value_Q: Floats
    """On the vocabulary's scale."""
    last_Q: Floats
    """The variable's last value before, NaN where there is none."""

    def widening(self, variables: int) -> Widening:
        """Split conformal prediction (Lei et al. 2018) of |value - mean| / sd, by variable.

        A further value lies inside a band as often as it says, whatever the model thinks of itself.
        """
        there_Q = np.isfinite(self.said.mean_Q)
        distance_Q = (np.abs(self.value_Q - self.said.mean_Q) / self.said.sd_Q)[there_Q]
        variable_Q = self.variable_Q[there_Q]
        return Widening(*(conformal_by_variable(distance_Q, variable_Q, variables, share) for share in BANDS))

    def scores(self, variables: int, widening: Widening | None = None) -> HeldOut | None:
        """How the bands did, the model's own or widened ones."""
        said_LQ = self.said.quantiles(self.variable_Q, widening)
        return HeldOut.of(said_LQ, self.value_Q, self.last_Q, self.variable_Q, variables)


def conformal_quantile(distance_Q: Floats, share: float) -> float:
    """The distance that a further one stays below with this probability, if it is like the others.

    >>> conformal_quantile(np.arange(1.0, 10.0), 0.9), conformal_quantile(np.arange(1.0, 10.0), 0.5)
    (9.0, 5.0)
    """
    rank = int(np.ceil((len(distance_Q) + 1) * share))
    return float(np.sort(distance_Q)[min(rank, len(distance_Q)) - 1])


def conformal_by_variable(distance_Q: Floats, variable_Q: NDArray[np.int64], variables: int, share: float) -> Floats:
    """:func:`conformal_quantile` of each of V variables' distances, (V,); that of all together where there are fewer than 30 of them."""
    found_V = np.full(variables, conformal_quantile(distance_Q, share))
    ends_V = np.cumsum(np.bincount(variable_Q, minlength=variables))
    for variable, own in enumerate(np.split(distance_Q[np.argsort(variable_Q, kind="stable")], ends_V[:-1])):
        if len(own) >= FEWEST:
            found_V[variable] = conformal_quantile(own, share)
    return found_V


def leave_out(vae: SeqSetVAE, vocabulary: Vocabulary, store: Store, split: str, values: int, seed: int = 0) -> LeftOut:
    """Hide some recorded values of a split, drawn at random, each by itself, and ask for them."""
    packed = align(store, split, vocabulary).packed
    subject_N, set_N = packed.subject_N, packed.set_N
    usable_N = np.flatnonzero(~np.isnan(packed.value_N) & (set_N > packed.first_set[subject_N]))
    chosen = np.sort(np.random.default_rng(seed).permutation(usable_N)[:values])
    variable_Q = packed.variable_N[chosen].astype(np.int64)
    # Two values of one set are two places: neither hides the other.
    points = Questions(
        stay_P=subject_N[chosen],
        microsecond_P=microseconds(packed.minute_N[chosen].astype(np.float64)),
        place_Q=np.arange(len(chosen)),
        variable_Q=variable_Q,
    )
    value_Q = vocabulary.scale(variable_Q, packed.value_N[chosen]).astype(np.float64)
    return LeftOut(
        impute(vae, vocabulary, packed, points), variable_Q, value_Q, last_before(packed, vocabulary)[chosen]
    )
