"""`finetune`: from a pretrained model to a registered classifier, as one MLflow run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from seqsetvae import names
from seqsetvae.config import FinetuneConfig, TrackingConfig
from seqsetvae.config.settings_io import settings_yaml
from seqsetvae.config.told import FINETUNE, changed, told_name, told_params
from seqsetvae.console import console
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.store import Store
from seqsetvae.data.tasks import TaskStore, names_of, open_task
from seqsetvae.errors import InputError, RunFailure
from seqsetvae.model.classifier import OUTLOOK, RiskNet, parts_of
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.scores import Curve
from seqsetvae.tasks.kind import Kind
from seqsetvae.tasks.regression import Regression
from seqsetvae.tracking.compat.experiment_page import artifact_links
from seqsetvae.tracking.connection.address import recorded
from seqsetvae.tracking.read.run_summary import read_run
from seqsetvae.tracking.registry.versions import Registered, record_input
from seqsetvae.tracking.write.run import Run
from seqsetvae.tracking.write.start import start_run
from seqsetvae.training.finetuning.auxiliary import AuxiliaryOutcomes
from seqsetvae.training.finetuning.features import LabelledStays, labelled_stays
from seqsetvae.training.finetuning.members import train_members
from seqsetvae.training.finetuning.mortality import RiskModel
from seqsetvae.training.finetuning.registering import register_when_possible, task_of, wish_registration
from seqsetvae.training.finetuning.task_overview import TaskOverview
from seqsetvae.training.interrupt import Interrupted
from seqsetvae.training.pretrained.exported import Pretrained
from seqsetvae.training.pretrained.loading import find_model
from seqsetvae.training.pretrained.registration import attempt
from seqsetvae.training.recording import say_losses
from seqsetvae.training.signals import Signals, StoppedAtOnce

_log = logging.getLogger(__name__)

DrawCalibration = Callable[[Mapping[str, Curve], str, bool, Mapping[str, NDArray[np.float64]]], bytes]
"""Curves by name, a subtitle, and whether they are of risks -> PNG."""


TABLES = {
    names.ARTIFACT_TASK: "outcomes",
    names.ARTIFACT_VAL_SCORES: "scores",
    names.ARTIFACT_CALIBRATION: "calibration",
}
FIGURE = {names.ARTIFACT_CALIBRATION_FIGURE: "its figure"}
"""What the run's page leads to."""


@dataclass(frozen=True)
class FinetuneResult:
    """A finished finetuning run."""

    run_id: str
    model: RiskModel
    val_metrics: dict[str, float]
    version: Registered | None
    """None where it was not registered, or not yet."""
    not_written: tuple[str, ...] = ()
    """What a full disk has kept from being written, in words."""

    def __repr__(self) -> str:
        metrics = "".join(f", {name} {value:.4g}" for name, value in self.val_metrics.items())
        return f"<FinetuneResult {self.run_id}{metrics}, {self.version.uri if self.version else 'not registered'}>"


@console()
def finetune(config: FinetuneConfig, tracking: TrackingConfig, draw: DrawCalibration | None = None) -> FinetuneResult:
    """Train a head and record the run: :func:`seqsetvae.app.composition.finetune`, which hands in what draws."""
    with Signals() as signals:
        try:
            return finetune_listening(config, tracking, draw, signals)
        except StoppedAtOnce as stop:
            raise Interrupted(stop.signum, None) from None


