"""`DecoderProbe`: does the decoder listen? Sets get latents of other sets, and it is seen whether it can tell.

The latents come from the pool, never from the batch alone: a batch of one has none to exchange.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from seqsetvae.batch import EventBatch
from seqsetvae.collapse.information import CANDIDATES, DecoderInformation, decoder_information
from seqsetvae.posterior import DiagonalGaussian
from seqsetvae.training.monitor.posterior_pool import PooledStep, gathered

PROBE_SETS = 64
"""Sets on which a measurement rests; fewer batches are too few to tell 0.1 nats from none."""
PROBE_BATCHES = 8
"""Batches that one measurement decodes at most, where they are small."""
PROBE_AGE = 8
"""Measurements that are put together at most until there are `PROBE_SETS` sets."""
LEAST_SETS = 8
"""Sets from which there is a figure at all."""


@dataclass(frozen=True)
class Heard:
    """A batch, the latents that the encoder gave it, and its number."""

    batch: Any
    posterior: DiagonalGaussian
    serial: int


class DecoderProbe:
    """Keeps the last small batches, and measures on them.

    Args:
        sets: on which a measurement shall rest.

    Both travel in a checkpoint where they are needed again, so that a resumed run measures what the uninterrupted one would have.
    """

    def __init__(self, sets: int = PROBE_SETS) -> None:
        self.sets = sets
        self._kept: deque[Heard] = deque(maxlen=PROBE_BATCHES)
        self._measured: deque[Tensor] = deque(maxlen=PROBE_AGE)

    def keep(self, batch: Any, posterior: DiagonalGaussian, serial: int) -> None:
        """Take in a batch of training."""
        self._kept.append(Heard(batch, posterior, serial))
        while len(self._kept) > 1 and sum(len(one.posterior.mu_SZ) for one in list(self._kept)[1:]) >= self.sets:
            self._kept.popleft()

    def measure(self, module: Any, pool: Sequence[PooledStep], seed: int) -> DecoderInformation | None:
        """What the decoder gets out of the latents now; None where there are no others to exchange them for, or too few sets yet.

        Args:
            module: offers `negative_log_likelihood(z_SZ, batch)`, nats per row of the batch.
            pool: whose latents are given to the kept batches in exchange.
            seed: of the noise, and of which latents are taken.
        """
        generator = torch.Generator().manual_seed(seed)
        with as_in_evaluation(module), torch.no_grad():
            found = [log_likelihoods(module, one, pool, generator, self.sets) for one in self._kept]
        new = [one for one in found if one is not None]
        if new:
            self._measured.append(torch.cat(new, 1))
        rows, held = [], 0
        for one in reversed(self._measured):  # the newest first
            if held < self.sets:
                rows.append(one)
                held += one.shape[1]
        if held < LEAST_SETS:
            return None
        return decoder_information(gathered(torch.cat(rows, 1).T).T)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values. A batch that is large enough by itself is left out: the next one takes its place."""
        small = [one for one in self._kept if len(one.posterior.mu_SZ) < PROBE_SETS]
        return {
            "measured": [one.cpu() for one in self._measured],
            "kept": [
                (packed, one.posterior.mu_SZ.cpu(), one.posterior.logvar_SZ.cpu(), one.serial)
                for one in small
                if (packed := pack(one.batch)) is not None
            ],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self._measured.extend(one.to(device) for one in state["measured"])
        for packed, mu, logvar, serial in state["kept"]:
            self._kept.append(Heard(unpack(packed, device), DiagonalGaussian(mu.to(device), logvar.to(device)), serial))


def log_likelihoods(
    module: Any, heard: Heard, pool: Sequence[PooledStep], generator: torch.Generator, sets: int = PROBE_SETS
) -> Tensor | None:
    """log p(x_s | z_k), shape (K, S): row 0 with the set's own latent, the others with latents of other batches.

    They are taken as stretches of the pool, in their order, so that a decoder that reads the sets of a patient one after the other gets
    the sets of another patient. Where there is no other batch yet, from the batch itself, rolled.
    """
    batch, posterior = cut(heard.batch, heard.posterior, sets)
    rows = len(posterior.mu_SZ)
    others = [one.posterior for one in pool if one.serial != heard.serial]
    mu = torch.cat([one.mu_SZ for one in others]) if others else posterior.mu_SZ
    logvar = torch.cat([one.logvar_SZ for one in others]) if others else posterior.logvar_SZ
    # Within its own batch a set must not get itself.
    starts = (
        torch.randperm(len(mu), generator=generator) if others else 1 + torch.randperm(rows - 1, generator=generator)
    )
    if len(starts) < CANDIDATES - 1:
        return None
    candidates = [posterior]
    for start in starts[: CANDIDATES - 1].tolist():
        places = torch.arange(start, start + rows, device=mu.device) % len(mu)
        candidates.append(DiagonalGaussian(mu[places], logvar[places]))
    found = []
    for one in candidates:
        noise = torch.randn(one.mu_SZ.shape, generator=generator).to(one.mu_SZ)
        nll = module.negative_log_likelihood(one.sample(noise), batch)
        found.append(-nll.reshape(rows, -1).double().sum(1))
    return torch.stack(found)


def cut(batch: Any, posterior: DiagonalGaussian, sets: int) -> tuple[Any, DiagonalGaussian]:
    """The first `sets` rows, which tell as much as a large batch: of our batches, and of tensors, lists and dicts of tensors that
    all have one row for each posterior. Anything else as it is.
    """
    rows = len(posterior.mu_SZ)
    if isinstance(batch, EventBatch):
        batch = batch.head(sets)
        kept = batch.n_sets
    elif rows > sets and _has_rows(batch, rows):
        batch, kept = _first(batch, sets), sets
    else:
        return batch, posterior
    return batch, DiagonalGaussian(posterior.mu_SZ[:kept], posterior.logvar_SZ[:kept])


def _has_rows(batch: Any, rows: int) -> bool:
    if isinstance(batch, Tensor):
        return batch.ndim > 0 and len(batch) == rows
    if isinstance(batch, dict):
        return bool(batch) and all(_has_rows(one, rows) for one in batch.values())
    return type(batch) in (list, tuple) and len(batch) > 0 and all(_has_rows(one, rows) for one in batch)


def _first(batch: Any, rows: int) -> Any:
    if isinstance(batch, Tensor):
        return batch[:rows]
    if isinstance(batch, dict):
        return {key: _first(one, rows) for key, one in batch.items()}
    return type(batch)(_first(one, rows) for one in batch)


def pack(batch: Any) -> Any:
    """A batch as a checkpoint may hold it; None of a kind that we do not know."""
    if isinstance(batch, EventBatch):
        content = {one.name: getattr(batch, one.name) for one in fields(batch)}
        tensors = {key: value.cpu() for key, value in content.items() if isinstance(value, Tensor)}
        return {"EventBatch": tensors, "grid": [list(block) for block in batch.grid]}
    if isinstance(batch, Tensor):
        return batch.cpu()
    if type(batch) in (list, tuple):
        parts = [pack(one) for one in batch]
        return None if any(one is None for one in parts) else type(batch)(parts)
    if type(batch) is dict:
        named = {key: pack(one) for key, one in batch.items()}
        return None if any(one is None for one in named.values()) else named
    return None


def unpack(packed: Any, device: torch.device) -> Any:
    """What :func:`pack` was given, on a device."""
    if isinstance(packed, Tensor):
        return packed.to(device)
    if isinstance(packed, dict) and "EventBatch" in packed:
        return EventBatch(**packed["EventBatch"], grid=tuple(tuple(block) for block in packed["grid"])).to(device)
    if isinstance(packed, dict):
        return {key: unpack(one, device) for key, one in packed.items()}
    return type(packed)(unpack(one, device) for one in packed)


@contextlib.contextmanager
def as_in_evaluation(module: Any) -> Iterator[None]:
    """Without dropout and batch statistics; afterwards each submodule is in the mode that it was in, also where they differ."""
    parts = list(module.modules()) if isinstance(module, nn.Module) else []
    modes = [part.training for part in parts]
    for part in parts:
        part.training = False
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
