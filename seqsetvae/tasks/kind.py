"""What finetuning, evaluation and serving ask of a kind of task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seqsetvae.config import FinetuneConfig
from seqsetvae.errors import RunFailure
from seqsetvae.scores import Curve, Interval, Score, intervals

Floats = NDArray[np.float64]
DIVERGED = "The training has diverged: risks are NaN. Lower --finetune.head_lr, or --finetune.backbone_lr where it is unfrozen."
FEWEST = 10
"""Outcomes of either sort, below which the scores of a subgroup say nothing."""


class Kind(ABC):
    """A kind of task, with what it has learned of its training stays; frozen, and rebuilt from :meth:`state`.

    Labels are (B,), or (B, L) where an outcome is several numbers; NaN is one that is not known. A head's output is (B,) or (B, K); an
    answer, which people read, (B,) or (B, columns).
    """

    name: ClassVar[str]
    says: ClassVar[str]
    """What an answer is, before the name of the task."""
    headings: ClassVar[Mapping[str, str]]
    """Of the scores of an evaluation, by the names they are recorded under; the first ones are shown where there is little room."""
    shown: ClassVar[tuple[tuple[str, str], ...]]
    """Of the validation metrics those that are said, each by name and in words."""
    events_are: ClassVar[str] = "positive"
    """What :meth:`events` counts; empty where there is no such thing."""
    is_share: ClassVar[bool] = True
    """Whether a calibration curve compares risks with observed shares; otherwise values with values."""

    @classmethod
    @abstractmethod
    def fit(cls, label: Tensor, names: Sequence[str], config: FinetuneConfig) -> Self:
        """Learn what is to be known of the training stays; `names` are those of the labels."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers of an answer, as they are served."""

    @property
    def outputs(self) -> int:
        """Numbers that the head gives for a stay."""
        return 1

    @abstractmethod
    def loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Mean loss of a batch."""

    @abstractmethod
    def answer(self, output: Tensor) -> Tensor:
        """From a head's output, recalibrated or not, to what is said."""

    @abstractmethod
    def metrics(self, answer: Tensor, label: Tensor) -> dict[str, float]:
        """Of the validation stays, by their names in the store. Raises :class:`RunFailure` where an answer is NaN."""

    @abstractmethod
    def monitor(self, config: FinetuneConfig) -> str:
        """The metric, higher is better, that chooses epoch, head input and champion."""

    @abstractmethod
    def recalibration(self, output: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Slope and offset of the output that fit some labelled stays best."""

    def settled(self, answer: Floats, label: Floats) -> Self:
        """With what only recalibrated answers of stays that were not learned from can tell."""
        return self

    @abstractmethod
    def measures(self) -> Mapping[str, Score]:
        """Scores of an evaluation, functions of labels and answers; those of `headings`, and perhaps more."""

    @abstractmethod
    def calibration(self, label: Floats, answer: Floats) -> Curve:
        """(mean prediction, mean observation, stays) of groups of like prediction."""

    @classmethod
    def strata(cls, label: Floats) -> list[NDArray[np.int64]]:
        """Rows of which each group keeps its share where fewer stays are learned from."""
        return [np.arange(len(label))]

    @classmethod
    @abstractmethod
    def counted(cls, label: Floats) -> str:
        """What is among some outcomes, in words."""

    @classmethod
    @abstractmethod
    def overview(cls, label: Floats, names: Sequence[str]) -> dict[str, float]:
        """What some outcomes are, in a few numbers by what they are called: prevalences, or quantiles. `names` are those of the labels."""

    @classmethod
    @abstractmethod
    def unusable(cls, label: Floats) -> str:
        """Why some outcomes cannot be learned from or scored; empty if they can."""

    @classmethod
    def events(cls, label: Floats) -> int:
        """Positive outcomes, or all where there is no such thing."""
        return len(label)

    @classmethod
    def enough(cls, label: Floats) -> bool:
        """Whether a subgroup with these outcomes is worth a score."""
        return len(label) >= 2 * FEWEST

    def with_intervals(self, label: Floats, answer: Floats, repeats: int = 500) -> dict[str, Interval]:
        """Every score with its 95 % bootstrap interval over stays."""
        return intervals(self.measures(), lambda one: not self.unusable(one), label, answer, repeats)

    def state(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"name": self.name, **asdict(self)}  # type: ignore[call-overload]


def require_finite(answer: Tensor) -> None:
    """Of NaN torchmetrics would make an ordinary score."""
    if not bool(answer.isfinite().all()):
        raise RunFailure(DIVERGED)
