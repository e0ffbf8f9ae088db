"""An outcome of 0 or 1: a risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from seqsetvae import names
from seqsetvae.config import FinetuneConfig
from seqsetvae.scores import SCORES, Curve, Score, calibration
from seqsetvae.tasks.kind import FEWEST, Floats, Kind, require_finite
from seqsetvae.tasks.recalibration import recalibration


@dataclass(frozen=True)
class Binary(Kind):
    """The risk that the outcome is 1."""

    loss_kind: str = "plain"
    focal_gamma: float = 0.0
    positive_share: float = 0.5
    """Of the training stays."""

    name: ClassVar[str] = "binary"
    says: ClassVar[str] = "Risk of"
    headings: ClassVar[Mapping[str, str]] = {
        "auroc": "AUROC",
        "auprc_average_precision": "AUPRC, avg. precision",
        "auprc_trapezoid": "AUPRC, trapezoid rule",
        "min_precision_recall": "min(precision, recall)",
        "brier": "Brier (low is good)",
        "calibration_gap": "risk - observed share",
    }
    shown: ClassVar[tuple[tuple[str, str], ...]] = ((names.FINETUNE_AUC, "AUROC"), (names.FINETUNE_AUPRC, "AUPRC"))

    @classmethod
    def fit(cls, label: Tensor, names: Sequence[str], config: FinetuneConfig) -> Binary:
        return cls(config.loss, config.focal_gamma, float(label.mean()))

    @property
    def columns(self) -> tuple[str, ...]:
        return ("risk",)

    def loss(self, output: Tensor, label: Tensor) -> Tensor:
        return risk_loss(output, label, self.loss_kind, self.positive_share, self.focal_gamma)

    def answer(self, output: Tensor) -> Tensor:
        return torch.sigmoid(output)

    def metrics(self, answer: Tensor, label: Tensor) -> dict[str, float]:
        # Here, not above: a served model needs no metrics, and is installed without torchmetrics.
        from torchmetrics.functional.classification import binary_accuracy, binary_auroc, binary_average_precision

        require_finite(answer)
        truth_B = label.long()
        return {
            names.FINETUNE_AUC: float(binary_auroc(answer, truth_B)),
            names.FINETUNE_AUPRC: float(binary_average_precision(answer, truth_B)),
            names.FINETUNE_ACCURACY: float(binary_accuracy(answer, truth_B)),
            names.FINETUNE_PRED: float(answer.mean()),
        }

    def monitor(self, config: FinetuneConfig) -> str:
        return config.monitor

    def recalibration(self, output: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        return recalibration(output, label)

    def measures(self) -> Mapping[str, Score]:
        return SCORES

    def calibration(self, label: Floats, answer: Floats) -> Curve:
        return calibration(label, answer)

    @classmethod
    def strata(cls, label: Floats) -> list[NDArray[np.int64]]:
        return [np.flatnonzero(label == outcome) for outcome in (0, 1)]

    @classmethod
    def counted(cls, label: Floats) -> str:
        return f"{int(label.sum())} of them positive"

    @classmethod
    def overview(cls, label: Floats, names: Sequence[str]) -> dict[str, float]:
        return {"prevalence": float(label.mean())}

    @classmethod
    def unusable(cls, label: Floats) -> str:
        if 0 < label.sum() < len(label):
            return ""
        return f"{int(label.sum())} positive outcomes among {len(label)} labelled stays: a classifier needs both outcomes there"

    @classmethod
    def events(cls, label: Floats) -> int:
        return int(label.sum())

    @classmethod
    def enough(cls, label: Floats) -> bool:
        return min(int(label.sum()), len(label) - int(label.sum())) >= FEWEST


def risk_loss(logit_B: Tensor, label_B: Tensor, kind: str, positive_share: float, gamma: float) -> Tensor:
    """Mean loss of a batch.

    `weighted` gives both outcomes the same total weight; `focal` also plays down stays that are already right (Lin et al. 2017,
    eq. 5, with the same weights as alpha).

    >>> right, wrong = torch.tensor([4.0]), torch.tensor([-4.0])
    >>> one = torch.ones(1)
    >>> [round(float(risk_loss(x, one, "focal", 0.5, 2.0) / risk_loss(x, one, "weighted", 0.5, 2.0)), 4) for x in (right, wrong)]
    [0.0003, 0.9644]
    """
    if kind == "plain":
        return F.binary_cross_entropy_with_logits(logit_B, label_B)
    weight_B = torch.where(label_B > 0, 0.5 / positive_share, 0.5 / (1.0 - positive_share))
    if kind == "focal":
        wrong_B = torch.sigmoid(torch.where(label_B > 0, -logit_B, logit_B))
        weight_B = weight_B * wrong_B.pow(gamma)
    return (weight_B * F.binary_cross_entropy_with_logits(logit_B, label_B, reduction="none")).mean()
