"""Trains a head on features that were computed once: scheduler, early stopping and best state by one validation score.

A head of one linear layer is fitted to its end instead, and the validation score chooses how strongly it is regularized: with a few
hundred labels two layers that are stopped early stay behind that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seqsetvae import names
from seqsetvae.config import FinetuneConfig
from seqsetvae.model.classifier import RiskHead
from seqsetvae.tasks.kind import Kind
from seqsetvae.tasks.recalibration import minimize

OnEpoch = Callable[[int, dict[str, float]], None]

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""C of a linear head: the sum of its losses is minimized plus its squared weights / 2C. The smaller, the nearer to 0 are the weights."""


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

    @property
    def chosen(self) -> str:
        """By the validation stays, in words."""
        return f"best epoch {self.epoch} of {self.epochs}"


@dataclass(frozen=True)
class FittedLinear(FittedHead):
    """The linear head of the best strength, which stands where the epoch does."""

    @property
    def chosen(self) -> str:
        return f"best C {STRENGTHS[self.epoch - 1]:g} of {self.epochs} tried"


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
    if config.hidden == 0:
        return fit_linear(head, train, valid, kind, config, on_epoch)
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


def fit_linear(
    head: RiskHead,
    train: Examples,
    valid: Examples,
    kind: Kind,
    config: FinetuneConfig,
    on_epoch: OnEpoch | None = None,
) -> FittedLinear:
    """Fit a head of one layer to its end at each of :data:`STRENGTHS`; return the one of the best monitored score.

    Args:
        head: its scale is set already.
        train: stays to learn from.
        valid: stays that choose the strength.
        kind: of the task, fitted on `train`.
        config: which score is monitored.
        on_epoch: is told the scores of each strength, by its place from 1 on.
    """
    head = head.double().eval()
    layer = head.layers[-1]
    assert isinstance(layer, nn.Linear)
    x_BF, unseen_BF = head.scaled(train.x_BF.double()), head.scaled(valid.x_BF.double())
    label_B = train.label_B.double()

    def loss() -> Tensor:
        return kind.loss(layer(x_BF).squeeze(1), label_B)

    def regularized(weight: float) -> Tensor:
        return loss() + weight * layer.weight.square().sum()

    monitor = kind.monitor(config)
    found: list[dict[str, float]] = []
    states = []
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    for place, strength in enumerate(STRENGTHS, start=1):  # each starts where the last one ended
        penalized = partial(regularized, 1.0 / (2.0 * strength * len(x_BF)))
        minimize(layer.parameters(), penalized, max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-12)
        with torch.no_grad():
            metrics = kind.metrics(kind.answer(layer(unseen_BF).squeeze(1)), valid.label_B)
        found.append(metrics)
        states.append(deepcopy(layer.state_dict()))
        if on_epoch is not None:
            on_epoch(place, metrics | {names.TRAIN_LOSS: float(loss().detach())})
    best = max(range(len(found)), key=lambda place: found[place][monitor])
    layer.load_state_dict(states[best])
    return FittedLinear(head.float(), best + 1, found[best], len(found))
