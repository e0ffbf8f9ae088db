"""Several outcomes of 0 or 1 at once, of which some may not be known: a risk each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from seqsetvae import names
from seqsetvae.config import FinetuneConfig
from seqsetvae.scores import Curve, Score, auroc, average_precision, brier, calibration, calibration_gap
from seqsetvae.tasks.binary import Binary, risk_loss
from seqsetvae.tasks.kind import Floats, Kind
from seqsetvae.tasks.recalibration import recalibration


@dataclass(frozen=True)
class MultiLabel(Kind):
    """The risk of each label; scores are means over the labels of which both outcomes occur."""

    labels: tuple[str, ...]
    loss_kind: str
    focal_gamma: float
    positive_shares: tuple[float, ...]
    """Of the training stays, by label."""

    name: ClassVar[str] = "multilabel"
    says: ClassVar[str] = "Risks of"
    headings: ClassVar[Mapping[str, str]] = {
        "auroc": "AUROC, mean of labels",
        "auprc_average_precision": "AUPRC, mean of labels",
        "brier": "Brier (low is good)",
        "calibration_gap": "risk - observed share",
    }
    shown: ClassVar[tuple[tuple[str, str], ...]] = ((names.FINETUNE_AUC, "AUROC"), (names.FINETUNE_AUPRC, "AUPRC"))

    @classmethod
    def fit(cls, label: Tensor, names: Sequence[str], config: FinetuneConfig) -> Self:
        # A label that is never, or always, positive in train has no weights that would balance it.
        shares = label.nanmean(0).nan_to_num(0.5).clamp(0.01, 0.99)
        return cls(tuple(names), config.loss, config.focal_gamma, tuple(shares.tolist()))

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"risk_{label}" for label in self.labels)

    def loss(self, output: Tensor, label: Tensor) -> Tensor:
        known = ~label.isnan()
        share = output.new_tensor(self.positive_shares).expand_as(output)[known]
        losses = [output.sum() * 0.0]  # of a batch in which nothing is known
        if bool(known.any()):
            losses.append(self._weighted(output[known], label[known], share))
        return torch.stack(losses).sum()

    def _weighted(self, output: Tensor, label: Tensor, share: Tensor) -> Tensor:
        return torch.stack(
            [
                risk_loss(output[share == one], label[share == one], self.loss_kind, float(one), self.focal_gamma)
                * (share == one).float().mean()
                for one in share.unique()
            ]
        ).sum()

    def answer(self, output: Tensor) -> Tensor:
        return torch.sigmoid(output)

    def metrics(self, answer: Tensor, label: Tensor) -> dict[str, float]:
        found = [
            Binary().metrics(answer[rows, column], label[rows, column])
            for column, rows in _scored(label.double().numpy())
        ]
        return {key: float(np.mean([one[key] for one in found])) for key in found[0]}

    def monitor(self, config: FinetuneConfig) -> str:
        return config.monitor

    def recalibration(self, output: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        slope, offset = torch.ones(self.outputs), torch.zeros(self.outputs)
        for column, rows in _scored(label.double().numpy()):
            slope[column], offset[column] = recalibration(output[rows, column], label[rows, column])
        return slope, offset

    def measures(self) -> Mapping[str, Score]:
        of_all = {
            "auroc": mean_of_labels(auroc),
            "auprc_average_precision": mean_of_labels(average_precision),
            "brier": mean_of_labels(brier),
            "calibration_gap": mean_of_labels(calibration_gap),
        }
        return of_all | {f"auroc_{name}": one_label(auroc, row) for row, name in enumerate(self.labels)}

    def calibration(self, label: Floats, answer: Floats) -> Curve:
        known = ~np.isnan(label)
        return calibration(label[known], answer[known])

    @classmethod
    def counted(cls, label: Floats) -> str:
        return f"{label.shape[1]} labels, {int(np.nansum(label))} positive in all"

    @classmethod
    def unusable(cls, label: Floats) -> str:
        return "" if _scored(label) else f"no label of which both outcomes occur among {len(label)} labelled stays"

    @classmethod
    def events(cls, label: Floats) -> int:
        return int(np.nansum(label))

    @classmethod
    def enough(cls, label: Floats) -> bool:
        return super().enough(label) and not cls.unusable(label)

    @classmethod
    def overview(cls, label: Floats, names: Sequence[str]) -> dict[str, float]:
        known = (~np.isnan(label)).sum(0)
        shares = np.nansum(label, axis=0) / np.where(known, known, np.nan)
        return {f"share with {name}": float(share) for name, share in zip(names, shares, strict=True)}


def _scored(label: Floats) -> list[tuple[int, NDRows]]:
    """Labels of which both outcomes occur, and the stays of which each is known."""
    known = [(column, np.flatnonzero(~np.isnan(label[:, column]))) for column in range(label.shape[1])]
    return [(column, rows) for column, rows in known if len(set(label[rows, column])) == 2]


NDRows = np.ndarray[tuple[int], np.dtype[np.int64]]


def mean_of_labels(score: Score) -> Score:
    """A score of one outcome as the mean over all labels of which both outcomes occur.

    >>> mean_of_labels(auroc)(np.array([[0.0, 1], [1, np.nan], [1, 1]]), np.array([[0.1, 0.9], [0.5, 0.9], [0.6, 0.9]]))
    1.0
    """

    def mean(label: Floats, answer: Floats) -> float:
        return float(np.mean([score(label[rows, column], answer[rows, column]) for column, rows in _scored(label)]))

    return mean


def one_label(score: Score, column: int) -> Callable[[Floats, Floats], float]:
    """A score of one of several labels; NaN where it lacks one of the outcomes."""

    def of_label(label: Floats, answer: Floats) -> float:
        rows = np.flatnonzero(~np.isnan(label[:, column]))
        both = len(set(label[rows, column])) == 2
        return score(label[rows, column], answer[rows, column]) if both else float("nan")

    return of_label
