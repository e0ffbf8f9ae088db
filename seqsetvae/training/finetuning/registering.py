"""A finetuned model becomes the next version of `seqsetvae-mortality`, or of the model of its task."""

from __future__ import annotations

import logging
import math
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from seqsetvae import names
from seqsetvae.config import FinetuneConfig
from seqsetvae.data.store import Store
from seqsetvae.tasks.kind import Kind
from seqsetvae.tracking.registry.registering import PACKAGE, Candidate, register
from seqsetvae.tracking.registry.versions import Registered, champion, make_champion
from seqsetvae.training.finetuning.mortality import RiskModel, export_risk_model
from seqsetvae.training.pretrained.model_cards import CARDS, finetuned_version
from seqsetvae.training.pretrained.registration import example_events

_log = logging.getLogger(__name__)

MORTALITY = "in_hospital_mortality"
"""The task of a store's own outcomes, and of the guides' oc.csv."""


def task_of(config: FinetuneConfig) -> str:
    """What is predicted: the column of the outcomes, or the name of their file.

    >>> task_of(FinetuneConfig()), task_of(FinetuneConfig(labels="tasks/readmission.parquet"))
    ('in_hospital_mortality', 'readmission')
    """
    return config.task or (Path(config.labels).name.split(".")[0] if config.labels else MORTALITY)


def model_name(config: FinetuneConfig) -> str:
    """What the model is registered as: a name of its own for every task.

    >>> model_name(FinetuneConfig()), model_name(FinetuneConfig(labels="a.csv", task="ICU stay > 3 d"))
    ('seqsetvae-mortality', 'seqsetvae-ICU-stay-3-d')
    """
    task = task_of(config)
    return (
        names.MODEL_MORTALITY if task == MORTALITY else "seqsetvae-" + re.sub(r"[^A-Za-z0-9_.]+", "-", task).strip("-")
    )


def card_of(config: FinetuneConfig, kind: Kind) -> str:
    """The registered model's description."""
    card, task = CARDS[names.MODEL_MORTALITY], task_of(config)
    if task == MORTALITY:
        return card
    return (
        card.replace(names.MODEL_MORTALITY, model_name(config))
        .replace("Risk of death", f"{kind.says} {task}")
        .replace("with risk,", f"with {', '.join(kind.columns)},")
    )


def register_risk_model(
    uri: str,
    run_id: str,
    model: RiskModel,
    metrics: Mapping[str, float],
    store: Store,
    pretrained: Registered | None,
    config: FinetuneConfig,
) -> Registered:
    """Make it the next version of its task's model; the champion moves to a higher monitored score on the same data."""
    name, monitor = model_name(config), model.kind.monitor(config)
    origin = pretrained.uri if pretrained is not None else str(config.model)
    tags = {key: f"{value:.6g}" for key, value in metrics.items()} | {
        "data_hash": store.content_hash,
        "pretrained": origin,
        "pretrained_run": model.pretrained.recipe.run_id,
        "head_input": model.net.chosen,
        "task": task_of(config),
        "kind": model.kind.name,
    }
    example = example_events(model.pretrained)
    with tempfile.TemporaryDirectory() as folder:
        export_risk_model(model, Path(folder) / "model", tags)
        made = register(
            uri,
            Candidate(
                name=name,
                folder=Path(folder) / "model",
                code=PACKAGE / "serving" / "mortality.py",
                run_id=run_id,
                tags=tags,
                example=example,
                output={
                    "subject": "string",
                    **dict.fromkeys(model.kind.columns, "double"),
                    "error": "string",
                    "warnings": "string",
                    "model": "string",
                },
                description=finetuned_version(origin, tags, model.kind.shown),
                card=card_of(config, model.kind),
            ),
        )
    before = champion(uri, name)
    same_data = before is not None and before.tags.get("data_hash") == tags["data_hash"]
    score = metrics[monitor]
    held = float("nan") if before is None else float(before.tags.get(monitor, "nan"))
    if before is None or not math.isfinite(held) or (same_data and score > held):
        make_champion(uri, made)
        _log.info(f"Registered {made.uri}; it is the champion.")
    else:
        why = f"has {monitor} {before.tags.get(monitor)}" if same_data else "was finetuned on other data"
        _log.info(f"Registered {made.uri}; the champion, version {before.version}, {why}.")
    return made
