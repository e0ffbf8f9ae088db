"""`evaluate`: finetuned models and baselines on the same stays, in one table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from seqsetvae import names
from seqsetvae.config import EvaluateConfig, TrackingConfig
from seqsetvae.data.aligned import align
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from seqsetvae.evaluation.baselines import Stays, baseline_risks
from seqsetvae.evaluation.hand_features import hand_features
from seqsetvae.evaluation.latents import HEAD, LatentScores, latent_scores
from seqsetvae.evaluation.subgroups import subgroup_rows, subgroup_table, subgroups
from seqsetvae.scores import SCORES, Interval, calibration, with_intervals
from seqsetvae.tracking.connection import resolve_uri
from seqsetvae.tracking.experiment_page import artifact_links
from seqsetvae.tracking.registry import Registered, find_version, model_folder, record_input, tag_version
from seqsetvae.tracking.run import Run
from seqsetvae.tracking.runs import start_run
from seqsetvae.training.features import labelled_stays
from seqsetvae.training.mortality import RiskModel, read_risk_model

Array = NDArray[np.float64]


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


def evaluate(config: EvaluateConfig, tracking: TrackingConfig) -> Evaluation:
    """Score models and baselines on the labelled stays of a split, print the table, record it with the run and the versions.

    Raises:
        InputError: a model does not exist or is none that predicts risks, or the split lacks one of the outcomes.
    """
    store = open_store(config.store)
    models = {name: find_risk_model(name, tracking) for name in config.models}
    settings = {"evaluate": asdict(config), "tracking": asdict(tracking)}
    with start_run(
        tracking,
        kind="evaluate",
        run_name=tracking.run_name or f"evaluate {Path(config.store).name} {config.split}",
        params=settings,
        config_yaml=str(yaml.safe_dump(settings, sort_keys=False)),
        tags={names.TAG_DATA: Path(config.store).name, names.TAG_DATA_HASH: store.content_hash},
    ) as run:
        stays, risks = predict_all(models, store, config)
        label_B = stays.label_B
        scores = {name: with_intervals(label_B, risk_B, config.bootstrap) for name, risk_B in risks.items()}
        latents = {name: latent_scores(model.pretrained, store, config.split) for name, (model, _) in models.items()}
        groups = subgroups(stays.x_BF, store.vocabulary.names)
        rows = subgroup_rows(label_B, risks, groups, config.bootstrap) if config.subgroups else []
        parts = [as_markdown(scores), "\n".join([HEAD, *(f"| {name} {one.row()}" for name, one in latents.items())])]
        table = "\n\n".join([*parts, *([subgroup_table(rows)] if rows else [])])
        print(
            f"{config.split} of {config.store}: {len(label_B)} stays, {int(label_B.sum())} positive\n\n{table}\n",
            flush=True,
        )
        record(run, scores, {name: calibration(label_B, risk_B) for name, risk_B in risks.items()})
        run.log_metrics(
            {f"{place(name)}/{key}": x for name, one in latents.items() for key, x in asdict(one).items()}, step=0
        )
        if rows:
            columns = ["subgroup", "model", "stays", "positive", "auroc", "auprc_average_precision"]
            data = [[*row[:4], *map(str, row[4:])] for row in rows]
            run.log_table({"columns": columns, "data": data}, names.ARTIFACT_EVALUATION_SUBGROUPS)
        head = f"**{config.split.capitalize()} split of {Path(config.store).name}: {len(label_B)} stays, {int(label_B.sum())} positive.**"
        run.describe(f"{head}\n\n{short_table(scores)}\n\n{tables_of(run, bool(rows))}")
        uri, run_id = run.tracking_uri, run.run_id
    for name, (_, version) in models.items():
        if version is not None:
            record_input(uri, run_id, version)
            found = {key: str(one) for key, one in scores[name].items()} | asdict(latents[name])
            tag_version(uri, version, {f"{config.split}_{key}": str(one) for key, one in found.items()})
    return Evaluation(run_id, len(label_B), int(label_B.sum()), scores, latents)


def find_risk_model(name: str, tracking: TrackingConfig) -> tuple[RiskModel, Registered | None]:
    """A finetuned model from the registry, or from a folder it was exported to."""
    if name.startswith("models:"):
        uri = resolve_uri(tracking)
        version = find_version(uri, name)
        return read_risk_model(model_folder(uri, version)), version
    if Path(name).is_dir():
        return read_risk_model(Path(name)), None
    raise InputError(
        f"{name}: no such model. Give models:/{names.MODEL_MORTALITY}@{names.ALIAS_CHAMPION}, as `finetune` registers it."
    )


def predict_all(
    models: dict[str, tuple[RiskModel, Registered | None]], store: Store, config: EvaluateConfig
) -> tuple[Stays, dict[str, Array]]:
    """The stays that every model can say something about, and their risk by each."""
    stays = hand_made(store, config.split)
    found: dict[str, dict[str, float]] = {}
    for name, (model, _) in models.items():
        stays_of_model = labelled_stays(model.pretrained.vocabulary, store, config.split)
        risk_B = model.predict(stays_of_model.packed)
        found[name] = dict(zip(stays_of_model.subject_id, risk_B.tolist(), strict=True))
    subject_id = labelled_ids(store, config.split)
    common_B = np.array([all(one in risk for risk in found.values()) for one in subject_id])
    label_B = stays.label_B[common_B]
    if not 0 < label_B.sum() < len(label_B):
        raise InputError(
            f"Split {config.split!r} of {store.path} lacks one of the two outcomes: nothing can be scored."
        )
    risks = {
        name: np.array([risk[one] for one, keep in zip(subject_id, common_B, strict=True) if keep])
        for name, risk in found.items()
    }
    evaluated = Stays(stays.x_BF[common_B], label_B)
    if config.baselines:
        risks |= baseline_risks(hand_made(store, "train"), hand_made(store, "valid"), evaluated)
    return evaluated, risks


def hand_made(store: Store, split: str) -> Stays:
    """Hand-made features of the labelled stays of a split."""
    packed = align(store, split, store.vocabulary).packed
    known_B = ~np.isnan(packed.label_B)
    return Stays(hand_features(packed, len(store.vocabulary))[known_B], packed.label_B[known_B].astype(np.float64))


def labelled_ids(store: Store, split: str) -> list[str]:
    """Names of the labelled stays, in the order of :func:`hand_made`."""
    return store.subject_ids(split, np.flatnonzero(~np.isnan(store.labels(split))))


def as_markdown(scores: dict[str, dict[str, Interval]]) -> str:
    """One row per model, each score with its 95 % interval."""
    lines = [f"| model | {' | '.join(SCORES)} |", "|---|" + "---|" * len(SCORES)]
    lines += [f"| {name} | {' | '.join(str(one) for one in found.values())} |" for name, found in scores.items()]
    return "\n".join(lines)


def short_table(scores: dict[str, dict[str, Interval]]) -> str:
    """Three scores as Markdown, for the run's page: MLflow's tables have no space between columns."""
    lines = [
        "| model | \u2003AUROC\u2003 | \u2003AUPRC (average precision)\u2003 | \u2003Brier\u2003 |",
        "|:--|---|---|---|",
    ]
    for name, found in scores.items():
        cells = (found["auroc"], found["auprc_average_precision"], found["brier"])
        lines.append(f"| {name.removeprefix('models:/')} | {' | '.join(f'{chr(0x2003)}{one}' for one in cells)} |")
    return "\n".join(lines)


def tables_of(run: Run, has_subgroups: bool) -> str:
    """Links to what the run has recorded."""
    files = {names.ARTIFACT_EVALUATION: "all scores", names.ARTIFACT_EVALUATION_CALIBRATION: "calibration"}
    files |= {names.ARTIFACT_EVALUATION_SUBGROUPS: "subgroups"} if has_subgroups else {}
    return artifact_links(run.experiment_id, run.run_id, files)


def record(run: Run, scores: dict[str, dict[str, Interval]], curves: dict[str, list[tuple[float, float, int]]]) -> None:
    """The comparison and the calibration curves as tables of the run; scores of the first model as its metrics."""
    rows = [[name, key, one.value, one.low, one.high] for name, found in scores.items() for key, one in found.items()]
    run.log_table(
        {"columns": ["model", "score", "value", "low_95", "high_95"], "data": rows}, names.ARTIFACT_EVALUATION
    )
    points = [[name, *point] for name, curve in curves.items() for point in curve]
    columns = ["model", "mean_risk", "observed_share", "stays"]
    run.log_table({"columns": columns, "data": points}, names.ARTIFACT_EVALUATION_CALIBRATION)
    for name, found in scores.items():
        run.log_metrics({f"{place(name)}/{key}": one.value for key, one in found.items()}, step=0)


def place(name: str) -> str:
    """A model's name as the folder of its metrics.

    >>> place("models:/seqsetvae-mortality@champion")
    'seqsetvae-mortality_champion'
    """
    return name.removeprefix("models:/").replace("@", "_").replace(" ", "_").replace("/", "_")
