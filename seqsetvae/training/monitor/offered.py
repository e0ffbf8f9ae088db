"""What a module offers to be watched: its posterior in any of the usual forms, and why another one cannot be used."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from seqsetvae.errors import InputError
from seqsetvae.posterior import DiagonalGaussian

HOW = (
    "Set `self.posterior = DiagonalGaussian(mu, logvar)`, or a torch Normal, or Independent of it, in its training_step"
)


def offers_posterior(module: Any) -> bool:
    """Whether there is something to look at, though it may be None before the first step."""
    return hasattr(module, "posterior")


def offered_posterior(module: Any) -> DiagonalGaussian:
    """The posterior of the step just taken, cut off from its graph: rows of the batch first, latent dimensions last.

    Raises:
        InputError: there is none, or none that can be used; with the reason.
    """
    who = f"{type(module).__name__}.posterior"
    offered = module.posterior
    if callable(offered) and not isinstance(offered, Distribution):
        offered = offered()
    if offered is None:
        raise InputError(f"{type(module).__name__}.training_step has not set self.posterior. {HOW}.")
    found = _as_gaussian(offered)
    if found is None:
        raise InputError(f"{who} is a {type(offered).__name__}, which the collapse monitor cannot measure. {HOW}.")
    mu, logvar = found.mu_SZ.detach(), found.logvar_SZ.detach()
    if mu.ndim < 2 or 0 in mu.shape:
        raise InputError(
            f"{who} has means of shape {tuple(mu.shape)}; what is needed is (rows of the batch, ..., latent dimensions), none of them 0."
        )
    if mu.shape != logvar.shape:
        try:
            logvar = logvar.expand_as(mu)
        except RuntimeError:
            raise InputError(
                f"{who} has means of shape {tuple(mu.shape)} and log variances of shape {tuple(logvar.shape)}: they must be the same."
            ) from None
    return DiagonalGaussian(mu, logvar)


def _as_gaussian(offered: Any) -> DiagonalGaussian | None:
    if isinstance(offered, DiagonalGaussian):
        return offered
    if isinstance(offered, Independent):
        return _as_gaussian(offered.base_dist)
    if isinstance(offered, Normal):
        return DiagonalGaussian(offered.loc, 2.0 * offered.scale.log())
    if isinstance(offered, (list, tuple)) and len(offered) == 2 and all(isinstance(one, Tensor) for one in offered):
        return DiagonalGaussian(*offered)
    return None
