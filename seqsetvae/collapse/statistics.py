"""`CollapseStatistics`: one update of the monitor, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CollapseStatistics:
    """One update of the monitor: plain numbers, as recorded. Units as in :mod:`seqsetvae.names`."""

    step: int
    sets: int
    kl: float
    active_units: int
    latent_dim: int
    mutual_information: float
    mutual_information_ceiling: float
    collapsed_dimensions_ratio: float
    mean_variance: float
    active_ratio_by_variance: float
    """Share of all sigma^2 > 0.01 (the monitor guide's)."""
    active_ratio_by_mean_variance: float
    """Share of dimensions whose mean sigma^2 is above `var_threshold` (the detector guide's)."""
    kl_Z: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32), compare=False, repr=False)
    """KL of each dimension, nats, shape (Z,)."""
    finite: bool = True
    decoder_use: float | None = None
    """The latest measurement; None where the model does not offer it, or it was not measured yet."""
    recon: float | None = None
    recon_slope: float | None = None
    updates: int = 0
    """Updates that the slope looks back on."""
    beta: float | None = None

    @property
    def active_units_ratio(self) -> float:
        return self.active_units / self.latent_dim

    @property
    def marginal_kl(self) -> float:
        """KL(q(z) || p(z)) = KL - mutual information (Hoffman & Johnson 2016)."""
        return self.kl - self.mutual_information
