"""`forecast`: before training, at which beta a VAE collapses, and how many dimensions survive at each. Pure; N rows, X dimensions.

Near collapse a decoder is linear in its latents, and its log-likelihood quadratic about the best constant output. So any likelihood is
there a linear Gaussian one: in natural parameters its gradient has the covariance C and its curvature is W, and dimension i is active
exactly where lambda_i > beta, of the eigenvalues of W^-1/2 C W^-1/2 (Lucas et al. 2019, Dai et al. 2018, Wang & Liu 2022: W = 1 / s2).
At the critical beta that is exact; far below it a decoder that bends finds more dimensions than there are straight ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seqsetvae.errors import InputError

Likelihood = Literal["gaussian", "bernoulli", "poisson"]
NEAR = 0.5
"""Share of the critical beta from which a run that starts badly may end dead."""
SMALL = 1e-4
"""Probability or rate below which an element is taken not to occur: its curvature is next to nothing, and would be divided by."""


@dataclass(frozen=True)
class Forecast:
    """What can be encoded, in units of what it costs."""

    eigenvalues_X: Tensor
    """Largest first: nats that a direction gains per nat of KL, at the prior."""
    noise_edge: float
    """The largest that as many rows of pure noise of this likelihood would show (:func:`noise_edge`)."""
    farthest_beta: float | None = None
    """Where the decoder reads the latents of earlier rows too: beyond this nothing can survive (:func:`from_sequences`)."""

    @property
    def critical_beta(self) -> float:
        """From here on nothing survives."""
        return float(self.eigenvalues_X[0])

    @property
    def nothing_to_encode(self) -> bool:
        """Whether the data look like noise about a constant, so that no beta of 1 or more can help."""
        return self.critical_beta <= self.noise_edge

    def survivors(self, beta: float, latent_dim: int | None = None) -> int:
        """Latent dimensions that are active at this beta, of as many as the model has."""
        found = int((self.eigenvalues_X > beta).sum())
        return found if latent_dim is None else min(found, latent_dim)

    def information(self, beta: float, latent_dim: int | None = None) -> float:
        """KL at the optimum, nats per row: sum of 0.5 ln(lambda_i / beta) over the survivors."""
        kept = self.eigenvalues_X[: self.survivors(beta, latent_dim)].double()
        return float(0.5 * (kept / beta).log().sum()) if beta > 0 else math.inf

    def advice(self, beta: float) -> str:
        """What to make of a beta that is planned; empty where it is no danger.

        >>> data = Forecast(torch.tensor([8.0, 4.0, 0.5]), noise_edge=1.2)
        >>> data.advice(0.5), data.advice(9.0)
        ('', 'beta 9 is too high: from about 8 on nothing survives in these data.')
        """
        if self.nothing_to_encode:
            return "there is nothing to encode: the data look like noise about a constant, whatever beta is."
        if beta >= self.critical_beta:
            return (
                f"beta {beta:.3g} is too high: from about {self.critical_beta:.2g} on nothing survives in these data."
            )
        if beta >= NEAR * self.critical_beta:
            return f"beta {beta:.3g} is near {self.critical_beta:.2g}, from which on nothing survives in these data."
        return ""

    def __str__(self) -> str:
        if self.nothing_to_encode:
            return f"nothing to encode: the largest eigenvalue {self.critical_beta:.3g} is within the {self.noise_edge:.3g} of pure noise"
        at = ", ".join(f"{self.survivors(beta)} at beta {beta:g}" for beta in (0.1, 0.3, 1.0, 3.0, 10.0))
        return f"collapses from beta {self.critical_beta:.3g} on; dimensions that survive: {at}"


def forecast(data_NX: Tensor, likelihood: Likelihood = "gaussian", variance: float = 1.0) -> Forecast:
    """From data, for a decoder of one of the usual likelihoods with fixed scale.

    Args:
        data_NX: what is reconstructed, one row per sample.
        likelihood: of the decoder, its elements independent: `gaussian` with this variance; `bernoulli` and `poisson` by their logits and
            log rates.
        variance: of a Gaussian decoder.

    Raises:
        InputError: fewer than two rows, or values that the likelihood cannot have.

    >>> x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 2.0, 0.5])
    >>> found = forecast(x)
    >>> [found.survivors(beta) for beta in (0.1, 1.0, 6.0, 10.0)]
    [3, 2, 1, 0]
    """
    if data_NX.ndim != 2 or len(data_NX) < 2:
        raise InputError(f"A forecast needs at least two rows of data; it got {tuple(data_NX.shape)}.")
    x = data_NX.double()
    mean_X = x.mean(0)
    if likelihood == "gaussian":
        return from_scores((x - mean_X) / variance, torch.full_like(mean_X, 1.0 / variance))
    highest = 1.0 if likelihood == "bernoulli" else math.inf
    if bool((x < 0).any() or (x > highest).any()):
        raise InputError(
            f"Values of a {likelihood} likelihood are 0 to {highest}; the data reach from {x.min():g} to {x.max():g}."
        )
    curvature_X = mean_X * (1.0 - mean_X) if likelihood == "bernoulli" else mean_X
    occurs = curvature_X > SMALL
    if not bool(occurs.any()):
        raise InputError("Every element of the data is constant: there is nothing to encode.")
    return from_scores((x - mean_X)[:, occurs], curvature_X[occurs])


def from_scores(score_NX: Tensor, curvature_X: Tensor) -> Forecast:
    """From gradients of the log-likelihood about its best constant, and its mean curvature, diagonal.

    Args:
        score_NX: d log p(x_n) / d eta in the natural parameters eta.
        curvature_X: -E d^2 log p / d eta^2, above 0.
    """
    rows = len(score_NX)
    whitened_NX = score_NX.double() / curvature_X.double().sqrt()
    singular = torch.linalg.svdvals(whitened_NX / math.sqrt(rows))
    directions = whitened_NX.shape[1]
    return Forecast(singular.square(), noise_edge(rows, directions))


def noise_edge(rows: int, directions: int) -> float:
    """Largest eigenvalue of white noise that 99 of 100 samples stay below (Johnstone 2001, with the Tracy-Widom law of order 1).

    >>> round(noise_edge(3000, 5), 3), round((1 + (5 / 3000) ** 0.5) ** 2, 3)  # and where Marchenko & Pastur 1967 have it end
    (1.113, 1.083)
    """
    n, p = math.sqrt(max(rows - 1, 1)), math.sqrt(directions)
    return ((n + p) ** 2 + TRACY_WIDOM * (n + p) * (1.0 / n + 1.0 / p) ** (1.0 / 3.0)) / rows


TRACY_WIDOM = 2.02
"""99 % quantile."""
LAGS = 48
"""Later rows of a sequence that are looked at, as far as each gains something by a latent."""


def from_sequences(score_NX: Tensor, curvature_X: Tensor, sequence_N: Tensor, position_N: Tensor) -> Forecast:
    """For a decoder that reads the latents of a row and of all rows before it, as of the sets of one patient.

    What a row alone pays for are the eigenvalues of C, as in :func:`from_scores`, and that is what training finds from scratch. At the
    prior a latent u = w . x_t with little signal pays w C w of KL, and could gain sum_s |C_st w|^2 in the rows s >= t that it is read for,
    C_st the covariance of whitened gradients that far apart. `farthest_beta` is the largest eigenvalue of
    C^-1/2 (sum_s C_st C_st^T) C^-1/2: that of C where rows have nothing to do with each other, and more where what is true of a row stays
    true.

    Args:
        score_NX: d log p(x_n) / d eta about the best constant.
        curvature_X: -E d^2 log p / d eta^2, above 0.
        sequence_N: to which sequence a row belongs, ascending.
        position_N: its place there: 0, 1, 2, ...
    """
    white_NX = score_NX.double() / curvature_X.double().sqrt()
    white_NX = white_NX - white_NX.mean(0)
    rows, directions = white_NX.shape
    variance_X, axes_XX = torch.linalg.eigh(white_NX.T @ white_NX / rows)
    kept = variance_X > SMALL * variance_X[-1]
    # Coordinates in which C is the identity: gains are then |A C_st C^-1/2|^2 with A the whitened gradients themselves.
    unit_NK = white_NX @ axes_XX[:, kept] / variance_X[kept].sqrt()
    half_N = sequence_N % 2 == 0
    gain_KK = torch.diag(variance_X[kept])
    for lag in range(1, min(LAGS, int(position_N.max())) + 1):
        earlier = torch.arange(rows - lag)[sequence_N[lag:] == sequence_N[:-lag]]
        # From two halves of the sequences, so that noise is no square.
        halves = [earlier[half_N[earlier]], earlier[~half_N[earlier]]]
        if min(map(len, halves)) < 2:
            break
        first, second = (white_NX[part + lag].T @ unit_NK[part] / len(part) for part in halves)
        share = len(earlier) / rows
        gain_KK = gain_KK + share * 0.5 * (first.T @ second + second.T @ first)
    farthest = float(torch.linalg.eigvalsh(gain_KK)[-1])
    eigenvalues_K = variance_X[kept].flip(0)
    return Forecast(eigenvalues_K, noise_edge(rows, directions), max(farthest, float(eigenvalues_K[0])))
