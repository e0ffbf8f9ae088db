"""The posteriors of the last steps, pooled over steps and devices, and what they say. Nothing here waits for a device."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from seqsetvae.collapse.information import DecoderInformation
from seqsetvae.posterior import DiagonalGaussian, PosteriorStatistics, posterior_statistics

POOL_STEPS = 256
"""Batches that the pool spans at most: older posteriors are of another encoder, and its drift would look like signal."""
DRIFT_STEPS = 8
"""Batches from which drift can be told from the difference between two batches."""


@dataclass
class Measurement:
    """Statistics of one update, on their way to the host."""

    step: int
    posterior: PosteriorStatistics
    recon: Tensor | None
    decoder: DecoderInformation | None
    beta: Tensor | float | None
    arrived: torch.cuda.Event | None

    def wait(self) -> Measurement:
        """Until the figures can be read; at the next step they usually can."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, as a checkpoint may hold."""
        self.wait()
        figures = {field.name: getattr(self.posterior, field.name) for field in fields(self.posterior)}
        return {
            "step": self.step,
            "posterior": figures,
            "recon": self.recon,
            "decoder": None
            if self.decoder is None
            else {one.name: getattr(self.decoder, one.name) for one in fields(self.decoder)},
            "beta": self.beta.cpu() if isinstance(self.beta, Tensor) else self.beta,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Measurement:
        """As it was saved; its figures have arrived."""
        decoder = None if state["decoder"] is None else DecoderInformation(**state["decoder"])
        return cls(**state | {"posterior": PosteriorStatistics(**state["posterior"]), "decoder": decoder}, arrived=None)


@dataclass(frozen=True)
class PooledStep:
    """What is kept of one batch: references, no copies."""

    posterior: DiagonalGaussian
    recon: Tensor | None
    serial: int
    """Number of the batch since training began: its age is told by it."""

    @property
    def sets(self) -> int:
        """Its latents, of all places of a row where a row has several."""
        return self.posterior.mu_SZ.shape[:-1].numel()


class PosteriorPool:
    """Keeps the moments of the last batches until at least `sets` posteriors are there.

    On several devices each keeps its share, and :meth:`measure` gathers them: the figures are those of one device with all the sets.

    Args:
        sets: posteriors that are wanted, on all devices together.
        devices: how many there are.
        epoch: batches of an epoch; the pool spans no more of them, so that no set is in it twice. None: unknown.
    """

    def __init__(self, sets: int, devices: int = 1, epoch: int | None = None) -> None:
        self.sets = -(-sets // devices)
        self.steps: deque[PooledStep] = deque(maxlen=min(POOL_STEPS, epoch or POOL_STEPS))
        self._serial = 0

    def add(self, posterior: DiagonalGaussian, recon: Tensor | None) -> None:
        """Take in one batch. `recon`: its reconstruction loss, mean over the sets, 0-d."""
        self.steps.append(PooledStep(posterior, recon, self._serial))
        self._serial += 1
        held = sum(step.sets for step in self.steps)
        while held - self.steps[0].sets >= self.sets:
            held -= self.steps.popleft().sets

    def state_dict(self) -> dict[str, Any]:
        """A few megabytes, so that the first update of a resumed run is that of one that never stopped."""
        return {
            "serial": self._serial,
            "steps": [
                (
                    one.posterior.mu_SZ.cpu(),
                    one.posterior.logvar_SZ.cpu(),
                    None if one.recon is None else one.recon.cpu(),
                )
                for one in self.steps
            ],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self.steps.clear()
        self._serial = state.get("serial", len(state["steps"])) - len(state["steps"])
        for mu_SZ, logvar_SZ, recon in state["steps"]:
            self.add(
                DiagonalGaussian(mu_SZ.to(device), logvar_SZ.to(device)), None if recon is None else recon.to(device)
            )

    def measure(
        self, step: int, beta: Tensor | float | None, decoder: DecoderInformation | None, seed: int
    ) -> Measurement:
        """Statistics of the pool, gathered over all devices. `seed`: of the noise of the mutual information."""
        newest = slice(-self.sets, None)
        flat = [(_rows(one.posterior.mu_SZ), _rows(one.posterior.logvar_SZ)) for one in self.steps]
        # In single precision at least, also where the step ran in half.
        mu_SZ = gathered(torch.cat([mu for mu, _ in flat])[newest].float())
        logvar_SZ = gathered(torch.cat([logvar for _, logvar in flat])[newest].float())
        serials = [torch.full((one.sets,), float(one.serial), device=mu_SZ.device) for one in self.steps]
        steady_SZ = without_drift(mu_SZ, gathered(torch.cat(serials)[newest]), len(self.steps))
        figures = posterior_statistics(DiagonalGaussian(mu_SZ, logvar_SZ), steady_SZ, seed)
        recon = self._recon(mu_SZ.device)
        arrived = None
        if mu_SZ.is_cuda:
            figures, recon = _copied(figures), _to_host(recon)
            decoder = None if decoder is None else _copied(decoder)
            arrived = torch.cuda.Event()
            arrived.record()
        return Measurement(step, figures, recon, decoder, beta, arrived)

    def _recon(self, device: torch.device) -> Tensor | None:
        weighted = [(one.recon * one.sets, one.sets) for one in self.steps if one.recon is not None]
        if not weighted:
            return None
        total = torch.stack([value.float() for value, _ in weighted]).sum()
        sums = torch.stack([total, torch.tensor(float(sum(count for _, count in weighted)), device=device)])
        everywhere = gathered(sums[None]).sum(0)
        return everywhere[0] / everywhere[1]


def without_drift(mu_SZ: Tensor, serial_S: Tensor, steps: int) -> Tensor:
    """Posterior means less the straight line that each dimension follows over the batches of the pool.

    While an encoder moves, its means move with it, for all sets alike: that is variance over the pool, and no information. In random
    order of the sets the line takes next to nothing of the signal with it.

    >>> serial_S = torch.arange(1000.0)
    >>> drifting = without_drift(0.01 * serial_S[:, None].repeat(1, 2), serial_S, 1000)
    >>> bool(drifting.var(0).max() < 1e-6)
    True
    """
    if steps < DRIFT_STEPS:
        return mu_SZ
    age_S1 = (serial_S - serial_S.mean())[:, None].double()
    centred_SZ = mu_SZ.double() - mu_SZ.double().mean(0)
    slope_Z = (age_S1 * centred_SZ).sum(0) / age_S1.square().sum().clamp(min=1e-12)
    return (mu_SZ - (age_S1 * slope_Z)).to(mu_SZ.dtype)


def gathered(mine: Tensor) -> Tensor:
    """Rows of all devices, in order of their rank."""
    if not torch.distributed.is_initialized():
        return mine
    return torch.cat(gather_all_tensors(mine.contiguous()))


def _rows(latents: Tensor) -> Tensor:
    """(B, ..., Z) as (B * ..., Z)."""
    return latents.reshape(-1, latents.shape[-1])


def _copied(figures: Any) -> Any:
    """The same figures in host memory, on their way."""
    return replace(figures, **{one.name: _to_host(getattr(figures, one.name)) for one in fields(figures)})


def _to_host(value: Any) -> Any:
    """A tensor's copy in host memory, still under way when this returns: read it after an event. Anything else as it is."""
    if not isinstance(value, Tensor) or not value.is_cuda:
        return value
    return torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)
