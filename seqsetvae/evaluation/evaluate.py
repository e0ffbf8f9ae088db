"""`evaluate`: finetuned models and baselines on the same stays, in one table."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqsetvae import names
from seqsetvae.analysis.text_table import text_table
from seqsetvae.config import EvaluateConfig, TrackingConfig
from seqsetvae.config.settings_io import settings_yaml
from seqsetvae.config.told import EVALUATE, changed, told_name, told_params
from seqsetvae.console import console
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.store import ALL, Store
from seqsetvae.data.tasks import open_task
from seqsetvae.evaluation.closer_look import CloserLook
from seqsetvae.evaluation.hand_features import MOST_VARIABLES, most_frequent
from seqsetvae.evaluation.latents import LatentScores, latent_scores
from seqsetvae.evaluation.leak_audit import leak_audit
from seqsetvae.evaluation.predictions import Array, Models, find_risk_model, predict_all, whose_answers
from seqsetvae.evaluation.subgroups import subgroup_rows, subgroups
from seqsetvae.evaluation.tables import (
    SubgroupRow,
    comparison,
    place,
    record_calibration,
    record_scores,
    short_table,
    subgroup_table,
    subgroup_text,
    tables_of,
)
from seqsetvae.scores import Interval
from seqsetvae.tasks.kind import Kind
from seqsetvae.tasks.multilabel import MultiLabel
from seqsetvae.tracking.connection.address import recorded
from seqsetvae.tracking.registry.versions import record_input, tag_version
from seqsetvae.tracking.write.run import Run
from seqsetvae.tracking.write.start import start_run

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What came out."""

    run_id: str
    stays: int
    positives: int
    scores: dict[str, dict[str, Interval]]
    """By model, then by score."""
    latents: dict[str, LatentScores]
    """By model."""
    label_B: Array
    """Outcome of each stay: (B,), or (B, L) where it is several numbers."""
    risks: dict[str, Array]
    """By model, of the same stays."""

    def __repr__(self) -> str:
        return f"<Evaluation {self.run_id}: {self.stays} stays, {self.positives} positive; {len(self.scores)} models>"


@dataclass(frozen=True)
class Scored:
    """Models and baselines on the same stays, before any of it is recorded."""

    head: str
    """Which stays, and how many."""
    kind: Kind
    """Of the task."""
    kinds: dict[str, Kind]
    """By model."""
    label_B: Array
    risks: dict[str, Array]
    scores: dict[str, dict[str, Interval]]
    latents: dict[str, LatentScores]
    groups: dict[str, NDArray[np.bool_]]
    """Whether a stay is in a subgroup, (B,)."""
    rows: list[SubgroupRow]
    closer: CloserLook
    notes: list[str]

    def text(self, bootstrap: int) -> str:
        """The tables for the terminal."""
        parts = [
            f"{self.head}; 95 % intervals from {bootstrap} bootstrap samples of the stays",
            text_table(*comparison(self.scores, self.latents, self.kind)),
        ]
        if self.groups:
            parts.append(subgroup_text(self.rows, list(self.groups), list(self.risks), self.kind))
        return "\n\n".join([*parts, *self.closer.texts, *self.notes])

    def record(self, run: Run) -> None:
        """Everything as metrics, tables, figures and the description of the run."""
        record_scores(run, self.scores, self.latents, self.kind)
        curves = {name: self.kinds[name].calibration(self.label_B, said) for name, said in self.risks.items()}
        record_calibration(run, curves, self.head, self.kind.is_share, self.risks)
        self.closer.record(run, self.label_B, self.head)
        run.log_metrics(
            {f"{place(name)}/{key}": x for name, one in self.latents.items() for key, x in asdict(one).items()}, step=0
        )
        if self.rows:
            run.log_table(subgroup_table(self.rows, self.kind), names.ARTIFACT_EVALUATION_SUBGROUPS)
        said = "".join(f"\n\n{note}" for note in self.notes)
        shown = tables_of(run, bool(self.rows), bool(self.closer.curves), self.closer.explained is not None)
        run.describe(f"**{self.head}.**\n\n{short_table(self.scores, self.kind)}{said}\n\n{shown}")


