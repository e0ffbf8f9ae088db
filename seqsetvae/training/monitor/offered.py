"""What a module offers to be watched: its posterior in any of the usual forms, and why another one cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, LowRankMultivariateNormal, MultivariateNormal, Normal

from seqsetvae.errors import InputError
from seqsetvae.posterior import CorrelatedGaussian, DiagonalGaussian, in_units_of, kl_to_prior
from seqsetvae.training.monitor.latents import WHOLE, Latents, Layer, side_by_side

HOW = (
    "Set `self.posterior = DiagonalGaussian(mu, logvar)`, or a torch Normal, MultivariateNormal, or Independent of them, in its "
    "training_step; with a prior of your own a pair (posterior, prior); of several layers `self.posteriors = {'z1': (q, p), ...}`"
)
PRIOR_SAMPLES = 4
"""Of each posterior, for its KL to a prior that has no closed form."""
_DRAWS = count()


def offers_posterior(module: Any, attribute: str = "") -> bool:
    """Whether there is something to look at, though it may be None before the first step."""
    return hasattr(module, attribute) if attribute else hasattr(module, "posterior") or hasattr(module, "posteriors")


def offered_latents(module: Any, batch: Any = None, attribute: str = "") -> Latents:
    """What a module offers of the step just taken, with the groups and the condition of the rows of its batch.

    Raises:
        InputError: there is none, or none that can be used; with the reason.
    """
    attribute = attribute or ("posteriors" if getattr(module, "posteriors", None) is not None else "posterior")
    who = f"{type(module).__name__}.{attribute}"
    offered = getattr(module, attribute)
    if callable(offered) and not isinstance(offered, Distribution):
        offered = offered()
    if offered is None:
        raise InputError(f"{type(module).__name__}.training_step has not set self.{attribute}. {HOW}.")
    return as_latents(offered, *beside(module, batch), who)


def beside(module: Any, batch: Any) -> tuple[Mapping[str, Tensor] | None, Tensor | None]:
    """Subgroups and condition of the rows of a batch, where a module has such methods."""
    groups, condition = getattr(module, "groups", None), getattr(module, "condition", None)
    return groups(batch) if callable(groups) else None, condition(batch) if callable(condition) else None


@torch.no_grad()
def as_latents(
    offered: Any, groups: Mapping[str, Tensor] | None = None, condition: Tensor | None = None, who: str = "posterior"
) -> Latents:
    """Any form of posterior, or of several, as the monitor looks at it.

    Args:
        offered: a posterior; a pair of it and its prior; or a dict of either by the name of the layer.
        groups: name -> whether each row is in that subgroup, bool, shape (B,).
        condition: what the model is told of each row beside its latents, shape (B, ...).
        who: offers it, for a refusal.

    Raises:
        InputError: it cannot be used; with the reason.
    """
    named = isinstance(offered, Mapping)
    given = dict(offered) if named else {WHOLE: offered}
    if not given:
        raise InputError(f"{who} is empty. {HOW}.")
    parts = [_layer(one, f"{who}[{name!r}]" if named else who) for name, one in given.items()]
    shapes = [q.mu_SZ.shape for q, _, _ in parts]
    if len({shape[0] for shape in shapes}) > 1:
        raise InputError(
            f"{who} has layers of {sorted({shape[0] for shape in shapes})} rows; each needs one for each row of the batch."
        )
    if len({shape[:-1] for shape in shapes}) > 1:
        parts = [
            (_flat(q), None if p is None else _flat(p), None if c is None else c.flatten(1).sum(1)) for q, p, c in parts
        ]
    widths = [q.mu_SZ.shape[-1] for q, _, _ in parts]
    starts = [sum(widths[:place]) for place in range(len(widths))]
    layers = tuple(
        Layer(name, slice(start, start + width), shape[1:])
        for name, start, width, shape in zip(given, starts, widths, shapes, strict=True)
    )
    priors = [p for _, p, _ in parts]
    corrections = [c for _, _, c in parts if c is not None]
    return Latents(
        side_by_side([q for q, _, _ in parts]),
        layers,
        side_by_side([_standard(q) if p is None else p for q, p, _ in parts])
        if any(p is not None for p in priors)
        else None,
        torch.stack(corrections).sum(0) if corrections else None,
        {name: _per_row(inside, shapes[0][0], f"the group {name!r}").bool() for name, inside in (groups or {}).items()},
        None
        if condition is None
        else _per_row(condition, shapes[0][0], "the condition").flatten(1 if condition.ndim > 1 else 0),
        named,
    )


def _layer(offered: Any, who: str) -> tuple[DiagonalGaussian, DiagonalGaussian | None, Tensor | None]:
    """A layer in units of its prior, that prior, and what its KL is more than the closed form says."""
    q, p = offered, None
    if isinstance(offered, (list, tuple)) and len(offered) == 2 and not isinstance(offered[0], Tensor):
        q, p = offered
    found = _as_gaussian(q)
    if found is None:
        raise InputError(f"{who} is a {type(q).__name__}, which the collapse monitor cannot measure. {HOW}.")
    posterior = _checked(found.each(Tensor.detach), who)
    if p is None:
        return posterior, None, None
    prior = _as_gaussian(p)
    if prior is None and not callable(getattr(p, "log_prob", None)):
        raise InputError(f"The prior of {who} is a {type(p).__name__}, without a log_prob(z); None stands for N(0, I).")
    frame = _like(posterior, prior if prior is not None else _moments(p, posterior), who)
    seen = in_units_of(frame, posterior)
    return seen, frame, None if prior is not None else _sampled_kl(posterior, p, who) - kl_to_prior(seen).sum(-1)


def _as_gaussian(offered: Any) -> DiagonalGaussian | None:
    if isinstance(offered, DiagonalGaussian):
        return offered
    if isinstance(offered, Independent):
        return _as_gaussian(offered.base_dist)
    if isinstance(offered, Normal):
        return DiagonalGaussian(offered.loc, 2.0 * offered.scale.log())
    if isinstance(offered, (MultivariateNormal, LowRankMultivariateNormal)):
        return CorrelatedGaussian.of(offered.loc, offered.scale_tril)
    if isinstance(offered, (list, tuple)) and len(offered) == 2 and all(isinstance(one, Tensor) for one in offered):
        return DiagonalGaussian(*offered)
    return None


def _checked(posterior: DiagonalGaussian, who: str) -> DiagonalGaussian:
    mu, logvar = posterior.mu_SZ, posterior.logvar_SZ
    if mu.ndim < 2 or 0 in mu.shape:
        raise InputError(
            f"{who} has means of shape {tuple(mu.shape)}; what is needed is (rows of the batch, ..., latent dimensions), none of them 0."
        )
    if mu.shape == logvar.shape:
        return posterior
    try:
        return DiagonalGaussian(mu, logvar.expand_as(mu))
    except RuntimeError:
        raise InputError(
            f"{who} has means of shape {tuple(mu.shape)} and log variances of shape {tuple(logvar.shape)}: they must be the same."
        ) from None


def _like(posterior: DiagonalGaussian, prior: DiagonalGaussian, who: str) -> DiagonalGaussian:
    """A prior with one row for each row of the posterior, cut off from its graph."""
    shape = posterior.mu_SZ.shape
    try:
        mu, logvar = prior.mu_SZ.detach().expand(shape), prior.logvar_SZ.detach().expand(shape)
        if isinstance(prior, CorrelatedGaussian):
            return CorrelatedGaussian(mu, logvar, prior.root_SZZ.detach().expand(*shape, shape[-1]))
    except RuntimeError:
        raise InputError(
            f"The prior of {who} has means of shape {tuple(prior.mu_SZ.shape)}, which does not fit the posterior's {tuple(shape)}."
        ) from None
    return DiagonalGaussian(mu, logvar)


def _standard(posterior: DiagonalGaussian) -> DiagonalGaussian:
    return DiagonalGaussian(torch.zeros_like(posterior.mu_SZ), torch.zeros_like(posterior.mu_SZ))


def _moments(prior: Any, posterior: DiagonalGaussian) -> DiagonalGaussian:
    """Mean and variance of a prior that is no Gaussian, as far as it has them: only units, the KL does not depend on them."""
    try:
        return DiagonalGaussian(prior.mean, prior.variance.log())
    except (NotImplementedError, AttributeError):
        return _standard(posterior)


def _sampled_kl(posterior: DiagonalGaussian, prior: Any, who: str) -> Tensor:
    """KL of each row, or place of a row, by samples: E_q[ln q(z) - ln p(z)], for a VampPrior or another mixture."""
    total = torch.zeros(posterior.mu_SZ.shape[:-1], device=posterior.mu_SZ.device)
    generator = torch.Generator().manual_seed(
        next(_DRAWS)
    )  # of its own: what is watched must train as it does unwatched
    for _ in range(PRIOR_SAMPLES):
        noise = torch.randn(posterior.mu_SZ.shape, generator=generator).to(posterior.mu_SZ)
        z = posterior.sample(noise)
        own = -0.5 * (noise.square() + posterior.logvar_SZ + torch.log(torch.tensor(2.0 * torch.pi))).sum(-1)
        try:
            log_prior = prior.log_prob(z)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"The prior of {who} cannot judge latents of shape {tuple(z.shape)}: {error}") from None
        if log_prior.shape == z.shape:
            log_prior = log_prior.sum(-1)
        total += own - log_prior
    return total / PRIOR_SAMPLES


def _flat(posterior: DiagonalGaussian) -> DiagonalGaussian:
    """Places of a row as more dimensions of it."""
    if isinstance(posterior, CorrelatedGaussian):
        raise InputError(
            f"Correlated latents of shape {tuple(posterior.mu_SZ.shape)} cannot stand beside layers of another shape."
        )
    return posterior.each(lambda values: values.flatten(1))


def _per_row(values: Tensor, rows: int, what: str) -> Tensor:
    if not isinstance(values, Tensor) or values.ndim == 0 or len(values) != rows:
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(
            f"{what[0].upper()}{what[1:]} is {shape}; what is needed is a tensor with one entry for each of the {rows} rows."
        )
    return values.detach()