def finetune_listening(
    config: FinetuneConfig, tracking: TrackingConfig, draw: DrawCalibration | None, signals: Signals
) -> FinetuneResult:
    """:func:`finetune`, while the signals are listened to."""
    model, version = find_backbone(config, tracking)
    store = open_task(open_store(config.store), config.labels, config.task, config.at_hours, config.kind)
    train, valid = training_stays(model, store, config), labelled_stays(model.vocabulary, store, "valid")
    if config.outcome_scale != "linear" and train.kind is not Regression:
        raise InputError(
            f"--outcome_scale {config.outcome_scale} is for numbers, but the outcomes are {train.kind.name}. Leave it out, or say --kind "
            "regression."
        )
    kind = train.kind.fit(train.label_B, names_of(store), config)
    outcomes = TaskOverview.of(store, task_of(config))
    tags = {
        names.TAG_DATA: Path(config.store).name,
        names.TAG_DATA_HASH: store.content_hash,
        names.TAG_PRETRAINED_RUN: model.recipe.run_id,
    }
    settings = {"finetune": asdict(config), "tracking": asdict(recorded(tracking))}
    signals.hold()  # a run that is half open could not be closed
    run = start_run(
        tracking,
        kind="finetune",
        run_name=tracking.run_name or run_name(config),
        params=told_params({"finetune": config}, {"finetune": FinetuneConfig()}, FINETUNE),
        config_yaml=settings_yaml(settings),
        tags=tags,
    )
    with run:
        signals.release()
        lines = [
            f"Finetuning {config.model}",
            f"  {'train':<8}{train.describe()}",
            f"  {'valid':<8}{valid.describe()}",
            *([f"  {'task':<8}{what_is_predicted(config, store)}"] if isinstance(store, TaskStore) else []),
            *(f"  {'':<8}{line}" for line in str(outcomes).splitlines()),
            *([f"  {'along':<8}{train.auxiliary}"] if train.auxiliary else []),
            f"  {'trained':<8}{what_is_trained(config)}",
            f"  {'run':<8}{run.run_id}",
            run.where_to_look,
        ]
        _log.info("\n".join(lines))
        run.log_dataset(config.store, store.content_hash, str(store.path))
        outcomes.record(run, store)
        risk_model, risk_B, metrics = train_risk_model(model, train, valid, kind, config, run, signals)
        found = record_validation(run, risk_model.kind, risk_B, valid.label_B.double().numpy(), draw)
        facts = "\n".join(f"- {line.strip()}" for line in [*lines[:-2], f"head input: {risk_model.net.chosen}"])
        links = artifact_links(run.experiment_id, run.run_id, TABLES | (FIGURE if draw else {}))
        run.describe(f"**Validation {found}** (it chose the head)\n\n{facts}\n\n{links}")
        signals.end()
        wish = wish_registration(run, risk_model, metrics, store, version, config) if tracking.register_model else None
        delivered = run.finish()
    if version is not None and delivered:
        attempt(partial(record_input, run.tracking_uri, run.run_id, version.model_id))
    made = register_when_possible(run, wish, delivered) if wish is not None else None
    say_losses(run)
    return FinetuneResult(run.run_id, risk_model, metrics, made, run.losses)


def training_stays(model: Pretrained, store: Store, config: FinetuneConfig) -> LabelledStays:
    """What is learned from: a share of the labelled stays, with the outcomes that are learned along."""
    train = labelled_stays(model.vocabulary, store, "train").some(config.label_share, config.seed)
    if config.auxiliary is None:
        return train
    return replace(train, auxiliary=AuxiliaryOutcomes.read(config.auxiliary, config.labels, store, train.subject_id))


def find_backbone(config: FinetuneConfig, tracking: TrackingConfig) -> tuple[Pretrained, Registered | None]:
    """The pretrained model that is asked for, and the version that it is, if it is one.

    Raises:
        InputError: none is named, it collapsed, or it cannot give what the head is to look at.
    """
    if config.model is None:
        raise InputError(
            "finetune needs a pretrained model: --model models:/seqsetvae@champion, a run id, or the path of a checkpoint. "
            "`seqsetvae pretrain` makes one."
        )
    model, version = find_model(config.model, tracking)
    refused = why_not_to_build_on(model, version, tracking)
    if refused and not config.allow_collapsed:
        raise InputError(f"{config.model} {refused}. --allow_collapsed finetunes it all the same.")
    if OUTLOOK in parts_of(config.head_input) and model.vae.history_heads is None:
        raise InputError(
            f"--head_input {config.head_input}: {config.model} has no heads on its history. Pretrain it with --model.remember true "
            "--model.foresee_hours [1,6,24], or leave the outlook out."
        )
    return model, version


def run_name(config: FinetuneConfig) -> str:
    """Short and telling in a list of runs.

    >>> run_name(FinetuneConfig(model="models:/seqsetvae/3", label_share=0.1))
    'label_share 0.1, finetune seqsetvae/3, demo'
    """
    main = f"finetune {str(config.model).removeprefix('models:/')}, {Path(config.store).name}"
    return told_name(main, changed({"finetune": config}, {"finetune": FinetuneConfig()}), ("model", "store"))


def train_risk_model(
    model: Pretrained,
    train: LabelledStays,
    valid: LabelledStays,
    kind: Kind,
    config: FinetuneConfig,
    run: Run,
    signals: Signals,
) -> tuple[RiskModel, NDArray[np.float64], dict[str, float]]:
    """The classifier, recalibrated on the validation stays, its answers there, and their metrics, which the run records.

    Raises:
        RunFailure: risks are NaN; the run's page says why.
    """
    begun = time.perf_counter()
    try:
        net, fitted = train_members(model, train, valid, kind, config, run, signals)
    except RunFailure as error:
        run.describe(f"⏹️ **Broken off: {error}**")
        raise
    trained = replace(model, vae=cast(SeqSetVAE, net.backbones[0]))
    raw = RiskModel(trained, net.eval(), config.hidden, kind)
    _log.info(loaded_message(model, net, config))
    made = replace(raw, kind=kind.settled(raw.predict(valid.packed), valid.label_B.double().numpy()))
    risk_B = made.predict(valid.packed)
    metrics = made.kind.metrics(torch.from_numpy(risk_B), valid.label_B)
    seconds = {names.FINETUNE_SECONDS: time.perf_counter() - begun}
    run.log_metrics(metrics | seconds, step=1 + max(one.epochs for one in fitted))
    return made, risk_B, metrics


