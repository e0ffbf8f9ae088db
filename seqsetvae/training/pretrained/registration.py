"""Registering a pretrained model: which runs may, which version becomes the champion, and what is recorded with it."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from seqsetvae import names
from seqsetvae.config import RegisterConfig, TrackingConfig
from seqsetvae.errors import InputError, MlflowStoreError
from seqsetvae.tracking.connection.address import resolve_uri
from seqsetvae.tracking.read.run_summary import RunSummary, fetch_checkpoint, read_run
from seqsetvae.tracking.registry.registering import PACKAGE, Candidate, float_array, register
from seqsetvae.tracking.registry.versions import Registered, champion, make_champion, model_folder, versions_of
from seqsetvae.training.checkpoints import read_checkpoint
from seqsetvae.training.pretrained.exported import Pretrained, export, read_pretrained
from seqsetvae.training.pretrained.loading import best_checkpoint, from_checkpoint
from seqsetvae.training.pretrained.model_cards import CARDS, pretrained_version
from seqsetvae.training.weights import WeightsNotFinite

_log = logging.getLogger(__name__)

Made = TypeVar("Made")

METRICS = (
    names.VAL_LOSS,
    names.VAL_RECON,
    names.VAL_KL,
    names.COLLAPSE_KL,
    names.COLLAPSE_ACTIVE_UNITS,
    names.COLLAPSE_ACTIVE_RATIO,
    names.COLLAPSE_MUTUAL_INFORMATION,
    names.COLLAPSE_DECODER_USE,
)
"""Recorded as tags of the version, as they were when its checkpoint was written."""
ACCEPTED_LEVELS = ("green", "yellow")
INFINITE = 1e300
NO_MODEL = "no_model"
"""Key, among the tags of a champion, of the reason why it cannot be used."""


@dataclass(frozen=True)
class Registration:
    """What came of it."""

    version: Registered
    is_champion: bool
    reason: str
    """Why the alias has moved, or has not."""

    def __str__(self) -> str:
        return f"Registered {self.version.uri}\nChampion: {'yes' if self.is_champion else 'no'}, {self.reason}."

    def __repr__(self) -> str:
        return f"<Registration {self.version.uri}, champion: {'yes' if self.is_champion else 'no'}, {self.reason}>"


def register_run(config: RegisterConfig, tracking: TrackingConfig) -> Registration:
    """Register the best checkpoint of a pretraining run.

    Raises:
        InputError: there is no such run, it has not ended well, its posterior collapsed or was never measured (unless forced), its
            validation loss or its weights are not finite (forced or not), or it is registered already.
    """
    uri = resolve_uri(tracking)
    summary = read_run(tracking, config.run, METRICS)
    if summary.tags.get(names.TAG_KIND) != "pretrain":
        raise InputError(
            f"Run {config.run} is not a pretraining run, but {summary.tags.get(names.TAG_KIND, 'of unknown kind')}."
        )
    refused = why_not_healthy(summary)
    if refused and not config.force:
        raise InputError(
            f"{summary.name} ({config.run}) is not registered: {refused}. --force registers it all the same."
        )
    if known := versions_of(uri, names.MODEL_PRETRAINED, config.run):
        raise InputError(f"Run {config.run} is registered already: {known[0].uri}.")
    path = fetch_checkpoint(tracking, summary, best_checkpoint(summary))
    step = int(read_checkpoint(path)["global_step"])
    if broken := not_finite_at(summary, step):
        raise InputError(f"{summary.name} ({config.run}) is not registered: {broken}.")
    tags = version_tags(summary, path.name, step) | ({"forced": refused} if refused else {})
    with tempfile.TemporaryDirectory() as folder:
        version = register(uri, candidate(from_checkpoint(path), Path(folder) / "model", summary, tags))
    before = champion(uri, names.MODEL_PRETRAINED)
    better, reason = deserves_champion(tags, None if before is None else usable_tags(uri, before), config)
    if better:
        make_champion(uri, version)
    return Registration(version, better, reason)


def register_at_end(run_id: str, tracking: TrackingConfig) -> bool:
    """Register a pretraining that has ended, if it may be, and say what came of it. Returns whether that is settled."""
    made, settled = attempt(lambda: register_run(RegisterConfig(run=run_id), tracking))
    if made is not None:
        _log.info(f"Registered {made.version.uri}; champion: {'yes' if made.is_champion else 'no'}, {made.reason}.")
    return settled


def attempt(registering: Callable[[], Made]) -> tuple[Made | None, bool]:
    """Register a run that has ended, and say why not. Never raises: the run itself has gone well.

    Returns what was made, and whether that is settled; False: the store is away, and it can be tried again.
    """
    try:
        return registering(), True
    except MlflowStoreError as away:
        _log.info(f"Not registered yet: {away}")
        return None, False
    except InputError as refused:
        _log.info(f"Not registered: {refused}")
        return None, True
    except Exception as error:  # whatever a store or a disk may come up with
        first = (str(error).splitlines() or [""])[0]
        _log.info(f"Not registered yet: {type(error).__name__}: {first}")
        return None, False


def not_finite_at(summary: RunSummary, step: int) -> str:
    """Which validation figure was NaN or inf when a checkpoint was written; empty if none was."""
    for key in (names.VAL_LOSS, names.VAL_RECON, names.VAL_KL):
        value = summary.value_at(key, step)
        if value is not None and not is_number(value):
            return f"its {key} is {value if math.isnan(value) else 'inf'} at step {step}, so that it is no model"
    return ""


def is_number(value: float) -> bool:
    """Whether a recorded figure is finite: MLflow stores inf as the largest float there is."""
    return abs(value) < INFINITE


def usable_tags(uri: str, holder: Registered) -> Mapping[str, str]:
    """Tags of the champion; with one more where its weights are NaN or inf."""
    try:
        read_pretrained(model_folder(uri, holder))
    except WeightsNotFinite:
        return {**holder.tags, NO_MODEL: "its weights are NaN or inf"}
    except InputError:  # a store that does not answer just now says nothing about the model
        return holder.tags
    return holder.tags


def why_not_healthy(summary: RunSummary) -> str:
    """Why a run's model should not be built upon; empty if it may."""
    if summary.status != "FINISHED":
        return f"the run did not come to its end, its status is {summary.status}"
    level = summary.tags.get(names.TAG_COLLAPSE)
    if level is None or names.COLLAPSE_ACTIVE_UNITS not in summary.metrics:
        return "whether its posterior collapsed was never measured (a very short run, or --monitor.disable_metrics_monitoring)"
    if level == "red":
        return "its posterior collapsed (level red)"
    losses = summary.metrics.get(names.VAL_LOSS)
    return "its last validation loss is NaN or inf" if losses and not is_number(losses[-1][1]) else ""


