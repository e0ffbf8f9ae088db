"""`CollapseStatistics`: one update of the monitor, as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqsetvae import names

if TYPE_CHECKING:
    # Torch comes with it: whoever only judges numbers goes without those seconds.
    from seqsetvae.posterior import PosteriorStatistics


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
    """Rise in negative log-likelihood when latents are exchanged, nats per set: the latest measurement; None where the model does not
    offer it, or it was not measured yet."""
    decoder_information: float | None = None
    """What the decoder gets out of the latents, nats per set, a lower bound; None as above, and in runs of before it was recorded."""
    decoder_information_error: float | None = None
    """Its standard error."""
    sets_at_prior: float | None = None
    """Share of sets with a KL below 0.01 nats, all dimensions together; None in runs of before it was recorded."""
    collapsed_parts: tuple[str, ...] | None = None
    """Layers and subgroups that are judged by themselves and are red; None where there are none."""
    unasked_parts: tuple[str, ...] = ()
    """Layers of which the decoder could not be asked."""
    recon: float | None = None
    recon_slope: float | None = None
    updates: int = 0
    """Updates that the slope looks back on."""
    beta: float | None = None
    hours: float | None = None
    """Of training so far; None where nobody looked at a clock."""

    def __repr__(self) -> str:
        return (
            f"<CollapseStatistics step {self.step}: KL {self.kl:.3g}, mutual information {self.mutual_information:.3g}, "
            f"{self.active_units} of {self.latent_dim} units active>"
        )

    @property
    def active_units_ratio(self) -> float:
        return self.active_units / self.latent_dim

    @property
    def heard(self) -> float | None:
        """What is held against the threshold of decoder use.

        That is the bound in nats of information, or, in runs of before it was recorded, the rise of the loss; None where neither was
        measured.
        """
        return self.decoder_use if self.decoder_information is None else self.decoder_information

    @property
    def heard_at_most(self) -> float | None:
        """`heard` plus twice its standard error: of some dozens of sets a bound of 0.1 nats can read 0, and then it is not known to be."""
        return None if self.heard is None else self.heard + 2.0 * (self.decoder_information_error or 0.0)

    @property
    def marginal_kl(self) -> float:
        """KL(q(z) || p(z)) = KL - mutual information (Hoffman & Johnson 2016)."""
        return self.kl - self.mutual_information

    @classmethod
    def of(
        cls,
        statistics: PosteriorStatistics,
        *,
        step: int,
        var_threshold: float,
        decoder_use: float | None = None,
        decoder: Mapping[str, float] | None = None,
        recon: float | None = None,
        recon_slope: float | None = None,
        updates: int = 0,
        beta: float | None = None,
        hours: float | None = None,
    ) -> CollapseStatistics:
        """Numbers from tensors. Waits for the device on which they are.

        `decoder`: `decoder_use`, `decoder_information` and `decoder_information_error`, where they were measured.
        """
        from seqsetvae.posterior import ACTIVE_UNIT_VARIANCE, COLLAPSE_DELTA

        kl_Z = statistics.kl_Z.float().cpu().numpy()
        heard = decoder or {}
        return cls(
            step=step,
            sets=statistics.sets,
            kl=float(kl_Z.sum(dtype=np.float64)) + float(statistics.kl_correction),
            active_units=int((statistics.signal_Z > ACTIVE_UNIT_VARIANCE).sum()),
            latent_dim=len(kl_Z),
            mutual_information=float(statistics.mutual_information),
            mutual_information_ceiling=math.log(statistics.sets),
            collapsed_dimensions_ratio=float((statistics.collapsed_share_Z >= 1.0 - COLLAPSE_DELTA).float().mean()),
            mean_variance=float(statistics.mean_variance_Z.mean()),
            active_ratio_by_variance=float(statistics.variance_share),
            active_ratio_by_mean_variance=float((statistics.mean_variance_Z > var_threshold).float().mean()),
            kl_Z=kl_Z,
            finite=bool(statistics.finite),
            decoder_use=heard.get("decoder_use", decoder_use),
            decoder_information=heard.get("decoder_information"),
            decoder_information_error=heard.get("decoder_information_error"),
            sets_at_prior=float(statistics.at_prior_share),
            recon=recon,
            recon_slope=recon_slope,
            updates=updates,
            beta=beta,
            hours=hours,
        )

    def metrics(self) -> dict[str, float]:
        """As recorded in the run, by name; what was not measured is left out."""
        figures = {
            names.COLLAPSE_KL: self.kl,
            names.COLLAPSE_ACTIVE_UNITS: self.active_units,
            names.COLLAPSE_ACTIVE_RATIO: self.active_units_ratio,
            names.COLLAPSE_MUTUAL_INFORMATION: self.mutual_information,
            names.COLLAPSE_MUTUAL_INFORMATION_CEILING: self.mutual_information_ceiling,
            names.COLLAPSE_MARGINAL_KL: self.marginal_kl,
            names.COLLAPSE_DECODER_USE: self.decoder_use,
            names.COLLAPSE_DECODER_INFORMATION: self.decoder_information,
            names.COLLAPSE_DECODER_INFORMATION_ERROR: self.decoder_information_error,
            names.COLLAPSE_DEAD_RATIO: self.collapsed_dimensions_ratio,
            names.COLLAPSE_SETS_AT_PRIOR: self.sets_at_prior,
            names.COLLAPSE_PARTS: None if self.collapsed_parts is None else len(self.collapsed_parts),
            names.COLLAPSE_VARIANCE: self.mean_variance,
            names.COLLAPSE_VARIANCE_RATIO: self.active_ratio_by_variance,
            names.COLLAPSE_VARIANCE_RATIO_BY_MEAN: self.active_ratio_by_mean_variance,
            names.COLLAPSE_BETA: self.beta,
            names.COLLAPSE_HOURS: self.hours,
            names.COLLAPSE_RECON: self.recon,
            names.COLLAPSE_RECON_SLOPE: self.recon_slope,
        }
        return {name: value for name, value in figures.items() if value is not None}
