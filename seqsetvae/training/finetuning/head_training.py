"""Trains a head on features that were computed once: scheduler, early stopping and best state by one validation score."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seqsetvae import names
from seqsetvae.config import FinetuneConfig
from seqsetvae.model.classifier import RiskHead
from seqsetvae.tasks.kind import Kind

OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Examples:
    """Labelled stays."""

    x_BF: Tensor
    label_B: Tensor
    """As the kind of task has them."""


@dataclass(frozen=True)
class FittedHead:
    """The head at its best epoch."""

    head: RiskHead
    epoch: int
    metrics: dict[str, float]
    """Of the validation stays at that epoch."""
    epochs: int
    """That were trained."""


def train_head(
    train: Examples,
    valid: Examples,
    kind: Kind,
    config: FinetuneConfig,
    seed: int = 0,
    on_epoch: OnEpoch | None = None,
) -> FittedHead:
    """Train until the monitored score has not risen for `epochs_of_patience`; return the best state."""
    torch.manual_seed(seed)
    head = RiskHead(train.x_BF.shape[1], config.hidden, config.dropout, kind.outputs)
    head.fit_scale(train.x_BF)
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.head_lr, weight_decay=config.weight_decay)
    scheduler = ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=max(1, config.epochs_of_patience // 3))
    monitor = kind.monitor(config)
    best: dict[str, float] = {monitor: -math.inf}
    best_state, best_epoch, epoch = deepcopy(head.state_dict()), 0, 0
    for epoch in range(1, config.epochs + 1):
        head.train()
        total = 0.0
        for rows in torch.randperm(len(train.label_B)).split(config.batch_size):
            loss = kind.loss(head(train.x_BF[rows]), train.label_B[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        head.eval()
        with torch.no_grad():
            metrics = kind.metrics(kind.answer(head(valid.x_BF)), valid.label_B)
        scheduler.step(metrics[monitor])
        if on_epoch is not None:
            rate = float(optimizer.param_groups[0]["lr"])
            on_epoch(epoch, metrics | {names.TRAIN_LOSS: total / len(train.label_B), names.LEARNING_RATE: rate})
        if metrics[monitor] > best[monitor]:
            best, best_state, best_epoch = metrics, deepcopy(head.state_dict()), epoch
        elif epoch - best_epoch >= config.epochs_of_patience:
            break
    head.load_state_dict(best_state)
    return FittedHead(head.eval(), best_epoch, best, epoch)
