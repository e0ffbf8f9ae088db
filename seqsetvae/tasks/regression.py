"""An outcome that is a number: its value, with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqsetvae import names
from seqsetvae.config import FinetuneConfig
from seqsetvae.errors import InputError
from seqsetvae.scores import Curve, Score, calibration
from seqsetvae.tasks.kind import Floats, Kind, require_finite

COVERAGE = 0.9
"""Share of the outcomes that their intervals are made to hold."""


@dataclass(frozen=True)
class Regression(Kind):
    """The value, in the unit of the table, and an interval around it that holds 90 % of the outcomes."""

    mean: float
    std: float
    """Of the training outcomes on the scale; never 0."""
    half_width: float = 0.0
    """Of the interval, on the scale: of the validation stays 90 % lay so near (split conformal prediction, Lei et al. 2018)."""
    scale: str = "linear"
    """On which outcomes are learned: as they are, or `log`, log(1 + outcome)."""

    name: ClassVar[str] = "regression"
    says: ClassVar[str] = "Prediction of"
    events_are: ClassVar[str] = ""
    headings: ClassVar[Mapping[str, str]] = {
        "r2": "R2",
        "mae": "mean absolute error",
        "rmse": "root mean square error",
        "spearman": "Spearman correlation",
        "bias": "prediction - outcome",
        "coverage_90": "in the 90 % interval",
    }
    shown: ClassVar[tuple[tuple[str, str], ...]] = (
        (names.FINETUNE_R2, "R2"),
        (names.FINETUNE_MAE, "mean absolute error"),
    )
    is_share: ClassVar[bool] = False

    @classmethod
    def fit(cls, label: Tensor, names: Sequence[str], config: FinetuneConfig) -> Regression:
        if config.outcome_scale == "log" and (least := float(label.min())) < 0:
            raise InputError(
                f"--outcome_scale log learns log(1 + outcome) of outcomes that are 0 or more, but one is {least:g}. Leave it out."
            )
        scaled = label.log1p() if config.outcome_scale == "log" else label
        return cls(float(scaled.mean()), max(float(scaled.std(correction=0)), 1e-6), scale=config.outcome_scale)

    @property
    def columns(self) -> tuple[str, ...]:
        return "value", "low_90", "high_90"

    def loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Squared near the outcome and linear from one standard deviation on: a wild outcome moves no more than a far one."""
        return F.huber_loss(output, self.target(label))

    def target(self, label: Tensor) -> Tensor:
        """Outcomes as a head learns them: on the scale, with a mean of 0 and a spread of 1 in training."""
        return ((label.log1p() if self.scale == "log" else label) - self.mean) / self.std

    def answer(self, output: Tensor) -> Tensor:
        scaled_B = output * self.std + self.mean
        answer = torch.stack([scaled_B, scaled_B - self.half_width, scaled_B + self.half_width], dim=1)
        return answer.expm1().clamp(min=0.0) if self.scale == "log" else answer

    def metrics(self, answer: Tensor, label: Tensor) -> dict[str, float]:
        # Here, not above: a served model is installed without torchmetrics.
        from torchmetrics.functional.regression import (
            mean_absolute_error,
            mean_squared_error,
            r2_score,
            spearman_corrcoef,
        )

        require_finite(answer)
        value_B, label = answer[:, 0].float(), label.float()
        return {
            names.FINETUNE_R2: float(r2_score(value_B, label)),
            names.FINETUNE_MAE: float(mean_absolute_error(value_B, label)),
            names.FINETUNE_RMSE: math.sqrt(float(mean_squared_error(value_B, label))),
            names.FINETUNE_SPEARMAN: float(spearman_corrcoef(value_B, label).nan_to_num(0.0)),
        }

    def monitor(self, config: FinetuneConfig) -> str:
        return names.FINETUNE_R2

    def recalibration(self, output: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Least squares, with a slope that turns no order around."""
        x_B, y_B = output.double(), self.target(label.double())
        spread = x_B - x_B.mean()
        slope = (spread * y_B).sum().clamp(min=0.0) / spread.square().sum().clamp(min=1e-12)
        return slope, y_B.mean() - slope * x_B.mean()

    def settled(self, answer: Floats, label: Floats) -> Regression:
        said_B, came_B = (self.target(torch.from_numpy(one)).numpy() for one in (answer[:, 0], label))
        distance_B = np.sort(np.abs(said_B - came_B)) * self.std
        rank = min(math.ceil((len(label) + 1) * COVERAGE), len(label))
        return replace(self, half_width=float(distance_B[rank - 1]))

    def measures(self) -> Mapping[str, Score]:
        return {
            "r2": r_squared,
            "mae": lambda y_B, said: float(np.abs(said[:, 0] - y_B).mean()),
            "rmse": lambda y_B, said: float(np.sqrt(((said[:, 0] - y_B) ** 2).mean())),
            "spearman": spearman,
            "bias": lambda y_B, said: float((said[:, 0] - y_B).mean()),
            "coverage_90": lambda y_B, said: float(((said[:, 1] <= y_B) & (y_B <= said[:, 2])).mean()),
        }

    def calibration(self, label: Floats, answer: Floats) -> Curve:
        return calibration(label, answer[:, 0])

    @classmethod
    def counted(cls, label: Floats) -> str:
        return f"median {np.median(label):.4g}, from {label.min():.4g} to {label.max():.4g}"

    @classmethod
    def overview(cls, label: Floats, names: Sequence[str]) -> dict[str, float]:
        low, middle, high = np.quantile(label, (0.05, 0.5, 0.95)).tolist()
        return {"5 percentile": low, "median": middle, "95 percentile": high}

    @classmethod
    def unusable(cls, label: Floats) -> str:
        if len(set(label.tolist())) > 1:
            return ""
        return f"{len(label)} labelled stays, all of one outcome: there is nothing to learn"


def r_squared(label_B: Floats, answer: Floats) -> float:
    """Share of the outcomes' variance that is explained.

    >>> r_squared(np.array([1.0, 2.0, 3.0]), np.array([[1.0], [2.0], [2.0]]))
    0.5
    """
    return float(1.0 - ((answer[:, 0] - label_B) ** 2).sum() / ((label_B - label_B.mean()) ** 2).sum())


def spearman(label_B: Floats, answer: Floats) -> float:
    """Correlation of the ranks, ties by their mean rank; 0 where all predictions are the same.

    >>> spearman(np.array([1.0, 2.0, 3.0, 9.0]), np.array([[0.1], [0.2], [0.3], [0.4]]))
    1.0
    """
    first, second = _ranks(label_B), _ranks(answer[:, 0])
    if not first.std() or not second.std():
        return 0.0
    return float(np.round(np.corrcoef(first, second)[0, 1], 12))


def _ranks(x_B: Floats) -> Floats:
    _, place_B, count = np.unique(x_B, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - 0.5 * (count - 1))[place_B])
