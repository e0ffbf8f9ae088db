"""Training steps on a GPU as CUDA graphs: what the model does with a batch is recorded once for each of a few shapes, then replayed.

A step is some 760 kernels, and the host takes about 30 us to start each: below batches of 128 patients the GPU waits for it. A graph
starts them all at once, but knows only the shape that it was recorded with. Batches are packed, so a batch is filled up to the smallest
shape that holds it: subjects of nobody, behind the others, whose sets are cut off again before anything is summed. One that no shape
holds takes the usual way. The noise is drawn outside, so that a step is the same one either way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from seqsetvae.batch import EventBatch
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.objective import ElboTerms
from seqsetvae.posterior import DiagonalGaussian
from seqsetvae.training.voice import say

if TYPE_CHECKING:
    from seqsetvae.training.module import PretrainModule

_log = logging.getLogger(__name__)

SHAPES = 8
"""Graphs of a run. More fill less, and take longer to record."""
LOOKED_AT = 64
"""Batches from which the shapes are chosen."""
ROOM = 1.15
"""The largest shape over the largest of these batches."""
MULTIPLE = 64
"""Of events and of sets: matrix products on a GPU work in tiles."""


@dataclass(frozen=True)
class Shape:
    """What a graph has room for."""

    events: int
    sets: int
    subjects: int
    columns: int
    """Sets of the longest subject."""

    def holds(self, batch: EventBatch) -> bool:
        """Whether a batch can be filled up to this shape: at least one set is added, and every one that is gets an event."""
        sets, events = self.sets - batch.n_sets, self.events - batch.n_events
        fillers = -(-sets // self.columns)
        return 1 <= sets <= events and batch.n_subjects + fillers <= self.subjects and batch.columns <= self.columns


def choose_shapes(batches: Sequence[EventBatch], number: int = SHAPES) -> list[Shape]:
    """Shapes for batches like these, small to large: each for as many of them."""
    columns = round(ROOM * max(batch.columns for batch in batches))
    most = max(batch.n_subjects for batch in batches)
    ordered = sorted(batches, key=lambda batch: batch.n_events)
    groups = [[ordered[i] for i in part] for part in np.array_split(np.arange(len(ordered)), number) if len(part)]
    shapes = []
    for group in groups:
        room = ROOM if group is groups[-1] else 1.0
        sets = up(room * (1 + max(batch.n_sets for batch in group)))
        events = up(room * max(batch.n_events + sets - batch.n_sets for batch in group))
        shapes.append(Shape(events, sets, most + -(-sets // columns), columns))
    return list(dict.fromkeys(shapes))


def up(number: float) -> int:
    """The next multiple.

    >>> up(65.0)
    128
    """
    return int(-(-number // MULTIPLE)) * MULTIPLE


def filled(batch: EventBatch, shape: Shape) -> EventBatch:
    """The batch with subjects of nobody behind its own: exactly of this shape.

    They have a set at each of the first minutes, with one event, the last set with all events that are left over. Subjects that are not
    even needed for that have no set.
    """
    device = batch.value_N.device
    sets, events = shape.sets - batch.n_sets, shape.events - batch.n_events
    place_S, place_N = torch.arange(sets, device=device), torch.arange(events, device=device)
    position_S = place_S % shape.columns

    def behind(values: Tensor, more: Tensor | None = None) -> Tensor:
        more = values.new_zeros(events) if more is None else more
        return torch.cat([values, more.to(values.dtype)])

    subjects = shape.subjects - batch.n_subjects
    return replace(
        batch,
        variable_N=behind(batch.variable_N),
        value_N=behind(batch.value_N),
        set_N=behind(batch.set_N, place_N.clamp(max=sets - 1) + batch.n_sets),
        minute_S=behind(batch.minute_S, position_S),
        subject_S=behind(batch.subject_S, place_S // shape.columns + batch.n_subjects),
        position_S=behind(batch.position_S, position_S),
        label_B=behind(batch.label_B, batch.label_B.new_full((subjects,), torch.nan)),
        row_B=behind(batch.row_B, batch.row_B.new_full((subjects,), -1)),
        first_slot_B=torch.arange(shape.subjects, device=device) * shape.columns,
        grid=((shape.subjects, shape.columns),),
        number_N=None if batch.number_N is None else behind(batch.number_N),
    )


class OfOneShape(nn.Module):
    """The model as a function of tensors alone, as a graph needs it.

    Args:
        vae: whose terms these are.
        like: a batch of the shape.
        autocast: half precision to compute in, or None.
    """

    def __init__(self, vae: SeqSetVAE, like: EventBatch, autocast: torch.dtype | None):
        super().__init__()
        self.vae, self._like, self._autocast = vae, like, autocast

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """From :func:`tensors_of` a batch and its noise to the terms, and mean and log variance of the posterior."""
        noise_SZ, variable_N, value_N, set_N, minute_S, subject_S, position_S, *number_N = tensors
        batch = replace(
            self._like,
            variable_N=variable_N,
            value_N=value_N,
            set_N=set_N,
            minute_S=minute_S,
            subject_S=subject_S,
            position_S=position_S,
            number_N=number_N[0] if number_N else None,
        )
        # Without its cache: casts of weights that were made before the recording would not be made again.
        with torch.autocast(noise_SZ.device.type, self._autocast, self._autocast is not None, cache_enabled=False):
            terms: ElboTerms = self.vae(batch, noise_SZ)
        moments = terms.posterior.mu_SZ.detach(), terms.posterior.logvar_SZ.detach()
        return terms.variable_nll_S, terms.value_nll_S, terms.kl_SZ, *moments


def tensors_of(batch: EventBatch, noise_SZ: Tensor) -> tuple[Tensor, ...]:
    """What differs between batches of one shape."""
    numbers = () if batch.number_N is None else (batch.number_N,)
    where = batch.set_N, batch.minute_S, batch.subject_S, batch.position_S
    return noise_SZ, batch.variable_N, batch.value_N, *where, *numbers


class Replayed:
    """`vae(batch)` by graphs. For a model in training mode, without dropout, whose parameters stay where they are.

    Args:
        vae: the model.
        batches: such as will come, on its device.
        autocast: half precision to compute in, or None.
        record: makes a graph of a module and an example of its arguments.
    """

    def __init__(
        self,
        vae: SeqSetVAE,
        batches: Sequence[EventBatch],
        autocast: torch.dtype | None,
        record: Callable[[nn.Module, tuple[Tensor, ...]], Any],
    ):
        self.vae = vae
        self.replayed = self.refused = 0
        """Steps by a graph, and steps that no graph had room for."""
        self._graphs: list[tuple[Shape, Any]] = []
        smallest = min(batches, key=lambda batch: batch.n_events)
        for shape in choose_shapes(batches):
            like = filled(smallest, shape)
            noise_SZ = like.value_N.new_zeros(shape.sets, vae.latent_dim)
            self._graphs.append((shape, record(OfOneShape(vae, like, autocast), tensors_of(like, noise_SZ))))

    def __call__(self, batch: EventBatch) -> ElboTerms:
        """The terms of the batch's own sets."""
        for shape, graph in self._graphs:
            if shape.holds(batch):
                self.replayed += 1
                return self._replay(batch, shape, graph)
        self.refused += 1
        return cast(ElboTerms, self.vae(batch))

    def _replay(self, batch: EventBatch, shape: Shape, graph: Any) -> ElboTerms:
        noise_SZ = torch.randn(
            batch.n_sets, self.vae.latent_dim, dtype=batch.value_N.dtype, device=batch.value_N.device
        )
        more_SZ = noise_SZ.new_zeros(shape.sets - batch.n_sets, self.vae.latent_dim)
        said = graph(*tensors_of(filled(batch, shape), torch.cat([noise_SZ, more_SZ])))
        variable_nll_S, value_nll_S, kl_SZ, mu_SZ, logvar_SZ = (each[: batch.n_sets] for each in said)
        # The next replay writes over what a graph gave: what outlives the step is copied.
        return ElboTerms(variable_nll_S, value_nll_S, kl_SZ, DiagonalGaussian(mu_SZ.clone(), logvar_SZ.clone()))


class StepGraphs(pl.Callback):
    """Records the graphs when training starts. What cannot be recorded is trained without, and said."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module, loader = cast("PretrainModule", pl_module), cast(Any, trainer.train_dataloader)
        started = time.perf_counter()
        autocast = torch.bfloat16 if trainer.precision == "bf16-mixed" else torch.float16
        batches = [loader.dataset[spec].to(pl_module.device) for spec in islice(loader.sampler, LOOKED_AT)]
        pool = torch.cuda.graph_pool_handle()

        def record(of_one_shape: nn.Module, like: tuple[Tensor, ...]) -> Any:
            return torch.cuda.make_graphed_callables(of_one_shape, like, allow_unused_input=True, pool=pool)

        try:
            # One pool for all: of a graph nothing is needed any more once the next one is replayed.
            replayed = Replayed(module.vae, batches, autocast, record)
            torch.cuda.synchronize()
        except RuntimeError as error:
            _log.warning(f"Training goes on without CUDA graphs ({str(error).splitlines()[0]}).")
        else:
            module.replayed = replayed
            say(f"  {'graphs':<8}recorded in {time.perf_counter() - started:.1f} s")
