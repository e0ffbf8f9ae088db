"""What is compared: finetuned models and baselines, each with its risk of the same stays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqsetvae import names
from seqsetvae.config import EvaluateConfig, TrackingConfig
from seqsetvae.data.aligned import align
from seqsetvae.data.packed import Packed
from seqsetvae.data.store import ALL, Store
from seqsetvae.data.tasks import kind_of, names_of
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError
from seqsetvae.evaluation.baselines import Stays, baseline_answers
from seqsetvae.evaluation.hand_features import features_of
from seqsetvae.evaluation.leak_audit import Answer, Answers
from seqsetvae.tasks.kind import Kind
from seqsetvae.tasks.multilabel import MultiLabel
from seqsetvae.tracking.connection.address import resolve_uri
from seqsetvae.tracking.registry.versions import Registered, find_version, model_folder
from seqsetvae.training.culprit import why_risk_is_none
from seqsetvae.training.finetuning.features import labelled_rows, labelled_stays
from seqsetvae.training.finetuning.mortality import RiskModel, read_risk_model
from seqsetvae.training.pretrained.loading import naming

_log = logging.getLogger(__name__)

Array = NDArray[np.float64]
Models = Mapping[str, tuple[RiskModel, Registered | None]]
"""By the name to record them under, each with the version that it is, if any."""


def find_risk_model(name: str, tracking: TrackingConfig) -> tuple[str, tuple[RiskModel, Registered | None]]:
    """A finetuned model from the registry, or from a folder it was exported to, by the name to record it under.

    That is the number of its version, not an alias: what is recorded must mean the same when the alias has moved on.

    Raises:
        InputError: there is no such model, it was changed, or is none that predicts risks.
    """
    if name.startswith("models:"):
        uri = resolve_uri(tracking)
        version = find_version(uri, name)
        with naming(name):
            return version.uri, (read_risk_model(model_folder(uri, version)), version)
    if Path(name).is_dir():
        return name, (read_risk_model(Path(name)), None)
    raise InputError(
        f"{name}: no such model. Give models:/{names.MODEL_MORTALITY}@{names.ALIAS_CHAMPION}, as `finetune` registers it."
    )


class Answered(NamedTuple):
    """A model, the labelled stays of the split as it sees them, and its answer to each."""

    model: RiskModel
    packed: Packed
    answer_B: Array


def predict_all(
    models: Models, store: Store, config: EvaluateConfig
) -> tuple[Stays, dict[str, Array], dict[str, Answered]]:
    """The stays that every model can say something about, their risk by each, and all that each model has answered.

    Raises:
        InputError: a model is of another kind, or gives NaN for a stay, whose row and variable are named.
    """
    kind = of_one_kind(models, store)
    stays = hand_made(store, config.split)
    found: dict[str, dict[str, Array]] = {}
    answered: dict[str, Answered] = {}
    for name, (model, _) in models.items():
        labelled = labelled_stays(model.pretrained.vocabulary, store, config.split)
        risk_B = model.predict(labelled.packed)
        if not np.isfinite(risk_B).all():
            recorded, shown = why_risk_is_none(
                model.net.score, labelled.packed, labelled.vocabulary, store, config.split
            )
            _log.info(shown)
            raise InputError(f"{name}: {recorded}")
        found[name] = dict(zip(labelled.subject_id, risk_B, strict=True))
        answered[name] = Answered(model, labelled.packed, risk_B)
    subject_id = labelled_ids(store, config.split)
    common_B = np.array([all(one in risk for risk in found.values()) for one in subject_id])
    label_B = stays.label_B[common_B]
    if why := kind.unusable(label_B):
        raise InputError(f"Split {config.split!r} of {store.path} cannot be scored: {why}.")
    risks = {
        name: np.array([risk[one] for one, keep in zip(subject_id, common_B, strict=True) if keep])
        for name, risk in found.items()
    }
    evaluated = Stays(stays.x_BF[common_B], label_B)
    if config.baselines and config.split != ALL:
        risks |= baseline_answers(kind, hand_made(store, "train"), hand_made(store, "valid"), evaluated)
    return evaluated, risks, answered


def of_one_kind(models: Models, store: Store) -> Kind:
    """The kind of the task, as the first model has learned it.

    Raises:
        InputError: a model predicts something else than the store's outcomes are.
    """
    for name, (model, _) in models.items():
        if model.kind.name != kind_of(store):
            raise InputError(
                f"{name} is of kind {model.kind.name}, but the outcomes are {kind_of(store)}. Give the table that it was finetuned on "
                "with --labels and --task, or say with --kind what the outcomes are."
            )
        if isinstance(model.kind, MultiLabel) and model.kind.labels != names_of(store):
            raise InputError(
                f"{name} has learned {', '.join(model.kind.labels[:8])}, but the table has {', '.join(names_of(store)[:8])}."
            )
    return next(iter(models.values()))[0].kind


def whose_answers(models: Models, baselines: bool) -> dict[str, Answer]:
    """What a leak audit asks: each model, and the features that baselines are fitted on, about all stays of a store."""

    def of_model(model: RiskModel) -> Answer:
        return lambda store: _by_stay(store, model.pretrained.vocabulary, model.predict)

    def by_hand(store: Store) -> Answers:
        return _by_stay(store, store.vocabulary, lambda packed: features_of(packed, store.vocabulary))

    found = {name: of_model(model) for name, (model, _) in models.items()}
    return found | ({"the hand-made features": by_hand} if baselines else {})


def _by_stay(store: Store, vocabulary: Vocabulary, answer: Callable[[Packed], Array]) -> Answers:
    found: Answers = {}
    for split in store.splits:
        packed = align(store, split, vocabulary).packed
        found |= zip(map(str, packed.subject_id), answer(packed), strict=True)
    return found


def hand_made(store: Store, split: str) -> Stays:
    """Hand-made features of the labelled stays of a split."""
    packed = align(store, split, store.vocabulary).packed
    rows_B = labelled_rows(packed.label_B)
    return Stays(features_of(packed.take(rows_B), store.vocabulary), packed.label_B[rows_B].astype(np.float64))


def labelled_ids(store: Store, split: str) -> list[str]:
    """Names of the labelled stays, in the order of :func:`hand_made`."""
    return store.subject_ids(split, labelled_rows(align(store, split, store.vocabulary).packed.label_B))
