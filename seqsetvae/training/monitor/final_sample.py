"""What the verdict at the end rests on: posteriors of the validation split, under the model as training has left it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import lightning.pytorch as pl
import torch

from seqsetvae.training.monitor.decoder_probe import DecoderProbe, as_in_evaluation
from seqsetvae.training.monitor.offered import as_latents, beside
from seqsetvae.training.monitor.posterior_pool import POOL_STEPS, PosteriorPool

FINAL_SETS = 256
"""Sets on which the decoder is asked for the verdict: once per run there is time for it."""


def validation_sample(trainer: pl.Trainer, module: Any, sets: int) -> tuple[PosteriorPool, DecoderProbe] | None:
    """Posteriors of the first validation batches, and a probe that has heard the last of them.

    None where there is no validation split, or the module cannot encode a batch (`encode(batch)`).
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
            latents = as_latents(
                module.encode(on_device), *beside(module, on_device), f"{type(module).__name__}.encode(batch)"
            )
            pool.add(latents, None)
            newest = pool.steps[-1]
            probe.keep(on_device, latents, newest.serial)
            held += newest.sets
            if held >= pool.sets:
                break
    return (pool, probe) if held else None
