"""A finetuned model becomes the next version of `seqsetvae-mortality`, or of the model of its task."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from seqsetvae import names
from seqsetvae.config import FinetuneConfig, TrackingConfig
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from seqsetvae.tasks.kind import Kind
from seqsetvae.tracking.connection.address import resolve_uri
from seqsetvae.tracking.read.run_summary import read_run
from seqsetvae.tracking.registry.registering import PACKAGE, Candidate, register
from seqsetvae.tracking.registry.versions import Registered, champion, make_champion, versions_of
from seqsetvae.tracking.write.run import Run
from seqsetvae.tracking.write.spool import Wish
from seqsetvae.training.finetuning.mortality import RiskModel, export_risk_model
from seqsetvae.training.pretrained.model_cards import CARDS, finetuned_version
from seqsetvae.training.pretrained.registration import attempt, example_events, register_at_end

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


def wish_registration(
    run: Run,
    model: RiskModel,
    metrics: Mapping[str, float],
    store: Store,
    pretrained: Registered | None,
    config: FinetuneConfig,
) -> Wish | None:
    """Lay the model and what has to be known beside what the run has to deliver, where no end of this process can take them away."""
    known = what_to_register(model, metrics, store, pretrained, config)
    return run.register_when_delivered(known, lambda folder: export_risk_model(model, folder, known["tags"]))


def register_when_possible(run: Run, wish: Wish, delivered: bool) -> Registered | None:
    """Register the model of a run that has ended now, or leave it to `sync`."""
    made, settled = attempt(lambda: register_risk_model(run.tracking_uri, wish)) if delivered else (None, False)
    if settled:
        run.registered()
    else:
        _log.info("`seqsetvae sync` registers the model as soon as the store takes everything.")
    return made


def register_late(wish: Wish, tracking: TrackingConfig) -> bool:
    """Register what a command has left to `sync`, of whichever kind. Returns whether that is settled."""
    if not wish.known:
        return register_at_end(wish.run_id, tracking)
    return attempt(lambda: register_risk_model(resolve_uri(tracking), wish))[1]


def what_to_register(
    model: RiskModel,
    metrics: Mapping[str, float],
    store: Store,
    pretrained: Registered | None,
    config: FinetuneConfig,
) -> dict[str, Any]:
    """What has to be known to register a model with no more than its folder at hand, as JSON takes it."""
    origin = pretrained.uri if pretrained is not None else str(config.model)
    tags = {key: f"{value:.6g}" for key, value in metrics.items()} | {
        "data_hash": store.content_hash,
        "pretrained": origin,
        "pretrained_run": model.pretrained.recipe.run_id,
        "head_input": model.net.chosen,
        "task": task_of(config),
        "kind": model.kind.name,
    }
    return {
        "name": model_name(config),
        "monitor": model.kind.monitor(config),
        "tags": tags,
        "example": example_events(model.pretrained).to_dict("records"),
        "columns": list(model.kind.columns),
        "description": finetuned_version(origin, tags, model.kind.shown),
        "card": card_of(config, model.kind),
    }


def register_risk_model(uri: str, wish: Wish) -> Registered:
    """Make the model of a run the next version of its task's model, unless it is one.

    The champion moves to a higher monitored score on the same data.

    Raises:
        InputError: the run has not come to its end.
        MlflowStoreError: the store cannot be used now.
    """
    known = wish.known
    status = read_run(TrackingConfig(tracking_uri=uri), wish.run_id).status
    if status != "FINISHED":
        raise InputError(f"run {wish.run_id} did not come to its end, its status is {status}")
    earlier = versions_of(uri, known["name"], wish.run_id)  # a process was killed between that and the rest
    made = earlier[0] if earlier else register(uri, candidate(wish))
    if why_not := why_not_champion(known["tags"], champion(uri, known["name"]), known["monitor"]):
        _log.info(f"Registered {made.uri}; {why_not}.")
    else:
        make_champion(uri, made)
        _log.info(f"Registered {made.uri}; it is the champion.")
    return made


def candidate(wish: Wish) -> Candidate:
    """The model as the registry takes it."""
    known = wish.known
    answers = dict.fromkeys(known["columns"], "double")
    return Candidate(
        name=known["name"],
        folder=wish.folder,
        code=PACKAGE / "serving" / "mortality.py",
        run_id=wish.run_id,
        tags=known["tags"],
        example=pd.DataFrame(known["example"]),
        output={"subject": "string", **answers, "error": "string", "warnings": "string", "model": "string"},
        description=known["description"],
        card=known["card"],
    )


def why_not_champion(tags: Mapping[str, str], holder: Registered | None, monitor: str) -> str:
    """Why a version with these tags leaves the alias where it is; empty if it takes it."""
    held = math.nan if holder is None else float(holder.tags.get(monitor, "nan"))
    if holder is None or not math.isfinite(held):
        return ""
    if holder.tags.get("data_hash") != tags["data_hash"]:
        return f"the champion, version {holder.version}, was finetuned on other data"
    better = float(tags[monitor]) > held
    return "" if better else f"the champion, version {holder.version}, has {monitor} {holder.tags[monitor]}"
