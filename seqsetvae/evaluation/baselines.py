"""The floor that a finetuned model has to clear: logistic regression and gradient boosting on hand-made features (scikit-learn)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from seqsetvae.scores import auroc

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stays:
    """Features and outcomes of labelled stays."""

    x_BF: Array
    label_B: Array


def logistic_regression(strength: float) -> Any:
    """Medians for what was not measured, every feature by its rank (robust to a pH of 733), an L2 penalty."""
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        QuantileTransformer(n_quantiles=100, output_distribution="normal", random_state=0),
        LogisticRegression(C=strength, max_iter=1000),
    )


def gradient_boosting(iterations: int) -> Any:
    """Trees take missing values as they are."""
    return HistGradientBoostingClassifier(
        max_iter=iterations,
        learning_rate=0.05,
        max_leaf_nodes=15,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    )


BASELINES: dict[str, tuple[Callable[[Any], Any], tuple[float, ...]]] = {
    "logistic regression": (logistic_regression, (0.001, 0.01, 0.1)),
    "gradient boosting": (gradient_boosting, (50, 100, 200)),
}
"""Each with the settings among which the validation stays choose."""


def baseline_risks(train: Stays, valid: Stays, evaluated: Stays) -> dict[str, Array]:
    """Risk of the evaluated stays by each baseline, fitted on `train`, with the setting of the best validation AUROC."""
    risks = {}
    for name, (make, settings) in BASELINES.items():
        fitted = [make(int(one) if one >= 1 else one).fit(train.x_BF, train.label_B) for one in settings]
        best = max(fitted, key=lambda model: auroc(valid.label_B, model.predict_proba(valid.x_BF)[:, 1]))
        risks[name] = best.predict_proba(evaluated.x_BF)[:, 1]
    return risks