def version_tags(summary: RunSummary, checkpoint: str, step: int) -> dict[str, str]:
    """What a version is known by in the registry."""
    values = {key: summary.value_at(key, step) for key in METRICS}
    tags = {
        key.rpartition("/")[2] if key != names.COLLAPSE_KL else "kl": f"{value:.6g}"
        for key, value in values.items()
        if value is not None
    }
    return (
        {"collapse": summary.tags.get(names.TAG_COLLAPSE, "not measured")}
        | tags
        | {
            "data_hash": summary.tags.get(names.TAG_DATA_HASH, ""),
            "checkpoint": checkpoint,
            "step": str(step),
        }
    )


def deserves_champion(
    tags: Mapping[str, str], holder: Mapping[str, str] | None, config: RegisterConfig
) -> tuple[bool, str]:
    """Whether a version becomes the champion, and why.

    Args:
        tags: of the new version.
        holder: of the version that carries the alias now; None if none does.
        config: the smallest share of active units that is accepted.

    >>> new = {"collapse": "green", "active_units_ratio": "0.8", "val_recon": "14.2", "data_hash": "a"}
    >>> deserves_champion(new, new | {"val_recon": "14.7"}, RegisterConfig(run="r"))
    (True, 'its validation NLL 14.2 is below the 14.7 of the champion')
    >>> deserves_champion(new | {"active_units_ratio": "0.02"}, None, RegisterConfig(run="r"))
    (False, 'its active units are 2% of the latent dimensions, less than the 10% of --register.min_active_ratio')
    """
    if unfit := why_not_accepted(tags, config):
        return False, unfit
    nll = float(tags["val_recon"])
    if holder is None:
        return True, "there was none"
    if NO_MODEL in holder:
        return True, f"the champion is no model: {holder[NO_MODEL]}"
    held = float(holder.get("val_recon", "nan"))
    if not is_number(held):
        return True, f"the champion's validation NLL is {holder.get('val_recon', 'not known')}"
    if holder.get("data_hash") != tags.get("data_hash"):
        return False, (
            "the champion was trained on other data, so that their validation NLL cannot be compared; move the alias in the MLflow UI "
            "if you want to"
        )
    return (
        nll < held,
        f"its validation NLL {nll:g} is {'below' if nll < held else 'not below'} the {held:g} of the champion",
    )


def why_not_accepted(tags: Mapping[str, str], config: RegisterConfig) -> str:
    """Why a version can be no champion, whatever the others are; empty if it can."""
    level, share = tags.get("collapse", ""), float(tags.get("active_units_ratio", 0.0))
    if "forced" in tags:
        return f"it was registered by force: {tags['forced']}"
    if level not in ACCEPTED_LEVELS:
        return f"its collapse level is {level}; only {' or '.join(ACCEPTED_LEVELS)} is accepted"
    if share < config.min_active_ratio:
        return (
            f"its active units are {share:.0%} of the latent dimensions, less than the {config.min_active_ratio:.0%} of "
            "--register.min_active_ratio"
        )
    if "val_recon" not in tags:
        return "the run was never validated, so that it cannot be compared"
    nll = float(tags["val_recon"])
    return "" if is_number(nll) else f"its validation NLL is {nll}"


def candidate(model: Pretrained, folder: Path, summary: RunSummary, tags: Mapping[str, str]) -> Candidate:
    """The model as the registry takes it, with a worked example."""
    export(model, folder)
    example = example_events(model)
    return Candidate(
        name=names.MODEL_PRETRAINED,
        folder=folder,
        code=PACKAGE / "serving" / "latents.py",
        run_id=summary.run_id,
        tags=tags,
        example=example,
        output=latents_columns(),
        description=pretrained_version(summary.name, tags),
        card=CARDS[names.MODEL_PRETRAINED],
    )


def latents_columns() -> dict[str, Any]:
    """What :mod:`seqsetvae.serving.latents` answers with."""
    return {
        "subject": "string",
        "sets": "long",
        "state": float_array(),
        "error": "string",
        "warnings": "string",
        "model": "string",
    }


def example_events(model: Pretrained) -> pd.DataFrame:
    """Two sets of one subject at the middle of the first variables' ranges."""
    rows = [
        ("example", float(minute), name, float(model.vocabulary.center_V[row]))
        for minute in (0, 60)
        for row, name in enumerate(model.vocabulary.names[:3])
    ]
    return pd.DataFrame(rows, columns=["subject", "minute", "variable", "value"])
