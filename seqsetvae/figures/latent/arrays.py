"""What the figures of a trained model are drawn from. Plain arrays; nothing here names a subject.

Shapes: S sets, Z latent dimensions, T recorded values of one variable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LatentSample:
    """Posteriors of some sets, drawn at random from the sets of some stays."""

    mu_SZ: NDArray[np.float32]
    logvar_SZ: NDArray[np.float32]
    """log sigma^2."""
    hour_S: Floats
    """Since the start of the stay."""
    label_S: Floats
    """Outcome of the stay, 0 or 1; NaN where there is none."""
    severity_S: Floats
    """NaN where nothing it is made of was recorded yet."""
    severity: str
    """What severity_S is, for an axis."""
    stay_S: NDArray[np.int64]
    """Number of the stay within the sample."""
    stays: int
    """That were encoded."""
    sets: int
    """That were encoded, of which these S were kept."""
    decoder_use: float
    """Rise in negative log-likelihood when latents are exchanged between stays, nats per set."""


@dataclass(frozen=True)
class Quartiles:
    """Of absolute errors, in the variable's unit."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Floats) -> Quartiles:
        """The quartiles of all values.

        >>> Quartiles.of(np.array([1.0, 2.0, 3.0, 4.0, 10.0]))
        Quartiles(low=2.0, median=3.0, high=4.0)
        """
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
        return cls(float(low), float(median), float(high))


@dataclass(frozen=True)
class VariableError:
    """How far the reconstruction of a variable lies from what was recorded."""

    name: str
    unit: str
    events: int
    """Recorded in the sampled stays."""
    model: Quartiles
    """|recorded - median of the decoder's distribution given the posterior means|."""
    training_median: Quartiles
    """|recorded - centre of the training values|, what a model that has learned nothing but that would do."""

    @property
    def ratio(self) -> float:
        """Median error over that of the training median; NaN where the latter is 0, as of a variable that is nearly constant."""
        return self.model.median / self.training_median.median if self.training_median.median > 0 else float("nan")


@dataclass(frozen=True)
class VariableTold:
    """What the latents tell the decoder of a variable: nats per recorded value, a lower bound, at most ln 8."""

    name: str
    bound: float
    error: float
    """Its standard error."""
    before: float | None = None
    """The bound of the model that this one is compared with."""


@dataclass(frozen=True, eq=False)
class VariableTrace:
    """One variable over a stay: what was recorded, and what the model says at every set, in the variable's unit."""

    name: str
    unit: str
    hour_T: Floats
    recorded_T: Floats
    low_S: Floats
    """5 % quantile of the decoder's distribution, over the posterior."""
    middle_S: Floats
    """Its median."""
    high_S: Floats
    """95 %."""

    @property
    def covered(self) -> float:
        """Share of the recorded values inside the band; the band's own claim is 0.9."""
        at_T = np.searchsorted(self.hour_S, self.hour_T)
        return float(((self.low_S[at_T] <= self.recorded_T) & (self.recorded_T <= self.high_S[at_T])).mean())

    hour_S: Floats
    """Of the sets."""


@dataclass(frozen=True, eq=False)
class StayView:
    """One stay as the model sees it."""

    row: int
    """In its split, from 0."""
    label: float
    """Outcome, 0 or 1; NaN where there is none."""
    hour_S: Floats
    events_S: NDArray[np.int64]
    """Recorded at each set."""
    mu_SZ: NDArray[np.float32]
    sd_SZ: NDArray[np.float32]
    traces: tuple[VariableTrace, ...]
    """Of the variables with most recorded values, those first."""
