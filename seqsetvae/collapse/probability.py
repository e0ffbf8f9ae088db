"""P(the run ends collapsed), from all indicators and their noise, and from what is known of beta ahead. Pure, and without torch.

A logistic model, whose coefficients `seqsetvae certify` fits on the runs of its even seeds and holds against those of the odd ones. It
stands beside the rules and decides nothing. Its one idea about VAEs is the `margin`: at the optimum of a linear decoder dimension d has
KL_d = 0.5 ln(lambda_d / (beta s2)), so that the largest KL tells at which beta the last dimension dies, whatever s2 is:
ln(critical beta / beta at the end) = 2 max_d KL_d - ln(beta at the end / beta now).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from seqsetvae.collapse.coefficients import COEFFICIENTS
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.statistics import CollapseStatistics

Floats = NDArray[np.float64]
WRITTEN_BY = '"""Coefficients of the probability, fitted: written by `seqsetvae certify --write_probability`."""'
LEAST_BETA = 1e-3
"""Below that a schedule counts as being here, where logarithms are taken."""
SURE = 10.0
"""Standard errors from which more of them say no more."""


def features(update: CollapseStatistics, outlook: BetaOutlook, information: Sequence[float]) -> Floats | None:
    """What the probability rests on; None where the decoder was never asked, or a figure is no number.

    Logarithms of KL, mutual information and decoder information; its certainty; active units; margin; beta ahead; trend; and each of these
    times the share of the run that is over.

    Args:
        update: the newest.
        outlook: length of the run and beta ahead.
        information: mutual information at the last checks, this one last.
    """
    if update.decoder_information is None or not update.finite or not len(update.kl_Z):
        return None
    beta = max(update.beta if update.beta is not None else 1.0, LEAST_BETA)
    at_end = beta if outlook.beta_at is None else max(outlook.beta_at(outlook.total_steps - 1), LEAST_BETA)
    ahead = math.log(at_end / beta)
    error = update.decoder_information_error or 0.0
    sure = update.decoder_information / error if error > 0.0 else 0.0
    first, last = (max(nats, 1e-4) for nats in (information[0], information[-1]))
    found = [
        math.log(max(update.kl, 1e-4)),
        math.log(max(update.mutual_information, 1e-4)),
        math.log(max(update.decoder_information, 1e-3)),
        min(max(sure, 0.0), SURE) / SURE,
        update.active_units_ratio,
        min(max(2.0 * float(update.kl_Z.max()) - ahead, -6.0), 6.0),
        min(max(ahead, -6.0), 6.0),
        min(max(math.log(last / first), -2.0), 2.0),
    ]
    over = min(1.0, update.step / outlook.total_steps)
    return np.array([*found, over, *(over * one for one in found)])


@dataclass(frozen=True)
class Logistic:
    """A logistic model of features that are brought to mean 0 and deviation 1."""

    mean: list[float]
    deviation: list[float]
    weight: list[float]
    intercept: float

    def __call__(self, found: Floats) -> float:
        """Probability, between 0 and 1.

        >>> Logistic([1.0], [2.0], [1.0], 0.0)(np.array([1.0]))
        0.5
        """
        scaled = (found - self.mean) / self.deviation
        return float(1.0 / (1.0 + math.exp(-min(max(float(scaled @ self.weight) + self.intercept, -30.0), 30.0))))

    @classmethod
    def fitted(cls, found_NK: Floats, ended_N: Floats, weight_N: Floats, ridge: float = 1e-2) -> Self:
        """By Newton's method, with a penalty of `ridge` / 2 times the square of each weight but the intercept.

        Args:
            found_NK: features.
            ended_N: 1 where the run ended collapsed, else 0.
            weight_N: of each row; their sum is 1.
            ridge: holds weights back that few runs speak for.
        """
        mean_K = weight_N @ found_NK
        deviation_K = np.sqrt(weight_N @ np.square(found_NK - mean_K)) + 1e-6
        scaled = np.column_stack([(found_NK - mean_K) / deviation_K, np.ones(len(found_NK))])
        penalty = ridge * np.diag([*np.ones(len(mean_K)), 0.0])
        at = np.zeros(len(mean_K) + 1)
        for _ in range(50):
            chance_N = 1.0 / (1.0 + np.exp(-np.clip(scaled @ at, -30.0, 30.0)))
            gradient = scaled.T @ (weight_N * (chance_N - ended_N)) + penalty @ at
            curvature = scaled.T @ ((weight_N * chance_N * (1.0 - chance_N))[:, None] * scaled) + penalty
            at -= np.linalg.solve(curvature + 1e-9 * np.eye(len(at)), gradient)
        return cls(mean_K.tolist(), deviation_K.tolist(), at[:-1].tolist(), float(at[-1]))

    def rounded(self) -> Self:
        """To six digits of each number, as it is written."""
        mean, deviation, weight, intercept = (
            [float(f"{one:.6g}") for one in values]
            for values in (self.mean, self.deviation, self.weight, [self.intercept])
        )
        return type(self)(mean, deviation, weight, intercept[0])

    def to_python(self) -> str:
        """A module that holds it, one number to a line."""
        lines = [WRITTEN_BY, "", "from __future__ import annotations", "", "from typing import Any", ""]
        lines.append("COEFFICIENTS: dict[str, Any] = {")
        for key, value in asdict(self).items():
            if isinstance(value, list):
                lines += [f'    "{key}": [', *(f"        {one!r}," for one in value), "    ],"]
            else:
                lines.append(f'    "{key}": {value!r},')
        return "\n".join([*lines, "}"]) + "\n"


@cache
def of_certification() -> Logistic:
    """The model that comes with the package."""
    return Logistic(**COEFFICIENTS)


def put_in_force(fitted: Logistic) -> None:
    """Have :func:`of_certification` give a model that was just fitted, in this process."""
    COEFFICIENTS.update(asdict(fitted))
    of_certification.cache_clear()


def chance_of_collapse(update: CollapseStatistics, outlook: BetaOutlook, information: Sequence[float]) -> float | None:
    """P(the run ends collapsed), as calibrated on certified runs (docs/collapse-report.md); None where nobody can tell."""
    found = features(update, outlook, information)
    return None if found is None else of_certification()(found)
