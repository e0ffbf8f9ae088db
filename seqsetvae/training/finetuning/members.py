"""What `finetune` trains: a head for each seed on a frozen backbone, or a backbone with its head for each seed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from seqsetvae import names
from seqsetvae.config import FinetuneConfig
from seqsetvae.model.classifier import OUTLOOK, SUMMARIES, RiskNet, head_input, parts_of
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.tasks.kind import Kind
from seqsetvae.tracking.write.run import Run
from seqsetvae.training.finetuning.features import LabelledStays, compute_features, mean_logits, require_finite_scores
from seqsetvae.training.finetuning.head_training import Examples, FittedHead, OnEpoch, train_head
from seqsetvae.training.pretrained.exported import Pretrained
from seqsetvae.training.signals import Signals

_log = logging.getLogger(__name__)

CANDIDATES = ("posterior", "history", "posterior+history", "history+summaries", "outlook", "outlook+summaries")
"""Inputs of the head that `auto` tries; the last two of models with heads on their history."""
MOST_SUMMARIES = 1000
"""Variables beyond which `auto` does without summaries: nine of each, of thousands of codes, are slow and mostly empty."""


@dataclass(frozen=True)
class ChosenInput:
    """What the heads look at, on a frozen backbone: features that were computed once, and the head that was chosen by them."""

    chosen: str
    train: Examples
    valid: Examples
    fitted: FittedHead


def train_members(
    model: Pretrained,
    train: LabelledStays,
    valid: LabelledStays,
    kind: Kind,
    config: FinetuneConfig,
    run: Run,
    signals: Signals,
) -> tuple[RiskNet, list[FittedHead]]:
    """Train all members, recalibrate the mean of their outputs on the validation stays, and say how each of them did."""
    if config.frozen:
        frozen = choose_input(model, train, valid, kind, config, run)
        net, fitted = frozen_members(model, frozen, kind, config)
    else:
        named = config.head_input != "auto"
        chosen = config.head_input if named else choose_input(model, train, valid, kind, config, run).chosen
        net, fitted = unfrozen_members(model, chosen, train, valid, kind, config, run, signals)
    run.set_tag(names.TAG_HEAD_INPUT, net.chosen)
    logit_B = mean_logits(net, valid.packed, valid.vocabulary)
    require_finite_scores(logit_B, net.score, valid)
    slope, offset = kind.recalibration(logit_B, valid.label_B)
    net.slope, net.offset = slope.float(), offset.float()
    return net, fitted


def choose_input(
    model: Pretrained, train: LabelledStays, valid: LabelledStays, kind: Kind, config: FinetuneConfig, run: Run
) -> ChosenInput:
    """Train a head on the frozen backbone for each input that is in question; the validation stays choose."""
    variables = len(model.vocabulary)
    heads = model.vae.history_heads is not None
    wanted = candidates(variables, heads) if config.head_input == "auto" else (config.head_input,)
    if config.head_input == "auto" and variables > MOST_SUMMARIES:
        _log.info(
            f"  --head_input auto tries no summaries of {variables:,} variables (at most {MOST_SUMMARIES:,}); "
            "--head_input history+summaries does."
        )
    parts = tuple(dict.fromkeys(part for name in wanted for part in parts_of(name)))
    features = [compute_features(model.vae, stays, parts) for stays in (train, valid)]
    found: dict[str, ChosenInput] = {}
    for name in wanted:
        seen, unseen = (
            Examples(head_input(computed, name).clone(), stays.label_B)
            for computed, stays in zip(features, (train, valid), strict=True)
        )
        folder = name.replace("+", "_") + "/"  # MLflow takes no plus in a metric's name
        on_epoch = recorder(run, folder if len(wanted) > 1 else "")
        found[name] = ChosenInput(name, seen, unseen, train_head(seen, unseen, kind, config, config.seed, on_epoch))
        _log.info(f"  head on {name:<18} {how_it_did(found[name].fitted, kind)}")
    return max(found.values(), key=lambda one: one.fitted.metrics[kind.monitor(config)])


def candidates(variables: int, heads: bool) -> tuple[str, ...]:
    """Inputs that `auto` tries with a vocabulary of some size, and a model with heads on its history or without.

    >>> candidates(41, heads=True) == CANDIDATES, candidates(6000, heads=False)
    (True, ('posterior', 'history', 'posterior+history'))
    """
    without = {SUMMARIES} if variables > MOST_SUMMARIES else set()
    without |= set() if heads else {OUTLOOK}
    return tuple(name for name in CANDIDATES if not without & set(parts_of(name)))


def frozen_members(
    model: Pretrained, frozen: ChosenInput, kind: Kind, config: FinetuneConfig
) -> tuple[RiskNet, list[FittedHead]]:
    """Further heads beside the first, on the same features."""
    fitted = [frozen.fitted]
    for seed in range(config.seed + 1, config.seed + config.n_seeds):
        fitted.append(train_head(frozen.train, frozen.valid, kind, config, seed))
        _log.info(f"  seed {seed:<21} {how_it_did(fitted[-1], kind)}")
    return RiskNet([model.vae], [one.head for one in fitted], frozen.chosen), fitted


def unfrozen_members(
    model: Pretrained,
    chosen: str,
    train: LabelledStays,
    valid: LabelledStays,
    kind: Kind,
    config: FinetuneConfig,
    run: Run,
    signals: Signals,
) -> tuple[RiskNet, list[FittedHead]]:
    """Backbone and head together, once for each seed."""
    from seqsetvae.training.finetuning.unfrozen_training import train_member

    members = []
    for seed in range(config.seed, config.seed + config.n_seeds):
        start = new_weights(model, seed) if config.from_scratch else model.vae
        on_epoch = recorder(run, f"seed_{seed}/" if config.n_seeds > 1 else "")
        scale = inputs(start, chosen, train)
        folder = run.checkpoint_dir
        members.append(train_member(start, scale, chosen, train, valid, kind, config, seed, folder, on_epoch, signals))
        run.log_file(members[-1].checkpoint, f"{names.ARTIFACT_CHECKPOINTS}/{members[-1].checkpoint.name}", copy=False)
        _log.info(f"  seed {seed:<21} {how_it_did(members[-1].fitted, kind)}")
    fitted = [one.fitted for one in members]
    return RiskNet([one.vae for one in members], [one.head for one in fitted], chosen), fitted


def inputs(vae: SeqSetVAE, chosen: str, stays: LabelledStays) -> Tensor:
    """What a head sees of some stays, (B, F)."""
    return head_input(compute_features(vae, stays, parts_of(chosen)), chosen).clone()


def new_weights(model: Pretrained, seed: int) -> SeqSetVAE:
    """The same network before any training."""
    torch.manual_seed(seed)
    embedding = getattr(model.vae.set_encoder, "embed").frozen_VE  # noqa: B009 - a part may be any module
    return SeqSetVAE(model.config, len(model.vocabulary), embedding).eval()


def recorder(run: Run, prefix: str) -> OnEpoch:
    """Records the scores of each epoch."""

    def record(epoch: int, metrics: Mapping[str, float]) -> None:
        run.log_metrics({f"{prefix}{key}": value for key, value in metrics.items()}, step=epoch)

    return record


def how_it_did(fitted: FittedHead, kind: Kind) -> str:
    """In words."""
    shown = ", ".join(f"{key} {fitted.metrics[key]:.4f}" for key, _ in kind.shown)
    return f"{fitted.chosen}: {shown}"
