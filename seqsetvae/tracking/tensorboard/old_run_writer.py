"""One older training into the MLflow store: a new run, or what is missing of one that was imported before.

A run is known again by the hash of its first record. An import that was cut off, or whose event files have grown since, is completed by
the same command.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from seqsetvae import names
from seqsetvae.errors import InputError
from seqsetvae.tracking.compat.image_series import image_series
from seqsetvae.tracking.connection.trouble import readable_errors
from seqsetvae.tracking.params import flatten
from seqsetvae.tracking.tensorboard.hparams import HPARAMS_FILE
from seqsetvae.tracking.tensorboard.old_names import accepted, metric_names, param_names
from seqsetvae.tracking.tensorboard.old_run import OldRun
from seqsetvae.tracking.write.shipper import MAX_METRICS, MAX_PARAMS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as StoredRun

OF_A_VAE = {names.TRAIN_KL, names.VAL_KL, names.COLLAPSE_KL}
LISTED = 12
"""Renamed metrics that a description lists."""


@dataclass(frozen=True)
class Imported:
    """What became of one folder."""

    name: str
    run_id: str
    points: int
    """Points that the run got now."""
    said: str
    """In words."""


def write_old_run(
    client: MlflowClient, uri: str, experiment_id: str, old: OldRun, advance: Callable[[int], object]
) -> Imported:
    """Make or complete the run of a folder.

    Args:
        client: the store.
        uri: its address.
        experiment_id: where a new run goes; one that was imported before stays where it is.
        old: what was read.
        advance: is told the number of points as they are sent.

    Raises:
        InputError: the store does not take it; the same command goes on where it ended.
    """
    with readable_errors(uri):
        found = _imported_before(client, old)
    tags = found.data.tags if found else {}
    before = int(tags.get(names.TAG_IMPORT_POINTS, 0))
    if found and (tags.get(names.TAG_IMPORT_CONTENT) == old.content or old.points < before):
        advance(old.points)
        state = "already imported" if old.points >= before else f"imported with more points ({before:,}) before"
        return Imported(old.name, found.info.run_id, 0, f"{state}, as run {found.info.run_id}; nothing added")
    named, (files, unread) = metric_names(old.scalars), _files(old)
    note = description(old, named, unread)
    try:
        with readable_errors(uri):
            run = found or client.create_run(experiment_id, old.start_time, _tags(old, named), old.name)
            _send(client, run, old, named, advance)
            with tempfile.TemporaryDirectory() as folder:
                for path, content in files.items():
                    target = Path(folder, path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
                client.log_artifacts(run.info.run_id, folder)
            _settle(client, run.info.run_id, old, note)
    except InputError as error:
        raise InputError(f"{error} {old.name} was not imported whole; the same command will complete it.") from error
    if found:
        done = f"{old.points - before:,} points added to" if before else "the import that was cut off is completed, in"
        return Imported(old.name, run.info.run_id, old.points - before, f"{done} run {run.info.run_id}")
    return Imported(old.name, run.info.run_id, old.points, f"{_amount(old)}, as run {run.info.run_id}")


def _imported_before(client: MlflowClient, old: OldRun) -> StoredRun | None:
    """The run of this folder, in whichever experiment it is."""
    experiments = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{names.TAG_IMPORT_ID}` = '{old.identity}'", max_results=1)
    return found[0] if found else None


def _tags(old: OldRun, named: Mapping[str, str]) -> dict[str, str]:
    return {
        names.TAG_KIND: "imported" if OF_A_VAE.isdisjoint(named.values()) else "pretrain",
        names.TAG_IMPORTED_FROM: old.name,
        names.TAG_IMPORT_ID: old.identity,
        "mlflow.source.name": "seqsetvae import-tensorboard",
    }


def _send(
    client: MlflowClient, run: StoredRun, old: OldRun, named: Mapping[str, str], advance: Callable[[int], object]
) -> None:
    from mlflow.entities import Param

    whole = f"{names.ARTIFACT_IMPORTED}/{HPARAMS_FILE}"
    # MLflow never changes a param.
    fresh = {accepted(key): text for key, text in flatten(param_names(old.params), whole).items()}
    params = iter([Param(key, text) for key, text in fresh.items() if key not in run.data.params])
    while some := list(islice(params, MAX_PARAMS)):
        client.log_batch(run.info.run_id, params=some)
    metrics = _metrics(old, named, _points_of(client, run, set(named.values())))
    while points := list(islice(metrics, MAX_METRICS)):
        client.log_batch(run.info.run_id, metrics=points)
        advance(len(points))


def _points_of(client: MlflowClient, run: StoredRun, wanted: set[str]) -> dict[str, set[tuple[int, int]]]:
    """(step, milliseconds) of what a run has. MLflow would drop a point that is sent again by itself, but takes seconds over each batch."""
    has = wanted & run.data.metrics.keys()
    return {key: {(one.step, one.timestamp) for one in client.get_metric_history(run.info.run_id, key)} for key in has}


def _metrics(old: OldRun, named: Mapping[str, str], known: Mapping[str, set[tuple[int, int]]]) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for tag, points in old.scalars.items():
        has = known.get(named[tag], set())
        for step, time, value in points.tolist():
            if (step, time) not in has:
                yield Metric(named[tag], value, time, step)


def _settle(client: MlflowClient, run_id: str, old: OldRun, note: str) -> None:
    """What makes the import whole comes last."""
    if old.pictures:
        client.set_tag(run_id, "mlflow.loggedImages", True)
    client.set_tag(run_id, "mlflow.note.content", note)
    client.set_terminated(run_id, "FAILED" if old.failed else "FINISHED", old.end_time)
    client.set_tag(run_id, names.TAG_IMPORT_POINTS, str(old.points))
    client.set_tag(run_id, names.TAG_IMPORT_CONTENT, old.content)


def _files(old: OldRun) -> tuple[dict[str, bytes], int]:
    """The artifacts by their path, and the number of images that cannot be opened."""
    files, unread = {}, 0
    for tag, texts in old.texts.items():
        parts = [f"## Step {step}\n\n{text}\n" for step, text in texts]
        files[f"{names.ARTIFACT_IMPORTED}/{accepted(tag)}.md"] = "\n".join(parts).encode()
    if (settings := old.folder / HPARAMS_FILE).is_file():
        files[f"{names.ARTIFACT_IMPORTED}/{HPARAMS_FILE}"] = settings.read_bytes()
    for number, one in enumerate(old.pictures):
        unique = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{old.identity}/{number}"))
        try:
            files |= image_series(one.content, accepted(one.tag), one.step, one.time, unique)
        except OSError:
            unread += 1
    return files, unread


def _amount(old: OldRun) -> str:
    points, metrics = old.points, len(old.scalars)
    return f"{points:,} point{'s' * (points != 1)} of {metrics} metric{'s' * (metrics != 1)}"


def description(old: OldRun, named: Mapping[str, str], unread: int = 0) -> str:
    """The run's description, in Markdown."""
    renamed = [f"`{tag}` is `{name}`" for tag, name in named.items() if name != tag]
    more = f" and {len(renamed) - LISTED} more" if len(renamed) > LISTED else ""
    left_out = {**old.left_out, **({"unreadable image": unread} if unread else {})}
    return "\n\n".join(
        part
        for part in (
            f"Imported from the TensorBoard event files of `{old.name}`: {_amount(old)}.",
            "Its losses are in the units of the training that wrote them; a metric of the same name in a run of `seqsetvae pretrain` "
            "is in nats per set.",
            f"Renamed: {', '.join(renamed[:LISTED])}{more}." if renamed else "",
            "Left out: " + ", ".join(f"{count:,} x {kind}" for kind, count in left_out.items()) + "."
            if left_out
            else "",
            # Not the file's name: it holds that of a machine.
            *(f"Incomplete: an event file is {one}." for one in old.broken),
            "" if old.failed else "Event files do not tell how a training ended: the status FINISHED is assumed.",
        )
        if part
    )
