"""`load`: the same model object from a registered version, a run, or a checkpoint."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seqsetvae.config import TrackingConfig
from seqsetvae.data.external import KnownVocabulary
from seqsetvae.errors import InputError
from seqsetvae.tracking.connection.address import resolve_uri
from seqsetvae.tracking.read.checkpoints import find_checkpoint
from seqsetvae.tracking.read.run_summary import RunSummary, fetch_checkpoint, read_run
from seqsetvae.tracking.registry.versions import Registered, find_version, model_folder
from seqsetvae.training.checkpoints import load_model
from seqsetvae.training.pretrained.exported import (
    DESCRIPTION,
    Pretrained,
    read_pretrained,
    read_vocabulary,
    vocabulary_of,
)


def load(model: str | Path, tracking_uri: str | None = None) -> Pretrained:
    """A pretrained model, ready to encode.

    Args:
        model: `models:/seqsetvae@champion`, `models:/seqsetvae/3`, the id of a run (its best checkpoint is taken), a checkpoint file,
            `last.ckpt` and the like of the newest run that has one, or a folder with an exported model.
        tracking_uri: MLflow store; None: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db in the working directory.

    Raises:
        InputError: there is no such model, or its file was changed or holds anything but tensors and plain values.
    """
    return find_model(str(model), TrackingConfig(tracking_uri=tracking_uri))[0]


def find_model(model: str, config: TrackingConfig) -> tuple[Pretrained, Registered | None]:
    """As :func:`load`; also the registered version, where the model was given as one."""
    if model.startswith("models:"):
        uri = resolve_uri(config)
        version = find_version(uri, model)
        with naming(model):
            return read_pretrained(model_folder(uri, version)), version
    path = Path(model)
    if path.is_dir() and (path / DESCRIPTION).is_file():
        return read_pretrained(path), None
    if re.fullmatch(r"(runs:/)?[0-9a-f]{32}", model):
        summary = read_run(config, model.removeprefix("runs:/"))
        return from_checkpoint(fetch_checkpoint(config, summary, best_checkpoint(summary))), None
    if (
        not path.is_file()
        and path.name == model
        and path.suffix == ".ckpt"
        and (found := find_checkpoint(config, model))
    ):
        path = found[0]
    if path.is_file():
        return from_checkpoint(path), None
    raise InputError(
        f"{model}: no such model. Give models:/seqsetvae@champion, models:/seqsetvae/VERSION, a run id, or the path of a checkpoint."
    )


def known_vocabulary(model: str, config: TrackingConfig) -> KnownVocabulary:
    """The vocabulary that :func:`~seqsetvae.data.prepare.prepare` is to give a store for a model, pretrained or finetuned.

    The model is given as for :func:`load`. Raises :class:`InputError` as it does.
    """
    path = Path(model)
    if model.startswith("models:"):
        uri = resolve_uri(config)
        with naming(model):
            found = read_vocabulary(model_folder(uri, find_version(uri, model)))
    elif (path / DESCRIPTION).is_file():
        found = read_vocabulary(path)
    else:
        found = find_model(model, config)[0].vocabulary
    return KnownVocabulary(model, found)


@contextmanager
def naming(model: str) -> Iterator[None]:
    """An error about a model's files begins with the address that the user gave."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{model}: {error}") from error


def from_checkpoint(path: Path) -> Pretrained:
    """The model of a checkpoint file."""
    vae, recipe = load_model(path)
    return Pretrained(vae, vocabulary_of(recipe), recipe.model(str(path)), recipe)


def best_checkpoint(summary: RunSummary) -> str:
    """Of a run: its lowest validation NLL, else its end, else its last state.

    Raises:
        InputError: the run has none of these.
    """
    if best := lowest_nll(summary.checkpoints):
        return best[0]
    for prefix in ("final_", "last"):
        if found := [name for name in summary.checkpoints if name.startswith(prefix)]:
            return found[-1]
    raise InputError(f"Run {summary.run_id} has no checkpoint of a model.")


def lowest_nll(checkpoints: Iterable[str]) -> tuple[str, float] | None:
    """The `best_*` checkpoint of the lowest validation NLL, and that, nats per set; None where there is none.

    >>> lowest_nll(["best_0000120_24.6600.ckpt", "best_0000160_24.1000.ckpt", "last.ckpt"])
    ('best_0000160_24.1000.ckpt', 24.1)
    """
    nll = {name: _loss_in(name) for name in checkpoints if name.startswith("best_")}
    usable = [name for name, loss in nll.items() if math.isfinite(loss)]
    return min(((name, nll[name]) for name in usable), key=lambda one: one[1], default=None)


def _loss_in(name: str) -> float:
    """The validation NLL in the name of a `best_*` checkpoint; NaN where there is none."""
    try:
        return float(name.removesuffix(".ckpt").rpartition("_")[2])
    except ValueError:
        return math.nan
