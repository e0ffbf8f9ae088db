"""`Latents`: what a model offers of a batch, layer by layer, each in units of its own prior.

A posterior N(mu, sigma^2) under a prior N(m, s^2) is looked at as N((mu - m) / s, (sigma / s)^2) under N(0, I): its KL is the same, and
what a conditional prior says of a row by itself, such as its class, is no longer in it. A latent that copies the class carries nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Size, Tensor

from seqsetvae.posterior import CorrelatedGaussian, DiagonalGaussian, root_of

WHOLE = "all layers"


@dataclass(frozen=True)
class Layer:
    """Where a layer is, among the dimensions side by side, and the shape of its latents behind the row of the batch."""

    name: str
    place: slice
    shape: Size


@dataclass(frozen=True)
class Latents:
    """The posteriors of one batch, cut off from its graph; rows of the batch first."""

    residual: DiagonalGaussian
    """In units of the prior, shape (B, ..., Z), layers side by side."""
    layers: tuple[Layer, ...]
    prior: DiagonalGaussian | None = None
    """Of each row, as `residual` is laid out; None: N(0, I)."""
    correction_B: Tensor | None = None
    """What the KL of each row, or place of a row, to its prior is more than that of `residual` to N(0, I); None: nothing."""
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    """Name of a subgroup -> whether a row is in it, shape (B,)."""
    condition: Tensor | None = None
    """What the model is told of each row beside its latents, shape (B, C)."""
    named: bool = False
    """Whether the model offers its layers by name, and gets them by name."""

    @property
    def rows(self) -> int:
        return len(self.residual.mu_SZ)

    def first(self, rows: int) -> Latents:
        """The first rows alone."""
        return replace(
            self,
            residual=self.residual.each(lambda values: values[:rows]),
            prior=None if self.prior is None else self.prior.each(lambda values: values[:rows]),
            correction_B=None if self.correction_B is None else self.correction_B[:rows],
            groups={name: inside[:rows] for name, inside in self.groups.items()},
            condition=None if self.condition is None else self.condition[:rows],
        )

    def as_offered(self, residual: Tensor) -> Any:
        """Latents in units of the prior, brought back to what the decoder knows: a tensor, or a dict of them by layer."""
        z = residual if self.prior is None else self.prior.sample(residual)
        if not self.named:
            return z
        return {one.name: z[..., one.place].reshape(-1, *one.shape) for one in self.layers}


def side_by_side(layers: list[DiagonalGaussian]) -> DiagonalGaussian:
    """Independent layers as one posterior of all their dimensions; correlated if one of them is."""
    if len(layers) == 1:
        return layers[0]
    mu = torch.cat([one.mu_SZ for one in layers], -1)
    if not any(isinstance(one, CorrelatedGaussian) for one in layers):
        return DiagonalGaussian(mu, torch.cat([one.logvar_SZ for one in layers], -1))
    root = torch.zeros(*mu.shape, mu.shape[-1], dtype=mu.dtype, device=mu.device)
    start = 0
    for one in layers:
        end = start + one.mu_SZ.shape[-1]
        root[..., start:end, start:end] = root_of(one)
        start = end
    return CorrelatedGaussian.of(mu, root)


def latents_state(latents: Latents) -> dict[str, Any]:
    """Tensors and plain values."""
    return {
        **_moments_state(latents.residual),
        "prior": None if latents.prior is None else _moments_state(latents.prior),
        "layers": [(one.name, one.place.start, one.place.stop, list(one.shape)) for one in latents.layers],
        "correction": None if latents.correction_B is None else latents.correction_B.cpu(),
        "groups": {name: inside.cpu() for name, inside in latents.groups.items()},
        "condition": None if latents.condition is None else latents.condition.cpu(),
        "named": latents.named,
    }


def latents_of_state(state: Mapping[str, Any], device: torch.device) -> Latents:
    """What :func:`latents_state` was given, on a device."""

    def there(value: Tensor | None) -> Any:
        return None if value is None else value.to(device)

    def gaussian(moments: Mapping[str, Any]) -> DiagonalGaussian:
        mu, logvar, root = (there(moments[name]) for name in ("mu", "logvar", "root"))
        return DiagonalGaussian(mu, logvar) if root is None else CorrelatedGaussian(mu, logvar, root)

    prior = state.get("prior")
    return Latents(
        gaussian(state),
        tuple(Layer(name, slice(start, stop), torch.Size(shape)) for name, start, stop, shape in state["layers"]),
        None if prior is None else gaussian(prior),
        there(state["correction"]),
        {name: there(inside) for name, inside in state["groups"].items()},
        there(state["condition"]),
        state["named"],
    )


def _moments_state(gaussian: DiagonalGaussian) -> dict[str, Tensor | None]:
    root = gaussian.root_SZZ.cpu() if isinstance(gaussian, CorrelatedGaussian) else None
    return {"mu": gaussian.mu_SZ.cpu(), "logvar": gaussian.logvar_SZ.cpu(), "root": root}
