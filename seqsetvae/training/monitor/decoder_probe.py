"""`DecoderProbe`: does the decoder listen? Sets get latents of other sets, and it is seen whether it can tell.

The latents come from the pool, never from the batch alone: a batch of one has none to exchange.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqsetvae.collapse.information import CANDIDATES, DecoderInformation, decoder_information
from seqsetvae.posterior import DiagonalGaussian
from seqsetvae.training.gathering import gathered, greatest
from seqsetvae.training.monitor.any_batch import cut, pack, unpack
from seqsetvae.training.monitor.latents import WHOLE, Latents, latents_of_state, latents_state
from seqsetvae.training.monitor.posterior_pool import PooledStep

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
    latents: Latents
    serial: int


@dataclass(frozen=True)
class Answer:
    """How likely the decoder found the sets of some batches under their own latents and under others."""

    likelihood_KS: dict[str, Tensor]
    """log p(x_s | z_k), row 0 with the set's own latent; with all latents exchanged, and with those of each layer alone."""
    groups: dict[str, Tensor]
    """Whether a set is in a subgroup, shape (S,)."""

    @property
    def sets(self) -> int:
        return self.likelihood_KS[WHOLE].shape[1]

    @classmethod
    def joined(cls, several: Sequence[Answer]) -> Answer:
        """All their sets, as of one batch."""
        first = several[0]
        return cls(
            {name: torch.cat([one.likelihood_KS[name] for one in several], 1) for name in first.likelihood_KS},
            {name: torch.cat([one.groups[name] for one in several]) for name in first.groups},
        )

    def to(self, device: torch.device) -> Answer:
        """The same on a device."""
        return Answer(
            {name: one.to(device) for name, one in self.likelihood_KS.items()},
            {name: one.to(device) for name, one in self.groups.items()},
        )

    def information(self) -> dict[str, DecoderInformation]:
        """Of the whole, of each layer, and of each subgroup of which there are enough sets."""
        of_all = {name: gathered(one.T).T for name, one in self.likelihood_KS.items()}
        found = {}
        for name, likelihood_KS in of_all.items():
            # The layer does not reach the likelihood at all: by itself, or because the model's likelihood does not follow it there.
            if name == WHOLE or bool((likelihood_KS != likelihood_KS[0]).any()):
                found[name] = decoder_information(likelihood_KS)
        for name, inside_S in self.groups.items():
            of_group = of_all[WHOLE][:, gathered(inside_S)]
            if of_group.shape[1] >= 2 * LEAST_SETS:
                found[f"group {name}"] = decoder_information(of_group)
        return found


