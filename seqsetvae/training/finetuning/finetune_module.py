"""Finetuning with an unfrozen backbone, as Lightning runs it. Nothing is reconstructed: the decoder takes no part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR, ReduceLROnPlateau
from torch.utils.data import Dataset

from seqsetvae import names
from seqsetvae.batch import EventBatch
from seqsetvae.config import FinetuneConfig
from seqsetvae.data.loader import EventLoader
from seqsetvae.data.packed import gather
from seqsetvae.data.sampler import BatchSpec, EventBatchSampler
from seqsetvae.model.classifier import RiskHead, head_input, parts_of, stay_features, with_carried
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.tasks.kind import Kind
from seqsetvae.training.allocator import keep_freed_memory
from seqsetvae.training.finetuning.auxiliary import AuxiliaryHead
from seqsetvae.training.finetuning.event_dropout import drop_events
from seqsetvae.training.finetuning.features import LabelledStays


class RiskModule(pl.LightningModule):
    """Trains a head, and of its backbone what `unfreeze` names, at a learning rate of its own.

    Args:
        vae: the backbone; its weights are changed.
        head: its scale is set already.
        chosen: what the head looks at.
        kind: of the task, fitted on the training stays.
        auxiliary: what is learned along, if anything.
    """

    def __init__(
        self,
        vae: SeqSetVAE,
        head: RiskHead,
        chosen: str,
        kind: Kind,
        config: FinetuneConfig,
        auxiliary: AuxiliaryHead | None = None,
    ):
        super().__init__()
        self.vae = vae.requires_grad_(False)
        self.head = head
        self.chosen = chosen
        self.kind = kind
        self.auxiliary = auxiliary
        self.config = config
        for part in unfrozen_parts(vae, config.unfreeze):
            part.requires_grad_(True)
        self._validated: list[tuple[Tensor, Tensor]] = []
        self._losses: list[Tensor] = []

    def on_fit_start(self) -> None:
        keep_freed_memory()

    def forward(self, batch: EventBatch) -> Tensor:
        """What the head gives for every subject, shape (B,) or (B, K)."""
        return self.output_and_hidden(batch)[0]

    def output_and_hidden(self, batch: EventBatch) -> tuple[Tensor, Tensor]:
        """What the head gives, and what its last layer has seen, (B, H)."""
        features = stay_features(self.vae, batch, parts_of(self.chosen))
        hidden_BH = self.head.hidden(head_input(features, self.chosen))
        return with_carried(self.head.output(hidden_BH), features), hidden_BH

    def training_step(self, batch: EventBatch, batch_idx: int) -> Tensor:
        output_B, hidden_BH = self.output_and_hidden(drop_events(batch, self.config.event_dropout))
        loss = self.kind.loss(output_B, batch.label_B)
        self._losses.append(loss.detach())
        if self.auxiliary is None:
            return loss
        return loss + self.config.auxiliary_weight * self.auxiliary.loss(hidden_BH, batch.row_B)

    def validation_step(self, batch: EventBatch, batch_idx: int) -> None:
        self._validated.append((self(batch), batch.label_B))

    def on_validation_epoch_end(self) -> None:
        output_B, label_B = (torch.cat(part) for part in zip(*self._validated, strict=True))
        scores = self.kind.metrics(self.kind.answer(output_B), label_B) | {
            names.TRAIN_LOSS: float(torch.stack(self._losses).mean())
        }
        self.log_dict(scores, logger=False)
        self._validated, self._losses = [], []

    def configure_optimizers(self) -> Any:
        config = self.config
        backbone = [parameter for parameter in self.vae.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": backbone, "lr": config.backbone_lr},
            {"params": [*self.head.parameters(), *(self.auxiliary.parameters() if self.auxiliary else ())]},
        ]
        optimizer = torch.optim.AdamW(groups, lr=config.head_lr, weight_decay=config.weight_decay)
        # One epoch of warm-up: the untrained head's first gradients would undo what the backbone has learned.
        steps = int(self.trainer.estimated_stepping_batches) // config.epochs
        warmup = LinearLR(optimizer, start_factor=0.01, total_iters=max(1, steps))
        # Halved by each epoch that is no better, so that the last ones before the end are steps of another size.
        plateau = ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=0)
        return [optimizer], [
            {"scheduler": warmup, "interval": "step"},
            {"scheduler": plateau, "interval": "epoch", "monitor": self.kind.monitor(config)},
        ]


def unfrozen_parts(vae: SeqSetVAE, unfreeze: str) -> Iterator[nn.Module]:
    """The parts of a backbone that are trained. The decoder never is."""
    if unfreeze != "none":
        yield vae.history
    if unfreeze == "all":
        yield from (part for part in (vae.set_encoder, vae.reads, vae.history_heads) if part is not None)


class StayDataset(Dataset[EventBatch]):
    """Labelled stays; an item is a whole batch."""

    def __init__(self, stays: LabelledStays):
        self.stays = stays

    def __getitem__(self, spec: BatchSpec) -> EventBatch:
        return gather(self.stays.packed, spec.rows, self.stays.vocabulary)


def stay_loader(stays: LabelledStays, batch_size: int, seed: int | None) -> EventLoader:
    """Batches of labelled stays: shuffled by a seed, or without one in their order."""
    lengths = [np.diff(stays.packed.events_before_B).astype(np.int64)]
    sampler = EventBatchSampler(lengths, batch_size=batch_size, shuffle=seed is not None, seed=seed or 0)
    return EventLoader(StayDataset(stays), sampler)
