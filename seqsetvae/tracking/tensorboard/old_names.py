"""Names of an older training's metrics and settings, and what means the same here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from seqsetvae import names
from seqsetvae.config import PretrainConfig

SAME = {
    names.TRAIN_LOSS: ("train_loss_step",),
    names.TRAIN_RECON: ("train_recon_loss_step", "train_recon", "train_recon_loss"),
    names.TRAIN_KL: ("train_kl", "train_kl_loss_step", "train_kl_loss"),
    names.VAL_RECON: ("val_recon_loss",),
    names.VAL_KL: ("val_kl_loss",),
    names.BETA: ("train_beta_step", "train_beta"),
    # The last three by Lightning's LearningRateMonitor.
    names.LEARNING_RATE: ("learning_rate", "lr-AdamW", "lr-Adam", "lr-SGD"),
    names.GRADIENT_NORM: ("train_grad_norm",),
    names.FINETUNE_AUC: ("val_auroc",),
    names.FINETUNE_ACCURACY: ("val_acc",),
    # Not the same: theirs is a loss, ours the mean predicted risk.
    names.IMPORTED_PRED_LOSS: (names.FINETUNE_PRED,),
}
"""Our name, and the older ones that mean the same quantity, the one to be preferred first."""
SAME_OF_MONITOR = {
    names.COLLAPSE_KL: ("kl_divergence",),
    names.COLLAPSE_VARIANCE: ("variance", "mean_variance"),
    # Theirs is a share as well, of variances and not of Burda's units.
    names.COLLAPSE_VARIANCE_RATIO: ("active_ratio", "active_units_ratio", "active_units"),
    names.COLLAPSE_RECON: ("reconstruction_loss", "recon_loss"),
}
"""Of the guides' collapse monitor, whatever group such as `posterior/` stands before it."""
LONGEST_NAME = 250
"""Characters; MLflow refuses longer ones."""


def metric_names(tags: Iterable[str]) -> dict[str, str]:
    """The name that each tag gets here: ours where it means the same and is not taken, else its own in letters that MLflow accepts.

    >>> metric_names(["train_loss_step", "train_kl_step", "posterior/variance", "acc@5", "acc#5"])  # doctest: +NORMALIZE_WHITESPACE
    {'train_loss_step': 'train_loss', 'posterior/variance': 'collapse/mean_variance', 'train_kl_step': 'train_kl_step', 'acc@5': 'acc_5',
     'acc#5': 'acc_5_2'}
    """
    waiting = list(dict.fromkeys(tags))
    named: dict[str, str] = {}
    for same, last_word_only in ((SAME, False), (SAME_OF_MONITOR, True)):
        for ours, theirs in same.items():
            found = [
                tag for old in theirs for tag in waiting if old == (tag.rpartition("/")[2] if last_word_only else tag)
            ]
            if found and ours not in waiting:
                named[found[0]] = ours
                waiting.remove(found[0])
    for tag in waiting:
        name = plain = accepted(tag)
        number = 1
        while name in named.values():
            number += 1
            name = f"{plain}_{number}"
        named[tag] = name
    return named


def accepted(name: str) -> str:
    """A name as MLflow takes one, which is also a safe relative path.

    >>> accepted("../loss@epoch//1/"), accepted("损失/总")
    ('_/loss_epoch/1', '损失/总')
    """
    parts = [re.sub(r"[^\w.\- ]", "_", part) for part in name.split("/") if part]
    # Left of them would be a folder above, or nothing.
    return "/".join("_" if not part.strip(". ") else part for part in parts)[:LONGEST_NAME].rstrip("/") or "_"


def param_names(params: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under our group where one of ours has that word, as on the command line; the rest under their own.

    >>> param_names({"max_beta": 0.1, "num_classes": 2})
    {'objective/max_beta': 0.1, 'num_classes': 2}
    """
    config = PretrainConfig()
    groups = {
        setting.name: f"{group.name}/{setting.name}"
        for group in fields(config)
        for setting in fields(getattr(config, group.name))
    }
    return {groups.get(key, accepted(key)): value for key, value in params.items()}
