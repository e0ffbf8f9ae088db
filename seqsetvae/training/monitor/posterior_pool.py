"""The posteriors of the last steps, pooled over steps and devices, and what they say. Nothing here waits for a device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from seqsetvae.collapse.information import DecoderInformation
from seqsetvae.posterior import DiagonalGaussian, PosteriorStatistics, posterior_statistics
from seqsetvae.training.gathering import gathered
from seqsetvae.training.monitor.latents import WHOLE, Latents, Layer, latents_of_state, latents_state
from seqsetvae.training.monitor.measurement import Measurement, on_its_way
from seqsetvae.training.monitor.steady import without_condition, without_drift

POOL_STEPS = 256
"""Batches that the pool spans at most: older posteriors are of another encoder, and its drift would look like signal."""
GROUP_SETS = 64
"""Pooled sets from which a subgroup is judged by itself."""


@dataclass(frozen=True)
class PooledStep:
    """What is kept of one batch: references, no copies."""

    latents: Latents
    recon: Tensor | None
    serial: int
    """Number of the batch since training began: its age is told by it."""

    @property
    def posterior(self) -> DiagonalGaussian:
        """In units of the prior."""
        return self.latents.residual

    @property
    def places(self) -> int:
        """Latents of one row."""
        return self.posterior.mu_SZ.shape[1:-1].numel()

    @property
    def sets(self) -> int:
        """Its latents, of all places of a row where a row has several."""
        return self.posterior.mu_SZ.shape[:-1].numel()

    def of_sets(self, of_rows: Tensor) -> Tensor:
        """What each row has, for each of its places."""
        return of_rows if self.places == 1 else of_rows.repeat_interleave(self.places, 0)


class PosteriorPool:
    """Keeps the moments of the last batches until at least `sets` posteriors are there.

    On several devices each keeps its share, and :meth:`measure` gathers them: the figures are those of one device with all the sets.

    Args:
        sets: posteriors that are wanted, on all devices together.
        devices: how many there are.
    """

    def __init__(self, sets: int, devices: int = 1) -> None:
        self._wanted = sets
        self.steps: deque[PooledStep] = deque()
        self._serial = 0
        self.spread(devices, None)

    def spread(self, devices: int, epoch: int | None) -> None:
        """Hold this device's share.

        Args:
            devices: how many there are.
            epoch: batches of an epoch; the pool spans no more of them, so that no set is in it twice. None: unknown.
        """
        self.sets = -(-self._wanted // devices)
        self.steps = deque(self.steps, maxlen=min(POOL_STEPS, epoch or POOL_STEPS))
        self._held = sum(step.sets for step in self.steps)

    def add(self, latents: Latents, recon: Tensor | None) -> None:
        """Take in one batch. `recon`: its reconstruction loss, mean over the sets, 0-d."""
        if len(self.steps) == self.steps.maxlen:
            self._held -= self.steps.popleft().sets
        newest = PooledStep(replace(latents, prior=None), recon, self._serial)
        self.steps.append(newest)
        self._serial += 1
        self._held += newest.sets
        while self._held - self.steps[0].sets >= self.sets:
            self._held -= self.steps.popleft().sets

    def state_dict(self) -> dict[str, Any]:
        """A few megabytes, so that the first update of a resumed run is that of one that never stopped."""
        return {
            "serial": self._serial,
            "steps": [
                (latents_state(one.latents), None if one.recon is None else one.recon.cpu()) for one in self.steps
            ],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self.steps.clear()
        self._held = 0
        self._serial = state["serial"] - len(state["steps"])
        for latents, recon in state["steps"]:
            self.add(latents_of_state(latents, device), None if recon is None else recon.to(device))

    def measure(
        self, step: int, beta: Tensor | float | None, decoder: Mapping[str, DecoderInformation] | None, seed: int
    ) -> Measurement:
        """Statistics of the pool, of its layers and subgroups, gathered over all devices.

        Args:
            step: optimizer steps so far.
            beta: weight of the KL in the step just taken, where it is known.
            decoder: what it was just found to hear, of the whole and of each part; None: it was not asked.
            seed: of the noise of the mutual information.
        """
        newest = slice(-self.sets, None)

        def pooled(of_a_step: Callable[[PooledStep], Tensor]) -> Tensor:
            return gathered(torch.cat([of_a_step(one) for one in self.steps])[newest])

        # In single precision at least, also where the step ran in half.
        joined = type(self.steps[0].posterior).joined([one.posterior.each(_rows_of(one)) for one in self.steps])
        posterior = joined.each(lambda values: gathered(values[newest].float()))
        device = posterior.mu_SZ.device
        kinds, steady_SZ = self.steps[-1].latents, posterior.mu_SZ
        if kinds.condition is not None:
            told_SC = pooled(lambda one: one.of_sets(_columns(one.latents.condition).to(device)))
            steady_SZ = without_condition(steady_SZ, told_SC)
        serial_S = pooled(lambda one: torch.full((one.sets,), float(one.serial), device=device))
        steady_SZ = without_drift(steady_SZ, serial_S, len(self.steps))
        correction_S = None
        if kinds.correction_B is not None:
            correction_S = pooled(lambda one: one.latents.correction_B.reshape(-1))  # type: ignore[union-attr]
        figures = posterior_statistics(posterior, steady_SZ, seed, correction_S)
        parts = self._layers(kinds.layers, posterior, steady_SZ, seed)
        for name in kinds.groups:
            inside_S = pooled(lambda one, name=name: one.of_sets(one.latents.groups[name].to(device)))  # type: ignore[misc]
            if int(inside_S.sum()) >= GROUP_SETS:
                more_S = None if correction_S is None else correction_S[inside_S]
                of_group = posterior.each(lambda values, inside_S=inside_S: values[inside_S])  # type: ignore[misc]
                parts[f"group {name}"] = posterior_statistics(of_group, steady_SZ[inside_S], seed, more_S)
        heard = decoder or {}
        return on_its_way(
            Measurement(
                step,
                figures,
                self._recon(device),
                heard.get(WHOLE),
                beta,
                None,
                {name: (found, heard.get(name)) for name, found in parts.items()},
            )
        )

    @staticmethod
    def _layers(
        layers: tuple[Layer, ...], posterior: DiagonalGaussian, steady_SZ: Tensor, seed: int
    ) -> dict[str, PosteriorStatistics]:
        if len(layers) == 1:
            return {}
        return {
            f"layer {one.name}": posterior_statistics(posterior.dimensions(one.place), steady_SZ[:, one.place], seed)
            for one in layers
        }

    def _recon(self, device: torch.device) -> Tensor | None:
        weighted = [(one.recon * one.sets, one.sets) for one in self.steps if one.recon is not None]
        if not weighted:
            return None
        total = torch.stack([value.float() for value, _ in weighted]).sum()
        sums = torch.stack([total, torch.tensor(float(sum(count for _, count in weighted)), device=device)])
        everywhere = gathered(sums[None]).sum(0)
        return everywhere[0] / everywhere[1]


def _rows_of(step: PooledStep) -> Callable[[Tensor], Tensor]:
    """(B, ..., Z) as (B * ..., Z), and (B, ..., Z, Z) likewise."""
    before = step.posterior.mu_SZ.ndim - 1
    return lambda values: values.flatten(0, before - 1)


def _columns(condition: Tensor | None) -> Tensor:
    assert condition is not None, "every batch has a condition, or none has"
    return condition[:, None] if condition.ndim == 1 else condition
