"""The floor that a finetuned model has to clear: linear models and gradient boosting on hand-made features (scikit-learn)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from seqsetvae.scores import auroc
from seqsetvae.tasks.kind import Kind
from seqsetvae.tasks.multiclass import MultiClass
from seqsetvae.tasks.multilabel import MultiLabel
from seqsetvae.tasks.regression import Regression
from seqsetvae.tasks.time_to_event import TimeToEvent

Array = NDArray[np.float64]
BOOSTING: Mapping[str, Any] = {
    "learning_rate": 0.05,
    "max_leaf_nodes": 15,
    "l2_regularization": 1.0,
    "early_stopping": False,
    "random_state": 0,
}


@dataclass(frozen=True)
class Stays:
    """Features and outcomes of labelled stays."""

    x_BF: Array
    label_B: Array
    """(B,) or (B, L)."""


def by_rank(model: Any) -> Any:
    """Medians for what was not measured, every feature by its rank (robust to a pH of 733), then the model."""
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        QuantileTransformer(n_quantiles=100, output_distribution="normal", random_state=0),
        model,
    )


def logistic_regression(strength: float) -> Any:
    """With an L2 penalty."""
    return by_rank(LogisticRegression(C=strength, max_iter=1000))


def measured(x_BF: Array) -> NDArray[np.int64]:
    """Features that some stay has: a code without numbers has no last value, and a tree finds no threshold in nothing."""
    return np.flatnonzero(~np.isnan(x_BF).all(0))


def gradient_boosting(iterations: float, model: Any = HistGradientBoostingClassifier) -> Any:
    """Trees take missing values as they are."""
    return make_pipeline(
        make_column_transformer(("passthrough", measured)), model(max_iter=int(iterations), **BOOSTING)
    )


BASELINES: dict[str, tuple[Callable[[float], Any], tuple[float, ...]]] = {
    "logistic regression": (logistic_regression, (0.001, 0.01, 0.1)),
    "gradient boosting": (gradient_boosting, (50, 100, 200)),
}
"""Each with the settings among which the validation stays choose."""
REGRESSORS: dict[str, tuple[Callable[[float], Any], tuple[float, ...]]] = {
    "ridge regression": (lambda strength: by_rank(Ridge(strength)), (10.0, 100.0, 1000.0)),
    "gradient boosting": (lambda n: gradient_boosting(n, HistGradientBoostingRegressor), (50, 100, 200)),
}


def baseline_answers(kind: Kind, train: Stays, valid: Stays, evaluated: Stays) -> dict[str, Array]:
    """Answer of each baseline about the evaluated stays, fitted on `train`, with the setting that `valid` chooses."""
    if isinstance(kind, MultiClass):
        return _classes(kind, train, valid, evaluated)
    if isinstance(kind, MultiLabel):
        return _label_by_label(kind, train, valid, evaluated)
    if isinstance(kind, Regression):
        return _values(kind, train, valid, evaluated)
    if isinstance(kind, TimeToEvent):
        return _hazards(kind, train, valid, evaluated)
    return baseline_risks(train, valid, evaluated)


def baseline_risks(
    train: Stays, valid: Stays, evaluated: Stays, names: Iterable[str] = tuple(BASELINES)
) -> dict[str, Array]:
    """Risk of the evaluated stays by each baseline, with the setting of the best validation AUROC."""
    risks = {}
    for name in names:
        make, settings = BASELINES[name]
        fitted = [make(one).fit(train.x_BF, train.label_B) for one in settings]
        best = max(fitted, key=lambda model: auroc(valid.label_B, model.predict_proba(valid.x_BF)[:, 1]))
        risks[name] = best.predict_proba(evaluated.x_BF)[:, 1]
    return risks


def _label_by_label(kind: MultiLabel, train: Stays, valid: Stays, evaluated: Stays) -> dict[str, Array]:
    """A binary baseline for each label; its share in train where train or validation lack one of the outcomes."""
    found: dict[str, list[Array]] = {name: [] for name in BASELINES}
    for column in range(len(kind.labels)):
        seen, unseen = (_known(stays, column) for stays in (train, valid))
        if all(len(set(stays.label_B.tolist())) == 2 for stays in (seen, unseen)):
            risks = baseline_risks(seen, unseen, evaluated)
        else:
            share = float(seen.label_B.mean()) if len(seen.label_B) else 0.0
            risks = dict.fromkeys(BASELINES, np.full(len(evaluated.x_BF), share))
        for name, risk_B in risks.items():
            found[name].append(risk_B)
    return {name: np.stack(columns, axis=1) for name, columns in found.items()}


def _classes(kind: MultiClass, train: Stays, valid: Stays, evaluated: Stays) -> dict[str, Array]:
    """Probabilities of all classes at once, with the setting of the best mean AUROC of the validation stays."""

    def answer(model: Any, x_BF: Array) -> Array:
        found = np.zeros((len(x_BF), len(kind.labels)))
        found[:, model.classes_] = model.predict_proba(x_BF)  # one that train lacks has none
        return found

    mean_auroc, found = kind.measures()["auroc"], {}
    for name, (make, settings) in BASELINES.items():
        fitted = [make(one).fit(train.x_BF, train.label_B.argmax(1)) for one in settings]
        best = max(fitted, key=lambda model: mean_auroc(valid.label_B, answer(model, valid.x_BF)))
        found[name] = answer(best, evaluated.x_BF)
    return found


def _known(stays: Stays, column: int) -> Stays:
    rows = ~np.isnan(stays.label_B[:, column])
    return Stays(stays.x_BF[rows], stays.label_B[rows, column])


def _values(kind: Regression, train: Stays, valid: Stays, evaluated: Stays) -> dict[str, Array]:
    """Values with the setting of the least squared error, each with intervals as the models have them; first the median, for all."""
    seen_B, unseen_B = (kind.target(torch.from_numpy(stays.label_B)).numpy() for stays in (train, valid))
    models = {"median for all": DummyRegressor(strategy="median").fit(train.x_BF, seen_B)}
    for name, (make, settings) in REGRESSORS.items():
        fitted = [make(one).fit(train.x_BF, seen_B) for one in settings]
        models[name] = min(fitted, key=lambda model: float(((model.predict(valid.x_BF) - unseen_B) ** 2).mean()))
    found = {}
    for name, model in models.items():
        of_valid, of_evaluated = (torch.from_numpy(model.predict(stays.x_BF)) for stays in (valid, evaluated))
        own = replace(kind, half_width=0.0)
        found[name] = own.settled(own.answer(of_valid).numpy(), valid.label_B).answer(of_evaluated).numpy()
    return found


def _hazards(kind: TimeToEvent, train: Stays, valid: Stays, evaluated: Stays) -> dict[str, Array]:
    """A binary baseline of all intervals of all stays, which is told the interval, with the setting of the best validation C-index.

    First the share of the training stays in each interval, for all: Kaplan and Meier's curve.
    """
    seen_BJ, happened_BJ = kind.periods(train.label_B)
    stay, interval = np.nonzero(seen_BJ)
    x_PF, y_P = np.hstack([train.x_BF[stay], np.eye(kind.outputs)[interval]]), happened_BJ[stay, interval]

    def answer(model: Any, x_BF: Array) -> Array:
        each = np.hstack([np.repeat(x_BF, kind.outputs, axis=0), np.tile(np.eye(kind.outputs), (len(x_BF), 1))])
        hazard_BJ = model.predict_proba(each)[:, 1].reshape(len(x_BF), kind.outputs)
        return kind.of_hazards(torch.from_numpy(hazard_BJ)).numpy()

    share_J = happened_BJ.sum(0) / np.maximum(seen_BJ.sum(0), 1)
    found = {"Kaplan-Meier for all": kind.of_hazards(torch.from_numpy(share_J).repeat(len(evaluated.x_BF), 1)).numpy()}
    c_index = kind.measures()["c_index"]
    for name, (make, settings) in BASELINES.items():
        fitted = [make(one).fit(x_PF, y_P) for one in settings]
        best = max(fitted, key=lambda model: c_index(valid.label_B, answer(model, valid.x_BF)))
        found[name] = answer(best, evaluated.x_BF)
    return found