@console()
def evaluate(config: EvaluateConfig, tracking: TrackingConfig) -> Evaluation:
    """Score models and baselines on the labelled stays of a split, print the table, record it with the run and the versions.

    Raises:
        InputError: a model does not exist or is none that predicts risks, or the split lacks one of the outcomes.
        RunFailure: the leak audit found that an answer looks ahead.
    """
    whole = open_store(config.store)
    models = dict(find_risk_model(name, tracking) for name in config.models)
    kind = next(iter(models.values()))[0].kind
    learned = kind.labels if isinstance(kind, MultiLabel) else ()
    store = open_task(whole, config.labels, config.task, config.at_hours, config.kind, learned)
    scored = score(models, kind, whole, store, config)
    data = Path(config.store).name
    settings = {"evaluate": asdict(config), "tracking": asdict(recorded(tracking))}
    found = changed({"evaluate": config}, {"evaluate": EvaluateConfig()})
    with start_run(
        tracking,
        kind="evaluate",
        run_name=tracking.run_name or told_name(f"evaluate {data} {config.split}", found, ("store", "split")),
        params=told_params({"evaluate": config}, {"evaluate": EvaluateConfig()}, EVALUATE),
        config_yaml=settings_yaml(settings),
        tags={names.TAG_DATA: data, names.TAG_DATA_HASH: store.content_hash},
    ) as run:
        _log.info(scored.text(config.bootstrap))
        scored.record(run)
        uri, run_id = run.tracking_uri, run.run_id
        _log.info(f"\n{run.where_to_look}")
    for name, (_, version) in models.items():
        if version is not None:
            record_input(uri, run_id, version.model_id)
            figures = {key: str(one) for key, one in scored.scores[name].items()} | asdict(scored.latents[name])
            tag_version(uri, version, {f"{config.split}_{key}": str(one) for key, one in figures.items()})
    label_B = scored.label_B
    return Evaluation(run_id, len(label_B), kind.events(label_B), scored.scores, scored.latents, label_B, scored.risks)


def score(models: Models, kind: Kind, whole: Store, store: Store, config: EvaluateConfig) -> Scored:
    """Ask every model and baseline, and score the answers.

    Args:
        models: by name, with the version that it is.
        kind: of the task.
        whole: the store before it was cut to the task, for the leak audit.
        store: what is scored.
        config: of the verb.
    """
    stays, risks, answered = predict_all(models, store, config)
    notes = what_to_know(models, store, config)
    if config.leak_audit:
        notes.insert(0, str(leak_audit(whose_answers(models, config.baselines), whole, config)))
    label_B = stays.label_B
    kinds: dict[str, Kind] = {name: models[name][0].kind if name in models else kind for name in risks}
    columns = [store.vocabulary.names[row] for row in most_frequent(store.vocabulary)]
    groups = subgroups(stays.x_BF, columns) if config.subgroups else {}
    where = "All splits" if config.split == ALL else f"{config.split.capitalize()} split"
    counted = kind.counted(label_B).replace(" of them", "")
    return Scored(
        head=f"{where} of {Path(config.store).name}: {len(label_B)} stays, {counted}",
        kind=kind,
        kinds=kinds,
        label_B=label_B,
        risks=risks,
        scores={name: kinds[name].with_intervals(label_B, said, config.bootstrap) for name, said in risks.items()},
        latents={name: latent_scores(model.pretrained, store, config.split) for name, (model, _) in models.items()},
        groups=groups,
        rows=subgroup_rows(label_B, risks, groups, config.bootstrap, kinds),
        closer=CloserLook.take(answered, risks, label_B, config),
        notes=notes,
    )


def what_to_know(models: Models, store: Store, config: EvaluateConfig) -> list[str]:
    """Where all splits are scored: what that means for models and baselines that have learned from some of them."""
    many = config.baselines and len(store.vocabulary) > MOST_VARIABLES
    if config.split != ALL:
        return (
            [f"Baselines see the {MOST_VARIABLES:,} most frequent of {len(store.vocabulary):,} variables."]
            if many
            else []
        )
    own = [
        name for name, (_, version) in models.items() if version and version.tags.get("data_hash") == store.content_hash
    ]
    notes = ["No baselines: they would learn from the stays that are scored."] if config.baselines else []
    return notes + [f"{name} has learned from some of these stays: its scores are too good." for name in own]
