"""A map of the posterior means in two dimensions, and how much is to be believed of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.manifold import trustworthiness
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seqsetvae.figures.latent.arrays import Floats, LatentSample
from seqsetvae.scores import auroc

NEIGHBORS = 15
LEAST_SETS = 2 * NEIGHBORS + 2
"""Below that neither the map nor its trustworthiness means anything."""
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Embedding:
    """UMAP of the posterior means (McInnes et al. 2018)."""

    xy_S2: Floats
    neighbors: int
    trustworthiness: float
    """1: neighbors on the map are neighbors in the latent space (Venna & Kaski 2001); 0.5 is about chance."""


@dataclass(frozen=True)
class Probes:
    """What a linear model reads off the posterior means of stays that it was not fitted on; None where that cannot be asked."""

    outcome_auroc: float | None
    hour_r2: float | None
    severity_r2: float | None


def embed(sample: LatentSample, seed: int) -> Embedding | None:
    """The map of a sample; None with too few sets, or where all posterior means are the same."""
    mu_SZ = sample.mu_SZ
    if len(mu_SZ) < LEAST_SETS or not np.ptp(mu_SZ, axis=0).any():
        return None
    with warnings.catch_warnings():
        # Without TensorFlow one of its classes is missing, it warns.
        warnings.simplefilter("ignore", ImportWarning)
        from umap import UMAP

        # Of points that lie in a few heaps: it then begins at random, with the seed's own numbers.
        warnings.filterwarnings("ignore", "Spectral initialisation failed")
        # One job: with a seed there is no other way, and UMAP warns of being told otherwise.
        mapped = UMAP(n_neighbors=NEIGHBORS, min_dist=0.1, random_state=seed, n_jobs=1).fit_transform(mu_SZ)
    score = trustworthiness(mu_SZ, mapped, n_neighbors=NEIGHBORS)
    return Embedding(np.asarray(mapped, dtype=np.float64), NEIGHBORS, float(score))


def probe(sample: LatentSample) -> Probes:
    """Cross-validated by stay: sets of one stay are never on both sides."""
    return Probes(
        outcome_auroc=_outcome(sample),
        hour_r2=_regression(sample, sample.hour_S),
        severity_r2=_regression(sample, sample.severity_S),
    )


def _outcome(sample: LatentSample) -> float | None:
    known_S = ~np.isnan(sample.label_S)
    label_S = sample.label_S[known_S]
    stays = [len(np.unique(sample.stay_S[sample.label_S == label])) for label in (0.0, 1.0)]
    if min(stays) < FOLDS:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    risk_S2 = _predicted(model, sample.mu_SZ[known_S], label_S, sample.stay_S[known_S], folds, "predict_proba")
    return auroc(label_S, risk_S2[:, 1])


def _regression(sample: LatentSample, target_S: Floats) -> float | None:
    known_S = np.isfinite(target_S)
    if len(np.unique(sample.stay_S[known_S])) < FOLDS or not np.ptp(target_S[known_S]):
        return None
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 6)))
    folds = GroupKFold(FOLDS)
    said_S = _predicted(model, sample.mu_SZ[known_S], target_S[known_S], sample.stay_S[known_S], folds, "predict")
    return float(r2_score(target_S[known_S], said_S))


def _predicted(
    model: object, mu_SZ: NDArray[np.float32], target_S: Floats, stay_S: NDArray[np.int64], folds: object, method: str
) -> Floats:
    return np.asarray(
        cross_val_predict(model, mu_SZ.astype(np.float64), target_S, groups=stay_S, cv=folds, method=method)
    )
