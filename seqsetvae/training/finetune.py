"""`finetune`: from a pretrained model to a registered classifier, as one MLflow run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from seqsetvae import names
from seqsetvae.config import FinetuneConfig, TrackingConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from seqsetvae.model.classifier import INPUTS, head_input
from seqsetvae.scores import Interval, calibration, with_intervals
from seqsetvae.tracking.experiment_page import artifact_links
from seqsetvae.tracking.registry import (
    PACKAGE,
    Candidate,
    Registered,
    champion,
    make_champion,
    record_input,
    register,
)
from seqsetvae.tracking.run import Run
from seqsetvae.tracking.runs import start_run
from seqsetvae.training.exported import Pretrained
from seqsetvae.training.features import LabelledStays, labelled_stays
from seqsetvae.training.head_training import Examples, FittedHead, train_head
from seqsetvae.training.loading import find_model
from seqsetvae.training.model_cards import CARDS, mortality_version
from seqsetvae.training.mortality import RiskModel, export_risk_model
from seqsetvae.training.registration import example_events


@dataclass(frozen=True)
class FinetuneResult:
    """A finished finetuning run."""

    run_id: str
    model: RiskModel
    val_metrics: dict[str, float]
    version: Registered | None
    """None where it was not registered."""


def finetune(config: FinetuneConfig, tracking: TrackingConfig) -> FinetuneResult:
    """Train a two-layer head on the features of a frozen pretrained model, and record the run.

    Raises:
        InputError: no model was given, it does not exist or had collapsed, or the data do not fit it.
    """
    if config.model is None:
        raise InputError(
            "finetune needs a pretrained model: --model models:/seqsetvae@champion, a run id, or the path of a checkpoint. "
            "`seqsetvae pretrain` makes one."
        )
    model, version = find_model(config.model, tracking)
    if version is not None and "forced" in version.tags and not config.allow_collapsed:
        raise InputError(
            f"{config.model} was registered by force: {version.tags['forced']}. --allow_collapsed finetunes it all the same."
        )
    store = open_store(config.store)
    begun = time.perf_counter()
    train, valid = (labelled_stays(model, store, split) for split in ("train", "valid"))
    seconds = time.perf_counter() - begun
    name = tracking.run_name or f"finetune {config.model.removeprefix('models:/')}, {Path(config.store).name}"
    tags = {
        names.TAG_DATA: Path(config.store).name,
        names.TAG_DATA_HASH: store.content_hash,
        names.TAG_PRETRAINED_RUN: model.recipe.run_id,
    }
    settings = {"finetune": asdict(config), "tracking": asdict(tracking)}
    with start_run(
        tracking,
        kind="finetune",
        run_name=name,
        params=settings,
        config_yaml=str(yaml.safe_dump(settings, sort_keys=False)),
        tags=tags,
    ) as run:
        lines = [
            f"Finetuning {config.model}",
            f"  {'train':<8}{train.describe()}",
            f"  {'valid':<8}{valid.describe()}",
            f"  {'backbone':<9}frozen; its features were computed once, in {seconds:.1f} s",
            f"  {'run':<8}{run.run_id}",
            run.where_to_look,
        ]
        print("\n".join(lines), flush=True)
        run.log_dataset(config.store, store.content_hash, str(store.path))
        run.log_metrics({names.FINETUNE_FEATURE_SECONDS: seconds}, step=0)
        chosen, fitted = choose_head(train, valid, config, run)
        risk_model = RiskModel(model, fitted.head, chosen, config.hidden)
        print(loaded_message(model, fitted), flush=True)
        found = record_validation(run, risk_model, valid, fitted)
        run_id, uri = run.run_id, run.tracking_uri
        facts = "\n".join(f"- {line.strip()}" for line in [*lines[:4], f"head input: {chosen}"])
        tables = {names.ARTIFACT_VAL_SCORES: "scores", names.ARTIFACT_CALIBRATION: "calibration"}
        run.describe(
            f"**Validation AUROC {found['auroc']}, AUPRC {found['auprc_average_precision']}** (it chose the epoch)\n\n{facts}\n\n"
            + artifact_links(run.experiment_id, run_id, tables)
        )
    if version is not None:
        record_input(uri, run_id, version)
    made = (
        register_risk_model(uri, run_id, risk_model, fitted, store, version, config)
        if tracking.register_model
        else None
    )
    return FinetuneResult(run_id, risk_model, fitted.metrics, made)


def choose_head(train: LabelledStays, valid: LabelledStays, config: FinetuneConfig, run: Run) -> tuple[str, FittedHead]:
    """Train a head for each input that is in question; the validation stays choose."""
    wanted = INPUTS if config.head_input == "auto" else (config.head_input,)
    fitted: dict[str, FittedHead] = {}
    for name in wanted:
        prefix = f"{name}/" if len(wanted) > 1 else ""

        def on_epoch(epoch: int, metrics: Mapping[str, float], prefix: str = prefix) -> None:
            run.log_metrics({f"{prefix}{key}": value for key, value in metrics.items()}, step=epoch)

        examples = [Examples(head_input(part.features, name).clone(), part.label_B) for part in (train, valid)]
        fitted[name] = train_head(examples[0], examples[1], config, on_epoch)
        shown = ", ".join(f"{key} {value:.4f}" for key, value in fitted[name].metrics.items())
        print(f"  head on {name:<10} best epoch {fitted[name].epoch} of {fitted[name].epochs}: {shown}", flush=True)
    chosen = max(fitted, key=lambda name: fitted[name].metrics[config.monitor])
    run.set_tag(names.TAG_HEAD_INPUT, chosen)
    run.log_metrics(fitted[chosen].metrics, step=fitted[chosen].epoch if len(wanted) == 1 else config.max_epochs + 1)
    return chosen, fitted[chosen]


def loaded_message(model: Pretrained, fitted: FittedHead) -> str:
    """How much of the classifier was loaded, and what was not."""
    backbone = {key: p.numel() for key, p in model.vae.named_parameters() if not key.startswith("set_decoder.")}
    decoder = sum(p.numel() for p in model.vae.set_decoder.parameters())
    head = {f"head.{key}": p.numel() for key, p in fitted.head.named_parameters()}
    loaded, new = sum(backbone.values()), sum(head.values())
    return (
        f"✅ Loaded {loaded:,} of {loaded + new:,} parameters ({len(backbone)} tensors, frozen). Not loaded, trained here: "
        f"{', '.join(head)}. Not used: the decoder's {decoder:,}; nothing is reconstructed."
    )


def record_validation(run: Run, model: RiskModel, valid: LabelledStays, fitted: FittedHead) -> dict[str, Interval]:
    """Scores of the validation stays; with the calibration curve they become tables of the run."""
    label_B = valid.label_B.double().numpy()
    risk_B = model.from_features(valid.features)
    found = with_intervals(label_B, risk_B)
    rows = [[name, one.value, one.low, one.high] for name, one in found.items()]
    run.log_table({"columns": ["score", "value", "low_95", "high_95"], "data": rows}, names.ARTIFACT_VAL_SCORES)
    curve = [list(point) for point in calibration(label_B, risk_B)]
    run.log_table({"columns": ["mean_risk", "observed_share", "stays"], "data": curve}, names.ARTIFACT_CALIBRATION)
    print(
        f"  validation (it chose the epoch): AUROC {found['auroc']}, AUPRC {found['auprc_average_precision']}",
        flush=True,
    )
    return found


def register_risk_model(
    uri: str,
    run_id: str,
    model: RiskModel,
    fitted: FittedHead,
    store: Store,
    pretrained: Registered | None,
    config: FinetuneConfig,
) -> Registered:
    """Make it the next version of `seqsetvae-mortality`; the champion moves to a higher monitored score on the same data."""
    origin = pretrained.uri if pretrained is not None else str(config.model)
    tags = {key: f"{value:.6g}" for key, value in fitted.metrics.items()} | {
        "data_hash": store.content_hash,
        "pretrained": origin,
        "pretrained_run": model.pretrained.recipe.run_id,
        "head_input": model.head_input,
    }
    example = example_events(model.pretrained)
    with tempfile.TemporaryDirectory() as folder:
        export_risk_model(model, Path(folder) / "model", tags)
        made = register(
            uri,
            Candidate(
                name=names.MODEL_MORTALITY,
                folder=Path(folder) / "model",
                code=PACKAGE / "serving" / "mortality.py",
                run_id=run_id,
                tags=tags,
                example=example,
                output={"subject": "string", "risk": "double", "error": "string", "model": "string"},
                description=mortality_version(origin, tags),
                card=CARDS[names.MODEL_MORTALITY],
            ),
        )
    before = champion(uri, names.MODEL_MORTALITY)
    same_data = before is not None and before.tags.get("data_hash") == tags["data_hash"]
    score = fitted.metrics[config.monitor]
    if before is None or (same_data and score > float(before.tags.get(config.monitor, "-inf"))):
        make_champion(uri, made)
        print(f"Registered {made.uri}; it is the champion.", flush=True)
    else:
        why = f"has {config.monitor} {before.tags.get(config.monitor)}" if same_data else "was finetuned on other data"
        print(f"Registered {made.uri}; the champion, version {before.version}, {why}.", flush=True)
    return made
