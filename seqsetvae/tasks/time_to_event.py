"""When an event comes, of stays that may be lost before: a discrete-time hazard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqsetvae import names
from seqsetvae.config import FinetuneConfig
from seqsetvae.scores import Curve, Score
from seqsetvae.tasks.kind import FEWEST, Floats, Kind, require_finite
from seqsetvae.tasks.recalibration import recalibration
from seqsetvae.tasks.survival import brier_under_censoring, concordance, kaplan_meier

INTERVALS = 10
"""At most; each holds as many of the training stays' events."""
EVENTS_PER_INTERVAL = 10
GROUPS = 5
"""Of a calibration curve."""


@dataclass(frozen=True)
class TimeToEvent(Kind):
    """The risk that the event has come by each of some times, from the probability in each interval that it comes if it had not before.

    Labels are (B, 2): 1 where the event was seen and 0 where the stay was lost, and the hours until then.
    """

    edges: tuple[float, ...]
    """Hours at which the J intervals end; the first begins at 0."""

    name: ClassVar[str] = "time_to_event"
    says: ClassVar[str] = "Time to"
    events_are: ClassVar[str] = "with the event"
    headings: ClassVar[Mapping[str, str]] = {
        "c_index": "C-index (Harrell)",
        "brier_ipcw": "Brier (low is good)",
        "calibration_gap": "risk - observed share",
    }
    shown: ClassVar[tuple[tuple[str, str], ...]] = (
        (names.FINETUNE_C_INDEX, "C-index"),
        (names.FINETUNE_BRIER, "Brier score"),
    )

    @classmethod
    def fit(cls, label: Tensor, names: Sequence[str], config: FinetuneConfig) -> TimeToEvent:
        hours = label[:, 1][label[:, 0] > 0].double().numpy()
        count = int(np.clip(len(hours) // EVENTS_PER_INTERVAL, 2, INTERVALS))
        at = np.quantile(hours, np.linspace(0.0, 1.0, count + 1)[1:])
        rounded = {float(f"{max(edge, 1e-3):.3g}") for edge in at.tolist()}
        return cls(tuple(sorted(rounded)))

    @property
    def outputs(self) -> int:
        return len(self.edges)

    @property
    def columns(self) -> tuple[str, ...]:
        return (*(f"risk_by_{edge:g}h" for edge in self.edges), "expected_hours")

    @property
    def middle(self) -> int:
        """The edge at which calibration is looked at."""
        return len(self.edges) // 2

    def loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Negative log-likelihood of a stay, mean over the batch (Gensheimer and Narasimhan 2019)."""
        seen_BJ, happened_BJ = (torch.from_numpy(x).to(output) for x in self.periods(label.double().cpu().numpy()))
        terms_BJ = F.binary_cross_entropy_with_logits(output, happened_BJ, reduction="none")
        return (terms_BJ * seen_BJ).sum() / len(label)

    def periods(self, label: Floats) -> tuple[Floats, Floats]:
        """(B, J) whether each interval of each stay was seen to its end or to the event, and whether the event came in it.

        >>> seen, happened = TimeToEvent((12.0, 24.0, 48.0)).periods(np.array([[1.0, 20.0], [0.0, 30.0]]))
        >>> seen.tolist(), happened.tolist()
        ([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]], [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        """
        edges, event_B1, hours_B1 = np.array(self.edges), label[:, :1] > 0, label[:, 1:]
        begins = np.concatenate(([-np.inf], edges[:-1]))
        happened_BJ = event_B1 & (hours_B1 > begins) & (hours_B1 <= edges)
        survived_BJ = (hours_B1 > edges) | (~event_B1 & (hours_B1 >= edges))
        return (happened_BJ | survived_BJ).astype(np.float64), happened_BJ.astype(np.float64)

    def answer(self, output: Tensor) -> Tensor:
        return self.of_hazards(torch.sigmoid(output))

    def of_hazards(self, hazard_BJ: Tensor) -> Tensor:
        """Risk by each edge, and the mean hours without the event up to the last edge."""
        free_BJ = (1.0 - hazard_BJ).cumprod(1)
        before_BJ = torch.cat([torch.ones_like(free_BJ[:, :1]), free_BJ[:, :-1]], dim=1)
        width_J = torch.diff(hazard_BJ.new_tensor((0.0, *self.edges)))
        expected_B = (0.5 * (free_BJ + before_BJ) * width_J).sum(1)
        return torch.cat([1.0 - free_BJ, expected_B[:, None]], dim=1)

    def metrics(self, answer: Tensor, label: Tensor) -> dict[str, float]:
        require_finite(answer)
        said, truth = answer.detach().double().cpu().numpy(), label.double().cpu().numpy()
        return {names.FINETUNE_C_INDEX: self._c_index(truth, said), names.FINETUNE_BRIER: self._brier(truth, said)}

    def monitor(self, config: FinetuneConfig) -> str:
        return names.FINETUNE_C_INDEX

    def recalibration(self, output: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """One slope and offset for the hazards of all intervals."""
        seen_BJ, happened_BJ = (torch.from_numpy(x) for x in self.periods(label.double().numpy()))
        return recalibration(output[seen_BJ > 0], happened_BJ[seen_BJ > 0].float())

    def measures(self) -> Mapping[str, Score]:
        return {"c_index": self._c_index, "brier_ipcw": self._brier, "calibration_gap": self._gap}

    def _c_index(self, label: Floats, answer: Floats) -> float:
        return concordance(label[:, 1], label[:, 0], -answer[:, -1])

    def _brier(self, label: Floats, answer: Floats) -> float:
        return brier_under_censoring(label[:, 1], label[:, 0], answer[:, :-1], np.array(self.edges))

    def _gap(self, label: Floats, answer: Floats) -> float:
        return float(answer[:, self.middle].mean()) - self._share_by_middle(label)

    def _share_by_middle(self, label: Floats) -> float:
        return 1.0 - float(kaplan_meier(label[:, 1], label[:, 0], np.array([self.edges[self.middle]]))[0])

    def calibration(self, label: Floats, answer: Floats) -> Curve:
        """By the middle edge; what is observed is Kaplan and Meier's share of each group."""
        risk_B = answer[:, self.middle]
        parts = np.array_split(np.argsort(risk_B, kind="stable"), min(GROUPS, len(risk_B)))
        return [(round(float(risk_B[p].mean()), 6), self._share_by_middle(label[p]), len(p)) for p in parts]

    @classmethod
    def counted(cls, label: Floats) -> str:
        return f"{cls.events(label)} with the event, median of {np.median(label[:, 1]):.4g} hours"

    @classmethod
    def overview(cls, label: Floats, names: Sequence[str]) -> dict[str, float]:
        return {"share with the event": float(label[:, 0].mean()), "median hours": float(np.median(label[:, 1]))}

    @classmethod
    def unusable(cls, label: Floats) -> str:
        hours = label[:, 1][label[:, 0] > 0]
        if len(set(hours.tolist())) > 1:
            return ""
        return f"{len(hours)} events among {len(label)} labelled stays: a hazard needs events at several times"

    @classmethod
    def events(cls, label: Floats) -> int:
        return int(label[:, 0].sum())

    @classmethod
    def enough(cls, label: Floats) -> bool:
        return cls.events(label) >= FEWEST
