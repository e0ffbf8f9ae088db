"""Features of labelled stays from a frozen backbone: computed once, and used in every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqsetvae.batch import EventBatch
from seqsetvae.data.aligned import align
from seqsetvae.data.packed import Packed, gather
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from seqsetvae.model.classifier import stay_features
from seqsetvae.training.exported import Pretrained

EVENTS_PER_BATCH = 8000


@dataclass(frozen=True)
class LabelledStays:
    """A split as a classifier sees it."""

    features: dict[str, Tensor]
    """By name in :data:`seqsetvae.model.classifier.INPUTS`, one row per stay."""
    label_B: Tensor
    """0 or 1."""
    subject_id: list[str]
    unlabelled: int
    """Stays left out because they have no outcome: never counted as 0."""
    unknown: dict[str, int]
    """Events left out, by variable that the model does not know."""
    without_events: int
    """Stays left out because the model knows none of their variables."""

    def describe(self) -> str:
        """In words, with everything that was left out."""
        positives = int(self.label_B.sum())
        text = f"{len(self.label_B)} stays with an outcome, {positives} of them positive"
        if self.unlabelled:
            text += f"; {self.unlabelled} without one are left out"
        if self.without_events:
            text += f"; {self.without_events} without any variable that the model knows are left out"
        if self.unknown:
            shown = ", ".join(f"{name} ({count} events)" for name, count in list(self.unknown.items())[:5])
            more = f" and {len(self.unknown) - 5} more" if len(self.unknown) > 5 else ""
            text += f"; variables unknown to the model are left out: {shown}{more}"
        return text


def labelled_stays(model: Pretrained, store: Store, split: str) -> LabelledStays:
    """Run the backbone once over the labelled stays of a split.

    Raises:
        InputError: the model knows none of the variables, or only one of the two outcomes occurs.
    """
    aligned = align(store, split, model.vocabulary)
    packed = aligned.packed
    rows_B = np.flatnonzero(~np.isnan(packed.label_B))
    label_B = packed.label_B[rows_B]
    if not 0 < label_B.sum() < len(label_B):
        raise InputError(
            f"Split {split!r} of {store.path} has {int(label_B.sum())} positive outcomes among {len(label_B)} labelled stays: a "
            "classifier needs both outcomes there. Prepare the store with the file of outcomes, or with other splits."
        )
    return LabelledStays(
        features=compute_features(model, packed, rows_B),
        label_B=torch.from_numpy(label_B),
        subject_id=[str(packed.subject_id[int(row)]) for row in rows_B],
        unlabelled=packed.n_subjects - len(rows_B),
        unknown=aligned.unknown,
        without_events=aligned.without_events,
    )


@torch.inference_mode()
def compute_features(model: Pretrained, packed: Packed, rows_B: NDArray[np.int64]) -> dict[str, Tensor]:
    """Features of some subjects, in the order of `rows_B`."""
    order_B = np.argsort(np.diff(packed.events_before_B)[rows_B], kind="stable")  # like lengths together: less padding
    parts = [stay_features(model.vae, batch) for batch in _batches(model, packed, rows_B[order_B])]
    back = torch.from_numpy(np.argsort(order_B))
    # Out of inference mode by the clone's own rules: the head is trained on these.
    return {name: torch.cat([part[name] for part in parts])[back] for name in parts[0]}


def _batches(model: Pretrained, packed: Packed, rows_B: NDArray[np.int64]) -> Iterator[EventBatch]:
    events_B = np.cumsum(np.diff(packed.events_before_B)[rows_B])
    for rows in np.split(rows_B, np.flatnonzero(np.diff(events_B // EVENTS_PER_BATCH)) + 1):
        yield gather(packed, rows, model.vocabulary)
