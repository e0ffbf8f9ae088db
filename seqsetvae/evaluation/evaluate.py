"""`evaluate`: finetuned models and baselines on the same stays, in one table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

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
from seqsetvae.evaluation.predictions import Array, find_risk_model, predict_all, whose_answers
from seqsetvae.evaluation.subgroups import subgroup_rows, subgroups
from seqsetvae.evaluation.tables import (
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
from seqsetvae.tracking.registry.versions import Registered, record_input, tag_version
from seqsetvae.tracking.write.start import start_run
from seqsetvae.training.finetuning.mortality import RiskModel

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


@console()
def evaluate(config: EvaluateConfig, tracking: TrackingConfig) -> Evaluation:
    """Score models and baselines on the labelled stays of a split, print the table, record it with the run and the versions.

    Raises:
        InputError: a model does not exist or is none that predicts risks, or the split lacks one of the outcomes.
        RunFailure: the leak audit found that an answer looks ahead.
    """
    whole = open_store(config.store)
    models = dict(find_risk_model(name, tracking) for name in config.models)
    first = next(iter(models.values()))[0].kind
    learned = first.labels if isinstance(first, MultiLabel) else ()
    store = open_task(whole, config.labels, config.task, config.at_hours, config.kind, learned)
    stays, risks, answered = predict_all(models, store, config)
    notes = what_to_know(models, store, config)
    if config.leak_audit:
        notes.insert(0, str(leak_audit(whose_answers(models, config.baselines), whole, config)))
    label_B = stays.label_B
    kinds: dict[str, Kind] = {name: models[name][0].kind if name in models else first for name in risks}
    scores = {name: kinds[name].with_intervals(label_B, said, config.bootstrap) for name, said in risks.items()}
    latents = {name: latent_scores(model.pretrained, store, config.split) for name, (model, _) in models.items()}
    groups = (
        subgroups(stays.x_BF, [store.vocabulary.names[row] for row in most_frequent(store.vocabulary)])
        if config.subgroups
        else {}
    )
    closer = CloserLook.take(answered, risks, label_B, config)
    rows = subgroup_rows(label_B, risks, groups, config.bootstrap, kinds)
    data, positive = Path(config.store).name, first.events(label_B)
    counted = first.counted(label_B).replace(" of them", "")
    where = "All splits" if config.split == ALL else f"{config.split.capitalize()} split"
    head = f"{where} of {data}: {len(label_B)} stays, {counted}"
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
        intervals = f"95 % intervals from {config.bootstrap} bootstrap samples of the stays"
        parts = [f"{head}; {intervals}", text_table(*comparison(scores, latents, first))]
        parts += [subgroup_text(rows, list(groups), list(risks), first)] if groups else []
        parts += [*closer.texts, *notes]
        _log.info("\n\n".join(parts))
        record_scores(run, scores, latents, first)
        curves = {name: kinds[name].calibration(label_B, said) for name, said in risks.items()}
        record_calibration(run, curves, head, first.is_share, risks)
        closer.record(run, label_B, head)
        run.log_metrics(
            {f"{place(name)}/{key}": x for name, one in latents.items() for key, x in asdict(one).items()}, step=0
        )
        if rows:
            run.log_table(subgroup_table(rows, first), names.ARTIFACT_EVALUATION_SUBGROUPS)
        said = "".join(f"\n\n{note}" for note in notes)
        shown = tables_of(run, bool(rows), bool(closer.curves), closer.explained is not None)
        run.describe(f"**{head}.**\n\n{short_table(scores, first)}{said}\n\n{shown}")
        uri, run_id = run.tracking_uri, run.run_id
        _log.info(f"\n{run.where_to_look}")
    for name, (_, version) in models.items():
        if version is not None:
            record_input(uri, run_id, version.model_id)
            found = {key: str(one) for key, one in scores[name].items()} | asdict(latents[name])
            tag_version(uri, version, {f"{config.split}_{key}": str(one) for key, one in found.items()})
    return Evaluation(run_id, len(label_B), positive, scores, latents, label_B, risks)


def what_to_know(
    models: Mapping[str, tuple[RiskModel, Registered | None]], store: Store, config: EvaluateConfig
) -> list[str]:
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
