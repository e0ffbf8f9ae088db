"""Labelled stays as a classifier sees them, and their features from a frozen backbone: computed once, used in every epoch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqsetvae.data.aligned import align, listed
from seqsetvae.data.by_length import by_length
from seqsetvae.data.packed import Packed
from seqsetvae.data.store import Store
from seqsetvae.data.tasks import kind_of
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError, RunFailure
from seqsetvae.model.classifier import RiskNet, carried, stay_features
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.tasks.kind import Kind
from seqsetvae.tasks.kinds import KINDS
from seqsetvae.training.culprit import Score, why_risk_is_none
from seqsetvae.training.finetuning.auxiliary import AuxiliaryOutcomes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledStays:
    """The labelled stays of a split, B of them, in the vocabulary of a model."""

    packed: Packed
    vocabulary: Vocabulary
    unlabelled: int
    """Stays left out because they have no outcome: never counted as 0."""
    unknown: dict[str, int]
    """Events left out, by variable that the model does not know."""
    without_events: int
    """Stays left out because the model knows none of their variables."""
    store: Store
    split: str
    """Where they come from."""
    auxiliary: AuxiliaryOutcomes | None = None
    """What is learned along."""

    @property
    def kind(self) -> type[Kind]:
        """Of the task."""
        return KINDS[kind_of(self.store)]

    @property
    def label_B(self) -> Tensor:
        """float32: (B,), or (B, L) where an outcome is several numbers."""
        return torch.from_numpy(self.packed.label_B)

    @property
    def subject_id(self) -> list[str]:
        return [str(name) for name in self.packed.subject_id]

    def some(self, share: float, seed: int) -> LabelledStays:
        """A share of the stays, of risks with each outcome, at least one of each, drawn by a seed."""
        if share == 1.0:
            return self
        rng = np.random.default_rng(seed)
        groups = self.kind.strata(self.packed.label_B.astype(np.float64))
        kept = [rng.permutation(rows)[: max(1, round(share * len(rows)))] for rows in groups]
        return replace(self, packed=self.packed.take(np.sort(np.concatenate(kept))))

    def describe(self) -> str:
        """In words, with everything that was left out."""
        counted = self.kind.counted(self.packed.label_B.astype(np.float64))
        text = f"{self.packed.n_subjects} stays with an outcome, {counted}"
        if self.unlabelled:
            text += f"; {self.unlabelled} without one are left out"
        if self.without_events:
            text += f"; {self.without_events} without any variable that the model knows are left out"
        if self.unknown:
            text += f"; variables unknown to the model are left out: {listed(self.unknown)}"
        return text


def labelled_stays(vocabulary: Vocabulary, store: Store, split: str) -> LabelledStays:
    """The labelled stays of a split.

    Raises:
        InputError: none of the variables is in the vocabulary, or the outcomes cannot be learned from, as where all are the same.
    """
    aligned = align(store, split, vocabulary)
    packed = aligned.packed
    rows_B = labelled_rows(packed.label_B)
    if why := KINDS[kind_of(store)].unusable(packed.label_B[rows_B].astype(np.float64)):
        raise InputError(
            f"Split {split!r} of {store.path} has {why}. Prepare the store with the file of outcomes, or with other splits."
        )
    return LabelledStays(
        packed=packed.take(rows_B),
        vocabulary=vocabulary,
        unlabelled=packed.n_subjects - len(rows_B),
        unknown=aligned.unknown,
        without_events=aligned.without_events,
        store=store,
        split=split,
    )


def labelled_rows(label_B: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of the subjects that have an outcome, or of several at least one."""
    return np.flatnonzero(~np.isnan(label_B).reshape(len(label_B), -1).all(1))


@torch.inference_mode()
def compute_features(vae: SeqSetVAE, stays: LabelledStays, parts: Sequence[str]) -> dict[str, Tensor]:
    """Features of all stays by the name of their part, in their order.

    Raises:
        RunFailure: those of the backbone are NaN or inf for a stay; the message names its row and variable.
    """
    order_B, batches = by_length(stays.packed, stays.vocabulary)
    found = [stay_features(vae, batch, parts) for batch in batches]
    back_B = torch.from_numpy(np.argsort(order_B))
    features = {name: torch.cat([part[name] for part in found])[back_B] for name in found[0]}
    require_finite_scores(carried(features), lambda batch: carried(stay_features(vae, batch, parts)), stays)
    return features  # of inference mode: who trains on these clones them


def require_finite_scores(score_B: Tensor, score: Score, stays: LabelledStays) -> None:
    """Raise :class:`RunFailure` naming row and variable of a stay whose score is NaN or inf."""
    if not bool(score_B.isfinite().all()):
        recorded, shown = why_risk_is_none(score, stays.packed, stays.vocabulary, stays.store, stays.split)
        _log.info(shown)
        raise RunFailure(recorded)


@torch.inference_mode()
def mean_logits(net: RiskNet, packed: Packed, vocabulary: Vocabulary) -> Tensor:
    """Output for all subjects, not recalibrated, in the order of `packed`."""
    order_B, batches = by_length(packed, vocabulary)
    return torch.cat([net.logit(batch) for batch in batches])[torch.from_numpy(np.argsort(order_B))]
