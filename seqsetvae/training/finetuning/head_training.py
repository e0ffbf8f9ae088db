"""Trains a risk head on features that were computed once: scheduler, early stopping and best state by one validation score."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics.functional.classification import binary_accuracy, binary_auroc, binary_average_precision

from seqsetvae import names
from seqsetvae.config import FinetuneConfig
from seqsetvae.errors import RunFailure
from seqsetvae.model.classifier import RiskHead

DIVERGED = "The training has diverged: risks are NaN. Lower --finetune.head_lr, or --finetune.backbone_lr where it is unfrozen."
OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Examples:
    """Labelled stays."""

    x_BF: Tensor
    label_B: Tensor
    """0 or 1."""


@dataclass(frozen=True)
class FittedHead:
    """The head at its best epoch."""

    head: RiskHead
    epoch: int
    metrics: dict[str, float]
    """Of the validation stays at that epoch."""
    epochs: int
    """That were trained."""


def risk_loss(logit_B: Tensor, label_B: Tensor, kind: str, positive_share: float, gamma: float) -> Tensor:
    """Mean loss of a batch.

    `weighted` gives both outcomes the same total weight; `focal` also plays down stays that are already right (Lin et al. 2017,
    eq. 5, with the same weights as alpha).

    >>> right, wrong = torch.tensor([4.0]), torch.tensor([-4.0])
    >>> one = torch.ones(1)
    >>> [round(float(risk_loss(x, one, "focal", 0.5, 2.0) / risk_loss(x, one, "weighted", 0.5, 2.0)), 4) for x in (right, wrong)]
    [0.0003, 0.9644]
    """
    if kind == "plain":
        return F.binary_cross_entropy_with_logits(logit_B, label_B)
    weight_B = torch.where(label_B > 0, 0.5 / positive_share, 0.5 / (1.0 - positive_share))
    if kind == "focal":
        wrong_B = torch.sigmoid(torch.where(label_B > 0, -logit_B, logit_B))
        weight_B = weight_B * wrong_B.pow(gamma)
    return (weight_B * F.binary_cross_entropy_with_logits(logit_B, label_B, reduction="none")).mean()


def risk_scores(risk_B: Tensor, label_B: Tensor) -> dict[str, float]:
    """Scores of the validation stays, by their names in the store.

    Raises:
        RunFailure: a risk is NaN.
    """
    if not bool(risk_B.isfinite().all()):
        raise RunFailure(DIVERGED)  # of NaN torchmetrics would make an ordinary score
    truth_B = label_B.long()
    return {
        names.FINETUNE_AUC: float(binary_auroc(risk_B, truth_B)),
        names.FINETUNE_AUPRC: float(binary_average_precision(risk_B, truth_B)),
        names.FINETUNE_ACCURACY: float(binary_accuracy(risk_B, truth_B)),
        names.FINETUNE_PRED: float(risk_B.mean()),
    }


def train_head(
    train: Examples, valid: Examples, config: FinetuneConfig, seed: int = 0, on_epoch: OnEpoch | None = None
) -> FittedHead:
    """Train until the monitored score has not risen for `epochs_of_patience`; return the best state."""
    torch.manual_seed(seed)
    head = RiskHead(train.x_BF.shape[1], config.hidden, config.dropout)
    head.fit_scale(train.x_BF)
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.head_lr, weight_decay=config.weight_decay)
    scheduler = ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=max(1, config.epochs_of_patience // 3))
    share = float(train.label_B.mean())
    best: dict[str, float] = {config.monitor: -1.0}
    best_state, best_epoch, epoch = deepcopy(head.state_dict()), 0, 0
    for epoch in range(1, config.epochs + 1):
        head.train()
        total = 0.0
        for rows in torch.randperm(len(train.label_B)).split(config.batch_size):
            loss = risk_loss(head(train.x_BF[rows]), train.label_B[rows], config.loss, share, config.focal_gamma)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        head.eval()
        with torch.no_grad():
            metrics = risk_scores(torch.sigmoid(head(valid.x_BF)), valid.label_B)
        scheduler.step(metrics[config.monitor])
        if on_epoch is not None:
            rate = float(optimizer.param_groups[0]["lr"])
            on_epoch(epoch, metrics | {names.TRAIN_LOSS: total / len(train.label_B), names.LEARNING_RATE: rate})
        if metrics[config.monitor] > best[config.monitor]:
            best, best_state, best_epoch = metrics, deepcopy(head.state_dict()), epoch
        elif epoch - best_epoch >= config.epochs_of_patience:
            break
    head.load_state_dict(best_state)
    return FittedHead(head.eval(), best_epoch, best, epoch)
