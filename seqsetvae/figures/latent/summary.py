"""What a sample of posteriors says about the latent space: figures and their thresholds, the active dimensions, their correlations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from seqsetvae.collapse.diagnosis import Indicator
from seqsetvae.collapse.rules import principled_indicators
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.figures.latent.arrays import Floats, LatentSample
from seqsetvae.posterior import ACTIVE_UNIT_VARIANCE, DiagonalGaussian, posterior_statistics


@dataclass(frozen=True, eq=False)
class LatentSummary:
    """Of S sets and Z latent dimensions."""

    statistics: CollapseStatistics
    indicators: tuple[Indicator, ...]
    """KL, active units, mutual information and decoder use beside the thresholds of the model's own monitor."""
    kl_Z: Floats
    """Mean over sets, nats."""
    signal_Z: Floats
    """Variance over sets of the posterior mean."""
    variance_Z: Floats
    """Mean over sets of the posterior variance; the prior's is 1."""
    active_A: NDArray[np.intp]
    """Dimensions whose signal is above 0.01 (Burda et al. 2016), the most active first."""
    correlation: Correlation | None
    """Of the active dimensions; None where fewer than two are active."""


@dataclass(frozen=True, eq=False)
class Correlation:
    """Pearson's r between posterior means, over sets."""

    dimension_A: NDArray[np.intp]
    """Active dimensions in clustered order: neighbors are alike."""
    r_AA: Floats
    """In that order."""
    effective: float
    """Dimensions that would vary as much without any correlation: (sum of eigenvalues)^2 / sum of their squares."""

    def strongest(self, most: int) -> list[tuple[int, int, float]]:
        """Pairs of dimensions by falling |r|."""
        rows, columns = np.triu_indices(len(self.dimension_A), 1)
        pairs = []
        for one in np.argsort(-np.abs(self.r_AA[rows, columns]), kind="stable")[:most]:
            row, column = int(rows[one]), int(columns[one])
            first, second = sorted((int(self.dimension_A[row]), int(self.dimension_A[column])))
            pairs.append((first, second, float(self.r_AA[row, column])))
        return pairs


def summarize(sample: LatentSample, config: SettledMonitor) -> LatentSummary:
    """Statistics of a sample as the collapse monitor takes them; `config` holds the thresholds."""
    posterior = DiagonalGaussian(torch.from_numpy(sample.mu_SZ), torch.from_numpy(sample.logvar_SZ))
    found = posterior_statistics(posterior)
    statistics = CollapseStatistics.of(
        found, step=0, var_threshold=config.var_threshold, decoder_use=sample.decoder_use
    )
    signal_Z = found.signal_Z.double().numpy()
    active_Z = signal_Z > ACTIVE_UNIT_VARIANCE
    active_A = np.argsort(-signal_Z, kind="stable")[: active_Z.sum()]
    return LatentSummary(
        statistics=statistics,
        indicators=tuple(principled_indicators(statistics, config)),
        kl_Z=found.kl_Z.double().numpy(),
        signal_Z=signal_Z,
        variance_Z=found.mean_variance_Z.double().numpy(),
        active_A=active_A,
        correlation=correlate(sample.mu_SZ[:, active_A], active_A) if len(active_A) > 1 else None,
    )


def correlate(mu_SA: NDArray[np.float32], dimension_A: NDArray[np.intp]) -> Correlation:
    """Correlations in the order of a hierarchical clustering (average linkage of 1 - |r|, leaves ordered by Bar-Joseph et al. 2001).

    >>> base = np.random.default_rng(0).standard_normal((500, 2))
    >>> copies = np.column_stack([base[:, 0], base[:, 1], -base[:, 0]])
    >>> [(a, b, round(r, 2)) for a, b, r in correlate(copies, np.array([3, 5, 8])).strongest(1)]
    [(3, 8, -1.0)]
    """
    r_AA = np.corrcoef(mu_SA.astype(np.float64), rowvar=False).clip(-1.0, 1.0)
    distance_AA = 1.0 - np.abs(r_AA)
    np.fill_diagonal(distance_AA, 0.0)
    order_A = leaves_list(linkage(squareform(distance_AA, checks=False), "average", optimal_ordering=True))
    eigenvalue_A = np.linalg.eigvalsh(r_AA)
    effective = float(eigenvalue_A.sum() ** 2 / np.square(eigenvalue_A).sum())
    return Correlation(dimension_A[order_A], r_AA[np.ix_(order_A, order_A)], effective)
