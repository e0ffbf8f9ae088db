"""Outcomes that are learned along with a task, and then forgotten: the task's own head is all that is kept.

Few patients die in hospital, and each says one bit. How many weeks or months the others live says more, and a network that must tell this,
too, from the same layer is kept from learning the few deaths by heart (multi-task learning, Caruana 1997; of ICU stays, Harutyunyan et al.
2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from seqsetvae.data.auxiliary import read_auxiliary, table_of_tasks
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError


@dataclass(frozen=True)
class AuxiliaryOutcomes:
    """Of B training stays A outcomes, as a network learns them."""

    names: tuple[str, ...]
    target_BA: Tensor
    """0 or 1, or a number with a mean of 0 and a spread of 1, of numbers that are never below 0 by their log(1 + x); 0 if unknown."""
    known_BA: Tensor
    """1 where there is an outcome."""
    binary_A: Tensor
    """Whether an outcome is 0 or 1."""

    @classmethod
    def of(cls, names: Sequence[str], outcome_BA: NDArray[np.float64], source: str) -> AuxiliaryOutcomes:
        """Scaled by these stays.

        Raises:
            InputError: an outcome is the same for all of them; `source` is where it stands.
        """
        binary, targets = [], []
        for name, x_B in zip(names, outcome_BA.T, strict=True):
            known_B = x_B[~np.isnan(x_B)]
            seen = set(known_B.tolist())
            if len(seen) < 2:
                raise InputError(
                    f"{source}, column {name!r}: of {len(x_B)} training stays {len(known_B)} have an outcome, but never a second one: "
                    "there is nothing to learn. Leave it out of --auxiliary."
                )
            binary.append(seen <= {0.0, 1.0})
            targets.append(x_B if binary[-1] else standardized(x_B))
        target_BA = torch.from_numpy(np.stack(targets, axis=1)).float()
        return cls(tuple(names), target_BA.nan_to_num(0.0), (~target_BA.isnan()).float(), torch.tensor(binary))

    @classmethod
    def read(cls, columns: str, labels: str | None, store: Store, stays: Sequence[str]) -> AuxiliaryOutcomes:
        """Columns, with commas between them, of a table of outcomes, or without one of the store's `tasks.csv`.

        Raises:
            InputError: there is no such table, or it cannot be used.
        """
        path = table_of_tasks(labels, store)
        names = [name.strip() for name in columns.split(",")]
        return cls.of(names, read_auxiliary(path, names, stays), str(path))

    def __str__(self) -> str:
        """Of how many stays each is known.

        >>> one, other = [0.0, 1.0, 5.0], [1.0, 0.0, np.nan]
        >>> print(AuxiliaryOutcomes.of(("died", "days", "late"), np.array([other, one, other]).T, "a.csv"))
        died, late of 2 stays; days of 3 stays
        """
        names_of: dict[int, list[str]] = {}
        for name, known in zip(self.names, self.known_BA.sum(0).int().tolist(), strict=True):
            names_of.setdefault(known, []).append(name)
        return "; ".join(f"{', '.join(names)} of {known:,} stays" for known, names in names_of.items())


def standardized(x_B: NDArray[np.float64]) -> NDArray[np.float64]:
    """With a mean of 0 and a spread of 1; of what is never below 0, such as days, the logarithm. NaN stays NaN.

    >>> standardized(np.array([-1.0, np.nan, 3.0])).tolist(), standardized(np.array([0.0, np.nan, 3.0])).tolist()
    ([-1.0, nan, 1.0], [-1.0, nan, 1.0])
    """
    x_B = np.log1p(x_B) if np.nanmin(x_B) >= 0.0 else x_B
    return np.asarray((x_B - np.nanmean(x_B)) / np.nanstd(x_B))


class AuxiliaryHead(nn.Module):
    """One layer beside a head's last one, with a loss.

    Args:
        outcomes: of the training stays.
        inputs: H, what the head's last layer sees.
    """

    target_BA: Tensor
    known_BA: Tensor
    binary_A: Tensor

    def __init__(self, outcomes: AuxiliaryOutcomes, inputs: int):
        super().__init__()
        self.register_buffer("target_BA", outcomes.target_BA, persistent=False)
        self.register_buffer("known_BA", outcomes.known_BA, persistent=False)
        self.register_buffer("binary_A", outcomes.binary_A, persistent=False)
        self.layer = nn.Linear(inputs, len(outcomes.names))

    def loss(self, hidden_BH: Tensor, row_B: Tensor) -> Tensor:
        """Mean over what is known of some training stays: cross-entropy of what is 0 or 1, Huber loss of numbers."""
        output_BA, target_BA, known_BA = self.layer(hidden_BH), self.target_BA[row_B], self.known_BA[row_B]
        of_risk_BA = F.binary_cross_entropy_with_logits(output_BA, target_BA, reduction="none")
        of_number_BA = F.huber_loss(output_BA, target_BA, reduction="none")
        loss_BA = torch.where(self.binary_A, of_risk_BA, of_number_BA) * known_BA
        return loss_BA.sum() / known_BA.sum().clamp(min=1.0)
