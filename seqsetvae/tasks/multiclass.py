"""One of several outcomes that exclude each other: a probability each, which sum to 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqsetvae import names
from seqsetvae.scores import Score
from seqsetvae.tasks.kind import Floats
from seqsetvae.tasks.multilabel import MultiLabel
from seqsetvae.tasks.recalibration import fitted


@dataclass(frozen=True)
class MultiClass(MultiLabel):
    """The probability of each class.

    Labels are (B, L), 1 for the class of a stay and 0 for all others; AUROC is of each class against the rest, mean over those of which
    both outcomes occur.
    """

    name: ClassVar[str] = "multiclass"
    says: ClassVar[str] = "Probabilities of"
    events_are: ClassVar[str] = ""
    headings: ClassVar[Mapping[str, str]] = {
        "auroc": "AUROC, mean of classes",
        "accuracy": "accuracy",
        "log_loss": "log loss (low is good)",
        "brier": "Brier (low is good)",
        "auprc_average_precision": "AUPRC, mean of classes",
    }
    shown: ClassVar[tuple[tuple[str, str], ...]] = (
        (names.FINETUNE_AUC, "AUROC"),
        (names.FINETUNE_ACCURACY, "accuracy"),
    )

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"probability_{label}" for label in self.labels)

    def loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy; `weighted` gives every class the same total weight, `focal` also plays down stays that are already right."""
        log_p = F.log_softmax(output, dim=1)
        weight = torch.ones_like(log_p)
        if self.loss_kind != "plain":
            weight = weight / (len(self.labels) * output.new_tensor(self.positive_shares))
        if self.loss_kind == "focal":
            weight = weight * (1.0 - log_p.exp()).pow(self.focal_gamma)
        return -(label * weight * log_p).sum(1).mean()

    def answer(self, output: Tensor) -> Tensor:
        return torch.softmax(output, dim=1)

    def metrics(self, answer: Tensor, label: Tensor) -> dict[str, float]:
        from torchmetrics.functional.classification import multiclass_accuracy

        found = super().metrics(answer, label)
        right = multiclass_accuracy(answer, label.argmax(1), num_classes=len(self.labels), average="micro")
        return found | {names.FINETUNE_ACCURACY: float(right)}

    def recalibration(self, output: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """One slope, and an offset for each class (a temperature and biases, Guo et al. 2017)."""
        classes = label.shape[1]
        # As Platt's targets: never quite 0 or 1.
        missed = (label / (label.sum(0) + classes)).sum(1, keepdim=True).double()
        target = torch.where(label > 0, 1.0 - (classes - 1) * missed, missed)
        return fitted(output, lambda scaled: F.cross_entropy(scaled, target), (classes,))

    def measures(self) -> Mapping[str, Score]:
        return {**super().measures(), "accuracy": accuracy, "log_loss": log_loss, "brier": brier_of_classes}

    @classmethod
    def counted(cls, label: Floats) -> str:
        return f"{label.shape[1]} classes, the largest {label.mean(0).max():.1%}"

    @classmethod
    def events(cls, label: Floats) -> int:
        return len(label)


def accuracy(label: Floats, answer: Floats) -> float:
    """Share of the stays whose most probable class is theirs.

    >>> accuracy(np.array([[1.0, 0], [0, 1]]), np.array([[0.6, 0.4], [0.7, 0.3]]))
    0.5
    """
    return float((label.argmax(1) == answer.argmax(1)).mean())


def log_loss(label: Floats, answer: Floats) -> float:
    """Mean surprise at the class that it was, in nats."""
    return float(-np.log(np.clip((label * answer).sum(1), 1e-12, 1.0)).mean())


def brier_of_classes(label: Floats, answer: Floats) -> float:
    """Squared distance of the probabilities to what was, from 0 to 2 (Brier 1950)."""
    return float(((answer - label) ** 2).sum(1).mean())
