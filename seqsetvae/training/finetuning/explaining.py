"""Why this risk: what each event of a stay contributes to it, in two ways that are held against each other.

*By value*: integrated gradients (Sundararajan et al. 2017, by captum) on the path from every value at its training median to the values
that were recorded; contributions sum to the difference that these values make. *By deletion*: how the answer changes when the event was
never recorded. The first does not see what the mere fact of a measurement says, the second not what several events say together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor

from seqsetvae.batch import EventBatch
from seqsetvae.data.aligned import keep_events
from seqsetvae.data.by_length import EVENTS_PER_BATCH
from seqsetvae.data.packed import Packed, gather
from seqsetvae.data.times import MICROSECONDS
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError
from seqsetvae.model.classifier import RiskNet

Floats = NDArray[np.float64]

STEPS = 256
"""Of the path: the value encoding has waves of up to 16 periods a spread, and fewer steps miss them."""


@dataclass(frozen=True)
class Contributions:
    """Of the N events of one stay to the output of the head, recalibrated: of risks a logit."""

    by_value_N: Floats
    """0 for events without a number."""
    by_deletion_N: Floats
    """NaN where the stay has no other event."""

    @property
    def agreement(self) -> float:
        """Rank correlation of the two over the stay's events; NaN where one of them is the same for all."""
        there_N = np.isfinite(self.by_deletion_N)
        ranks = [pd.Series(x_N[there_N]).rank().to_numpy() for x_N in (self.by_value_N, self.by_deletion_N)]
        if not there_N.any() or min(np.ptp(one) for one in ranks) == 0:
            return float("nan")
        return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def contributions(net: RiskNet, vocabulary: Vocabulary, stay: Packed) -> Contributions:
    """Of one stay.

    Raises:
        InputError: the head gives several numbers: then there is no one answer to explain.
    """
    with torch.no_grad():
        if net.recalibrated(net.logit(copies(stay, 1, vocabulary))).dim() > 1:
            raise InputError("Only an answer of one number can be explained, such as a risk: this model gives several.")
    return Contributions(by_value(net, vocabulary, stay), by_deletion(net, vocabulary, stay))


def copies(stay: Packed, count: int, vocabulary: Vocabulary) -> EventBatch:
    """One stay several times."""
    return gather(stay, np.zeros(count, dtype=np.int64), vocabulary)


def by_value(net: RiskNet, vocabulary: Vocabulary, stay: Packed) -> Floats:
    """Integrated gradients with respect to the scaled values; 0 is the training median."""

    def answer(value_KN: Tensor) -> Tensor:
        batch = copies(stay, len(value_KN), vocabulary)
        return net.recalibrated(net.logit(replace(batch, value_N=value_KN.reshape(-1))))

    value_1N = copies(stay, 1, vocabulary).value_N[None]
    at_a_time = max(1, EVENTS_PER_BATCH // value_1N.shape[1])
    found = IntegratedGradients(answer).attribute(value_1N, n_steps=STEPS, internal_batch_size=at_a_time)
    return found[0].detach().double().numpy()


@torch.no_grad()
def by_deletion(net: RiskNet, vocabulary: Vocabulary, stay: Packed) -> Floats:
    """The answer less the one of the stay without the event."""
    n_events = len(stay.value_N)
    if n_events == 1:
        return np.full(1, np.nan)
    whole = float(net.recalibrated(net.logit(copies(stay, 1, vocabulary))))
    without = []
    at_a_time = max(1, EVENTS_PER_BATCH // n_events)
    for events in np.split(np.arange(n_events), np.arange(at_a_time, n_events, at_a_time)):
        many = stay.take(np.zeros(len(events), dtype=np.int64))
        keep_KN = np.ones((len(events), n_events), dtype=bool)
        keep_KN[np.arange(len(events)), events] = False
        left = keep_events(many, keep_KN.reshape(-1))
        without.append(net.recalibrated(net.logit(gather(left, np.arange(left.n_subjects), vocabulary))))
    return whole - torch.cat(without).double().numpy()


def explanation_table(net: RiskNet, vocabulary: Vocabulary, packed: Packed) -> pd.DataFrame:
    """A row for each event of some stays: subject, minute, variable, value, by_value, by_deletion."""
    parts = []
    for row in range(packed.n_subjects):
        stay = packed.rows(row, row + 1)
        found = contributions(net, vocabulary, stay)
        columns = {
            "subject": str(stay.subject_id[0]),
            "minute": stay.minute_N + stay.start_B[0] / MICROSECONDS,
            "variable": np.array(vocabulary.names, dtype=object)[stay.variable_N],
            "value": stay.value_N.astype(np.float64),
            "by_value": found.by_value_N,
            "by_deletion": found.by_deletion_N,
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)