def why_not_to_build_on(model: Pretrained, version: Registered | None, tracking: TrackingConfig) -> str:
    """Why a pretrained model should not be finetuned; empty if it may."""
    if version is not None:
        return f"was registered by force: {version.tags['forced']}" if "forced" in version.tags else ""
    try:
        summary = read_run(tracking, model.recipe.run_id)
    except InputError:
        return ""  # a file from elsewhere, whose run is not in this store
    if summary.tags.get(names.TAG_COLLAPSE) == "red":
        return f"is of run {summary.name} ({summary.run_id}), whose posterior collapsed (level red)"
    return ""


def what_is_predicted(config: FinetuneConfig, store: TaskStore) -> str:
    """In words, with every row that was left out."""
    text = f"{config.task or store.names[0]} of {Path(str(config.labels)).name}: {store.rows} outcomes, {store.kind.replace('_', ' ')}"
    if store.without_stay:
        text += f"; {store.without_stay} of no stay are left out"
    return text + (f"; {store.without_events} before any event are left out" if store.without_events else "")


def what_is_trained(config: FinetuneConfig) -> str:
    """In words."""
    start = "new weights" if config.from_scratch else "the pretrained weights"
    backbone = {
        "none": "the head; the backbone is frozen, its features are computed once",
        "history": f"the head, and the history transformer from {start} at {config.backbone_lr:g}",
        "all": f"the head, and the whole backbone from {start} at {config.backbone_lr:g}",
    }[config.unfreeze]
    seeds = f"; {config.n_seeds} seeds, whose logits are averaged" if config.n_seeds > 1 else ""
    share = f"; from {config.label_share:.0%} of the labels" if config.label_share < 1.0 else ""
    return backbone + seeds + share


def loaded_message(model: Pretrained, net: RiskNet, config: FinetuneConfig) -> str:
    """How much of the classifier was loaded, and what was not."""
    backbone = {key: p.numel() for key, p in model.vae.named_parameters() if not key.startswith("set_decoder.")}
    decoder = sum(p.numel() for p in model.vae.set_decoder.parameters())
    head = {f"head.{key}": p.numel() for key, p in net.heads[0].named_parameters()}
    loaded, new = sum(backbone.values()), sum(head.values())
    if config.from_scratch:
        return f"Loaded 0 of {loaded + new:,} parameters: all of them began with new weights."
    then = {"none": "frozen", "history": "then the history was trained on", "all": "then trained on"}[config.unfreeze]
    return (
        f"✅ Loaded {loaded:,} of {loaded + new:,} parameters ({len(backbone)} tensors, {then}). Not loaded, trained here: "
        f"{', '.join(head)}. Not used: the decoder's {decoder:,}; nothing is reconstructed."
    )


def record_validation(
    run: Run, kind: Kind, risk_B: NDArray[np.float64], label_B: NDArray[np.float64], draw: DrawCalibration | None
) -> str:
    """Scores of the validation stays; with the calibration curve they become tables of the run, the curve also a figure.

    Returns the first two scores, in words.
    """
    found = kind.with_intervals(label_B, risk_B)
    rows = [[name, one.value, one.low, one.high] for name, one in found.items()]
    run.log_table({"columns": ["score", "value", "low_95", "high_95"], "data": rows}, names.ARTIFACT_VAL_SCORES)
    curve = kind.calibration(label_B, risk_B)
    columns = ["mean_risk", "observed_share", "stays"]
    run.log_table({"columns": columns, "data": [list(point) for point in curve]}, names.ARTIFACT_CALIBRATION)
    if draw is not None:
        counted = kind.counted(label_B).replace(" of them", "")
        head = f"{len(label_B)} validation stays, {counted}, also used to recalibrate"
        figure = draw({"validation": curve}, head, kind.is_share, {"validation": risk_B})
        run.log_bytes(figure, names.ARTIFACT_CALIBRATION_FIGURE)
    said = ", ".join(f"{words} {found[key]}" for key, (_, words) in zip(kind.headings, kind.shown, strict=False))
    _log.info(f"  validation (it chose the head): {said}")
    return said
