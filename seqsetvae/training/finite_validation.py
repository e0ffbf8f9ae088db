"""`FiniteValidation`: a run whose validation loss or weights are NaN or inf has failed, and says by whom."""

from __future__ import annotations

import math
from typing import cast

import lightning.pytorch as pl

from seqsetvae import names
from seqsetvae.data.store import Store
from seqsetvae.errors import RunFailure
from seqsetvae.training.culprit import culprit_of_split
from seqsetvae.training.module import PretrainModule
from seqsetvae.training.voice import say
from seqsetvae.training.weights import not_finite


class FiniteValidation(pl.Callback):
    """Ends a run at the first validation whose loss is not finite, and at its end if its weights are not.

    Such a loss can choose no checkpoint, and such weights are no model. No training step waits for this.

    Args:
        store: what is trained on.
        max_sequence_length: events of a subject that are read.
    """

    def __init__(self, store: Store, max_sequence_length: int | None) -> None:
        self.store = store
        self.max_sequence_length = max_sequence_length

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics[names.VAL_LOSS])
        if math.isfinite(loss):
            return
        refuse_weights(trainer, pl_module)
        head = f"The validation loss is {loss} at step {trainer.global_step}"
        vae = cast(PretrainModule, pl_module).vae
        culprit = culprit_of_split(vae, self.store, "valid", self.max_sequence_length)
        if culprit is None:
            raise RunFailure(
                f"{head}, but in 32-bit precision no single patient makes it so: the numbers have grown too large. "
                "Lower --optimizer.lr, or set --trainer.precision 32."
            )
        say(f"\nRow {culprit.row} of split 'valid' is {culprit.detail}.")
        raise RunFailure(
            f"{head}: row {culprit.row} of split 'valid' (rows count from 0) makes it so, {culprit.cause}. Correct that patient or leave "
            "it out, and prepare the store again."
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        refuse_weights(trainer, pl_module)


def refuse_weights(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Raise :class:`RunFailure` if a module's weights hold NaN or inf."""
    if found := not_finite(module.state_dict()):
        raise RunFailure(
            f"The weights hold NaN or inf at step {trainer.global_step}: {found}. Start again from an earlier checkpoint with a lower "
            "--optimizer.lr or --trainer.gradient_clip_val."
        )