class DecoderProbe:
    """Keeps the last small batches, and measures on them.

    Args:
        sets: on which a measurement shall rest.

    Both travel in a checkpoint where they are needed again, so that a resumed run measures what the uninterrupted one would have.
    """

    def __init__(self, sets: int = PROBE_SETS) -> None:
        self.sets = sets
        self._kept: deque[Heard] = deque(maxlen=PROBE_BATCHES)
        self._answers: deque[Answer] = deque(maxlen=PROBE_AGE)
        self._packed: list[Any] = []
        """Batches of a checkpoint, as it holds them."""

    def keep(self, batch: Any, latents: Latents, serial: int) -> None:
        """Take in a batch of training."""
        if self._packed:
            self._unpack(batch, latents.residual.mu_SZ.device)
        self._keep(Heard(batch, latents, serial))

    def _keep(self, heard: Heard) -> None:
        self._kept.append(heard)
        while len(self._kept) > 1 and sum(one.latents.rows for one in list(self._kept)[1:]) >= self.sets:
            self._kept.popleft()

    def measure(self, module: Any, pool: Sequence[PooledStep], seed: int) -> dict[str, DecoderInformation] | None:
        """What the decoder gets out of the latents now; None where there are no others to exchange them for, or too few sets yet.

        Args:
            module: offers `negative_log_likelihood(z, batch)`, nats per row of the batch.
            pool: whose latents are given to the kept batches in exchange.
            seed: of the noise, and of which latents are taken.
        """
        generator = torch.Generator().manual_seed(seed)
        with as_in_evaluation(module), torch.no_grad():
            found = [ask(module, one, pool, generator, self.sets) for one in self._kept]
        if new := [one for one in found if one is not None and one.sets]:
            self._answers.append(Answer.joined(new))
        newest: list[Answer] = []
        for one in reversed(self._answers):
            if sum(answer.sets for answer in newest) < self.sets:
                newest.append(one)
        # Of one mind: where one process has too few, none waits for its share.
        if -greatest(-sum(one.sets for one in newest)) < LEAST_SETS:
            return None
        return Answer.joined(newest).information()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values. Of a large batch the rows that are asked about; one that cannot be cut is left out, for its size."""
        cpu = torch.device("cpu")
        batches = list(self._packed)
        for one in self._kept:
            batch, latents = cut(one.batch, one.latents, self.sets)
            with contextlib.suppress(TypeError):  # of a kind that no checkpoint holds: the next ones take its place
                if latents.rows <= 2 * self.sets:
                    batches.append((pack(batch), latents_state(latents), one.serial))
        return {
            "answers": [(one.to(cpu).likelihood_KS, one.to(cpu).groups) for one in self._answers],
            "batches": batches,
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        self._answers.extend(Answer(*one).to(device) for one in state["answers"])
        self._packed = list(state.get("batches", ()))

    def _unpack(self, kind: Any, device: torch.device) -> None:
        """The batches of a checkpoint, once there is one whose kind they are of."""
        packed, self._packed = self._packed, []
        for batch, latents, serial in packed:
            with contextlib.suppress(TypeError):  # the data have changed since
                self._keep(Heard(unpack(batch, kind, device), latents_of_state(latents, device), serial))


def ask(
    module: Any, heard: Heard, pool: Sequence[PooledStep], generator: torch.Generator, sets: int = PROBE_SETS
) -> Answer | None:
    """Decode the sets of a batch with their own latents and with those of others; None where there are no others."""
    batch, latents = cut(heard.batch, heard.latents, sets)
    own = latents.residual
    candidates = exchanged(latents, [one.latents for one in pool if one.serial != heard.serial], generator)
    if candidates is None:
        return None
    others, valid = candidates
    sampled = [one.sample(torch.randn(one.mu_SZ.shape, generator=generator).to(one.mu_SZ)) for one in (own, *others)]

    def likelihood(residual: Tensor) -> Tensor:
        nll = module.negative_log_likelihood(latents.as_offered(residual), batch)
        found: Tensor = -nll.reshape(latents.rows, -1).double().sum(1)
        return found if valid is None else found[valid]

    found = {WHOLE: torch.stack([likelihood(one) for one in sampled])}
    if len(latents.layers) > 1:
        for layer in latents.layers:
            mixed = [sampled[0]] + [sampled[0].clone() for _ in others]
            for one, other in zip(mixed[1:], sampled[1:], strict=True):
                one[..., layer.place] = other[..., layer.place]
            found[f"layer {layer.name}"] = torch.stack([found[WHOLE][0], *map(likelihood, mixed[1:])])
    groups = {name: inside if valid is None else inside[valid] for name, inside in latents.groups.items()}
    return Answer(found, groups)


def exchanged(
    latents: Latents, others: Sequence[Latents], generator: torch.Generator
) -> tuple[list[DiagonalGaussian], Tensor | None] | None:
    """Posteriors that the rows of a batch get in place of their own, `CANDIDATES - 1` times; None where there are too few.

    They are taken as stretches of the pool, in their order, so that a decoder that reads the sets of a patient one after the other gets
    the sets of another patient; where there is no other batch yet, from the batch itself, rolled. Where the model is told a condition,
    each row gets those of rows with the same one: equal whole numbers, else the nearest. Rows with too few of these are not `valid`.
    """
    own, rows = latents.residual, latents.rows
    joined = type(own).joined([one.residual for one in others]) if others else own
    wanted = CANDIDATES - 1
    if latents.condition is not None:
        if len(joined.mu_SZ) <= wanted:
            return None
        whole = not latents.condition.is_floating_point()
        mine = flat(latents.condition)
        theirs = torch.cat([flat(one.condition) for one in others if one.condition is not None]) if others else mine
        apart = torch.cdist(mine, theirs)
        if not others:
            apart.fill_diagonal_(torch.inf)
        # The same ones first, in random order among themselves.
        lot = torch.rand(apart.shape, generator=generator).to(apart)
        apart, place = (apart + (lot * 0.5 if whole else lot * 1e-9)).topk(wanted, largest=False)
        valid = apart.amax(1) < 1.0 if whole else None
        return [joined.each(lambda values, one=one: values[one]) for one in place.T], valid  # type: ignore[misc]
    # Within its own batch a set must not get itself.
    starts = (
        torch.randperm(len(joined.mu_SZ), generator=generator)
        if others
        else 1 + torch.randperm(rows - 1, generator=generator)
    )
    if len(starts) < wanted:
        return None
    found = []
    for start in starts[:wanted].tolist():
        places = torch.arange(start, start + rows, device=joined.mu_SZ.device) % len(joined.mu_SZ)
        found.append(joined.each(lambda values, places=places: values[places]))  # type: ignore[misc]
    return found, None


def flat(condition: Tensor) -> Tensor:
    """(B,) or (B, ...) as numbers of shape (B, C)."""
    return condition.reshape(len(condition), -1).double()


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
