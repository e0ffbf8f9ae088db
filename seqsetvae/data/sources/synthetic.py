"""Made-up stays whose truth is known: a slow hidden severity drives the values and the outcome."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from seqsetvae.data.quarantine import Quarantine
from seqsetvae.data.sources.base import SPLIT_SHARES, SPLITS, Chunk, Source
from seqsetvae.errors import InputError

SUBJECTS_PER_BLOCK = 10_000
MINUTES_PER_SET = 30.0
STICKINESS = 0.95
"""Autocorrelation of severity from one set to the next."""


@dataclass(frozen=True)
class Synthetic(Source):
    """Subjects with K hidden severities that move as AR(1) over the sets of a stay, variance 1.

    A value is `level[v] + unit[v] * (loading[v] . severity + noise)`; the loadings alternate in sign and strength, so that every
    severity can be read off the values. The label is 1 where the first severity, averaged over the stay, plus a little noise is
    above a threshold. Set times are 15 to 45 minutes apart, whole minutes, starting at 0. Every set holds the same number of
    different variables, drawn at random.
    """

    name: ClassVar[str] = "synthetic"

    subjects: int = 1000
    """Subjects of all splits, divided 64/16/20."""
    variables: int = 20
    """Variables in the vocabulary."""
    sets: int = 10
    """Sets per subject on average: from half to one and a half times as many."""
    events_per_set: int = 5
    """Events in each set; at most the number of variables."""
    severities: int = 1
    """Hidden dimensions."""
    noise: float = 0.5
    """Standard deviation of a value around what severity says, where severity has 1."""
    prevalence: float = 0.15
    """Share of subjects with label 1, about."""
    seed: int = 0
    """Seed of everything."""

    def __post_init__(self) -> None:
        for flag in ("subjects", "variables", "sets", "events_per_set", "severities"):
            if getattr(self, flag) < 1:
                raise InputError(f"--{flag} is {getattr(self, flag)}, but must be at least 1.")
        if self.events_per_set > self.variables:
            raise InputError(
                f"--events_per_set is {self.events_per_set}, but there are only {self.variables} variables."
            )
        if not 0.0 < self.prevalence < 1.0:
            raise InputError(f"--prevalence is {self.prevalence}, but must be between 0 and 1.")

    def describe(self) -> dict[str, object]:
        return {"source": self.name} | {key: value for key, value in vars(self).items() if not key.startswith("_")}

    def n_subjects(self, split: str) -> int:
        edges = np.round(np.cumsum((0.0, *SPLIT_SHARES)) * self.subjects).astype(int)
        return int(np.diff(edges)[SPLITS.index(split)])

    def chunks(self, split: str, quarantine: Quarantine) -> Iterator[Chunk]:
        for block in self._blocks(split):
            yield self._chunk(split, block)

    def severity(self, split: str) -> NDArray[np.float32]:
        """(n_sets, K) hidden severity of every set of a split, in the order of the store: the truth that a latent should find."""
        return np.concatenate([self._draw(split, block).severity_SK for block in self._blocks(split)]).astype(
            np.float32
        )

    def _blocks(self, split: str) -> range:
        return range(-(-self.n_subjects(split) // SUBJECTS_PER_BLOCK))

    def _draw(self, split: str, block: int) -> _Draw:
        """Set times and severities of one block of subjects."""
        rng = np.random.default_rng([self.seed, SPLITS.index(split), block])
        n_subjects = min(SUBJECTS_PER_BLOCK, self.n_subjects(split) - block * SUBJECTS_PER_BLOCK)
        shortest, longest = max(self.sets // 2, 1), self.sets + self.sets // 2
        n_sets_B = rng.integers(shortest, longest + 1, n_subjects)
        step_BTK = rng.standard_normal((n_subjects, longest, self.severities)) * np.sqrt(1 - STICKINESS**2)
        severity_BTK = np.empty_like(step_BTK)
        severity_BTK[:, 0] = rng.standard_normal((n_subjects, self.severities))
        for t in range(1, longest):
            severity_BTK[:, t] = STICKINESS * severity_BTK[:, t - 1] + step_BTK[:, t]
        gap_BT = np.round(MINUTES_PER_SET * rng.uniform(0.5, 1.5, (n_subjects, longest)))
        gap_BT[:, 0] = 0
        is_set_BT = np.arange(longest) < n_sets_B[:, None]
        return _Draw(rng, n_sets_B, np.cumsum(gap_BT, axis=1)[is_set_BT], severity_BTK[is_set_BT])

    def _chunk(self, split: str, block: int) -> Chunk:
        draw = self._draw(split, block)
        rng, n_subjects, n_sets = draw.rng, len(draw.n_sets_B), len(draw.minute_S)
        subject_S = np.repeat(np.arange(n_subjects), draw.n_sets_B)
        # The variables of a set: the first few of a random permutation, ascending as the store keeps them.
        variable_SE = np.argsort(rng.random((n_sets, self.variables), dtype=np.float32), axis=1)[
            :, : self.events_per_set
        ]
        variable_SE.sort(axis=1)
        expected_SE = np.take_along_axis(draw.severity_SK @ self.loadings().T, variable_SE, axis=1)
        noisy_SE = expected_SE + self.noise * rng.standard_normal(variable_SE.shape)
        level_V, unit_V = self.units()
        value_SE = level_V[variable_SE] + unit_V[variable_SE] * noisy_SE

        mean_B = np.bincount(subject_S, draw.severity_SK[:, 0], minlength=n_subjects) / draw.n_sets_B
        risk_B = mean_B + 0.2 * rng.standard_normal(n_subjects)
        threshold = np.quantile(risk_B, 1 - self.prevalence)
        first = block * SUBJECTS_PER_BLOCK
        return Chunk(
            subject_ids=[f"{split}-{first + i:07d}" for i in range(n_subjects)],
            files=["synthetic"] * n_subjects,
            label_B=(risk_B > threshold).astype(np.float32),
            variables=[f"variable-{i:04d}" for i in range(self.variables)],
            subject_N=np.repeat(subject_S, self.events_per_set),
            minute_N=np.repeat(draw.minute_S, self.events_per_set),
            variable_N=variable_SE.reshape(-1),
            value_N=value_SE.reshape(-1),
            row_N=np.arange(1, n_sets * self.events_per_set + 1),
        )

    def loadings(self) -> NDArray[np.float64]:
        """(V, K) how much each severity moves each variable, in units of the variable."""
        rng = np.random.default_rng([self.seed, 99])
        sign = np.where(np.arange(self.variables) % 2, -1.0, 1.0)[:, None]
        return sign * rng.uniform(0.5, 1.5, (self.variables, self.severities)) * rng.choice([-1, 1], self.severities)

    def units(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(V,) level and (V,) unit of the variables, as different as those of laboratory values."""
        rng = np.random.default_rng([self.seed, 98])
        return rng.uniform(0.0, 200.0, self.variables), 10.0 ** rng.uniform(-1.0, 2.0, self.variables)


@dataclass(frozen=True)
class _Draw:
    rng: np.random.Generator
    n_sets_B: NDArray[np.int64]
    minute_S: NDArray[np.float64]
    severity_SK: NDArray[np.float64]
