"""What the verdict at the end rests on: posteriors of the validation split, under the model as training has left it."""

from __future__ import annotations

import os
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import torch

from seqsetvae.collapse.information import DecoderInformation
from seqsetvae.training.monitor.decoder_probe import DecoderProbe, as_in_evaluation
from seqsetvae.training.monitor.offered import offered_posterior
from seqsetvae.training.monitor.posterior_pool import POOL_STEPS, PosteriorPool

FINAL_SETS = 256
"""Sets on which the decoder is asked for the verdict: once per run there is time for it."""


class _Offer:
    """A posterior that was computed, as a module would offer it."""

    def __init__(self, posterior: Any) -> None:
        self.posterior = posterior


def validation_sample(trainer: pl.Trainer, module: Any, sets: int) -> tuple[PosteriorPool, DecoderProbe] | None:
    """Posteriors of the first validation batches, and a probe that has heard the last of them; None where there is no validation split,
    or the module cannot encode a batch (`encode(batch)`).
    """
    loaders = trainer.val_dataloaders
    if not loaders or not callable(getattr(module, "encode", None)):
        return None
    loader = loaders[0] if isinstance(loaders, (list, tuple)) else loaders
    pool, probe = PosteriorPool(sets, trainer.world_size), DecoderProbe(FINAL_SETS)
    limit = trainer.num_val_batches[0] if trainer.num_val_batches else POOL_STEPS
    held = 0
    with as_in_evaluation(module), torch.no_grad():
        for batch in islice(iter(loader), int(min(limit, POOL_STEPS))):
            on_device = trainer.strategy.batch_to_device(batch)
            pool.add(offered_posterior(_Offer(module.encode(on_device))), None)
            newest = pool.steps[-1]
            probe.keep(on_device, newest.posterior, newest.serial)
            held += newest.sets
            if held >= pool.sets:
                break
    return (pool, probe) if held else None


def as_numbers(found: DecoderInformation) -> dict[str, float]:
    """By the names that :class:`~seqsetvae.collapse.statistics.CollapseStatistics` has for them."""
    return {
        "decoder_use": float(found.use),
        "decoder_information": float(found.bound),
        "decoder_information_error": float(found.error),
    }


def noise_seed(step: int, place: int = 0) -> int:
    """Of the noise of a measurement: a function of the run's seed, the step and the number of the measurement at this step."""
    return hash((int(os.environ.get("PL_GLOBAL_SEED", "0")), step, place)) & 0x7FFF_FFFF_FFFF_FFFF
