"""Opening and closing an MLflow run. In between, everything goes through the spool of :mod:`seqsetvae.tracking.write.spool_writer`.

with start_run(config.tracking, kind="pretrain", run_name=None, params=asdict(config), config_yaml=text, tags={}) as run:
    trainer = Trainer(logger=run.logger, callbacks=[ModelCheckpoint(dirpath=run.checkpoint_dir)])
    trainer.fit(module, data)
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqsetvae import names, palette
from seqsetvae.config import TrackingConfig
from seqsetvae.errors import InputError
from seqsetvae.tracking.compat.server import context_tags, newest_points
from seqsetvae.tracking.connection.address import local_folder, recorded_uri, resolve_uri, without_password
from seqsetvae.tracking.connection.lookup import resolve_experiment
from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.tracking.connection.trouble import readable_errors, set_patience
from seqsetvae.tracking.write.checkpoint_uploads import CheckpointUploads
from seqsetvae.tracking.write.ownership import is_alive, owner_tags
from seqsetvae.tracking.write.run import Run
from seqsetvae.tracking.write.spool import Header, Spool
from seqsetvae.tracking.write.spool_writer import SpoolWriter
from seqsetvae.tracking.write.system_metrics import SystemMetrics
from seqsetvae.tracking.write.vanished import mend_stale_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as StoredRun

_log = logging.getLogger(__name__)

RANK_RUN_ID = "SEQSETVAE_RUN_ID"
"""Tells the other ranks, which Lightning starts with a copy of this environment, what rank 0 records to."""


def start_run(
    config: TrackingConfig,
    *,
    kind: str,
    run_name: str | None,
    params: Mapping[str, Any],
    config_yaml: str,
    tags: Mapping[str, str],
    resume_run_id: str | None = None,
    parent_run_id: str | None = None,
    finish_seconds: float = 20.0,
) -> Run:
    """Open a run.

    A new one, the one `mlflow run` made (MLFLOW_RUN_ID), the one to continue (`resume_run_id`), or always a new one, shown under its parent
    (`parent_run_id`).

    Returns a context manager that also can be closed by :meth:`Run.finish`, which waits up to `finish_seconds` for delivery. On any
    rank but 0 the result records nothing.

    Raises :class:`InputError` within about ten seconds when the store cannot be reached, and when the run to continue is unknown or
    still live.
    """
    work_dir = Path(config.work_dir).absolute()
    uri = resolve_uri(config)
    if any(int(os.environ.get(name) or 0) > 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK")):
        return Run.silent(uri, os.environ.get(RANK_RUN_ID) or os.environ.get("MLFLOW_RUN_ID") or "", work_dir)
    client = open_client(uri)
    owner = {names.TAG_KIND: kind, **tags, **owner_tags()}  # in the order in which the run's page shows them
    with readable_errors(uri):
        experiment_id = resolve_experiment(client, config)
        mend_stale_runs(client, experiment_id, work_dir, uri)
        stored = _find_or_create(
            client, experiment_id, run_name or config.run_name, owner, resume_run_id, parent_run_id
        )
        color = _color_of(client, stored)
        experiment_name = client.get_experiment(stored.info.experiment_id).name
    set_patience()

    run = Run(
        tracking_uri=uri,
        run_id=stored.info.run_id,
        experiment_id=stored.info.experiment_id,
        experiment_name=experiment_name,
        artifact_uri=stored.info.artifact_uri,
        work_dir=work_dir,
        writer=_writer(config, stored, work_dir, uri),
        known_params=set(stored.data.params),
        finish_seconds=finish_seconds,
        start_time=stored.info.start_time,
        color=color,
    )
    os.environ[RANK_RUN_ID] = run.run_id
    run.log_params(params)
    run.log_text(without_password(config_yaml), names.ARTIFACT_CONFIG)
    return run


def _writer(config: TrackingConfig, stored: StoredRun, work_dir: Path, uri: str) -> SpoolWriter:
    """What takes the run's records and delivers them; a run that goes on goes on behind its last steps."""
    spool = Spool.create(work_dir, Header(recorded_uri(uri), stored.info.run_id, stored.info.experiment_id))
    last_steps = _last_steps(stored, spool)
    # Also through the spool: an old status may still wait there and must not have the last word.
    spool.records.append([{"status": {"status": "RUNNING"}}])
    system_step = 1 + max((step for key, step in last_steps.items() if key.startswith("system/")), default=-1)
    sample = SystemMetrics(system_step) if config.log_system_metrics else None
    uploads = (
        CheckpointUploads(work_dir / stored.info.run_id / names.ARTIFACT_CHECKPOINTS, 60 * config.upload_every_minutes)
        if local_folder(stored.info.artifact_uri) is None
        else None
    )
    return SpoolWriter(spool, uri, last_steps, sample, uploads)


def _color_of(client: MlflowClient, stored: StoredRun) -> str:
    """Its own; of a new run one that none of the newest runs beside it has, which it is given."""
    own = stored.data.tags.get(names.TAG_RUN_COLOR)
    if own in palette.RUNS:
        return str(own)
    newest = client.search_runs(
        [stored.info.experiment_id], order_by=["attributes.start_time DESC"], max_results=len(palette.RUNS)
    )
    others = [run for run in newest if run.info.run_id != stored.info.run_id][: len(palette.RUNS) - 1]
    color = palette.next_color([run.data.tags.get(names.TAG_RUN_COLOR) for run in others])
    client.set_tag(stored.info.run_id, names.TAG_RUN_COLOR, color)
    return color


def _find_or_create(
    client: MlflowClient,
    experiment_id: str,
    run_name: str | None,
    owner: dict[str, str],
    resume_run_id: str | None,
    parent_run_id: str | None,
) -> StoredRun:
    if parent_run_id and not resume_run_id:
        tags = {**context_tags(str(Path.cwd())), **owner, "mlflow.parentRunId": parent_run_id}
        return client.create_run(experiment_id, tags=tags, run_name=run_name)
    given = _given_run(client, resuming=resume_run_id is not None)
    if run_id := resume_run_id or given:
        stored = _attach(client, run_id, owner, run_name)
        if given and given != run_id:
            client.set_tag(given, "mlflow.note.content", f"This command continued run {run_id}, where its results are.")
        return stored
    return client.create_run(experiment_id, tags={**context_tags(str(Path.cwd())), **owner}, run_name=run_name)


def _given_run(client: MlflowClient, resuming: bool) -> str | None:
    """The run that `mlflow run` has made for this command, if it has.

    A variable that is left over from an earlier training names a run that is recorded already: nothing of another is ever written into it.
    """
    from mlflow.exceptions import MlflowException

    given = os.environ.get("MLFLOW_RUN_ID")
    if not given:
        return None
    try:
        known = client.get_run(given)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return given  # what is wrong with it is said where it is opened
    if (kind := known.data.tags.get(names.TAG_KIND)) is None:
        return given
    if not resuming:
        _log.warning(
            f"MLFLOW_RUN_ID names run {given}, which holds a {kind} already ({known.info.status}): this command gets a run of its own. "
            "`unset MLFLOW_RUN_ID` ends this message."
        )
    return None


def _attach(client: MlflowClient, run_id: str, owner: dict[str, str], run_name: str | None) -> StoredRun:
    from mlflow.entities import RunTag
    from mlflow.exceptions import MlflowException

    try:
        stored = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise InputError(
            f"Run {run_id} is not in this tracking store. Give the store it was recorded in with --tracking.tracking_uri, or unset "
            "MLFLOW_RUN_ID."
        ) from error
    if stored.info.lifecycle_stage == "deleted":
        raise InputError(f"Run {run_id} was deleted. Restore it with `mlflow runs restore --run-id {run_id}`.")
    same_host = stored.data.tags.get(names.TAG_HOST) == owner[names.TAG_HOST]
    ours = stored.data.tags.get(names.TAG_PID) == owner[names.TAG_PID]
    if (
        stored.info.status == "RUNNING"
        and names.TAG_PID in stored.data.tags
        and same_host
        and not ours
        and is_alive(stored.data.tags)
    ):
        raise InputError(
            f"Run {run_id} is still being trained by process {stored.data.tags[names.TAG_PID]}. Stop that one first."
        )
    tags = {
        **{key: value for key, value in context_tags(str(Path.cwd())).items() if key not in stored.data.tags},
        **owner,
    }
    client.log_batch(run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])
    # MLflow leaves the status of an ended run as it is when somebody goes on writing to it.
    client.update_run(run_id, status="RUNNING", name=run_name)
    return stored


def _last_steps(stored: StoredRun, spool: Spool) -> dict[str, int]:
    """Highest step of each metric that the run has, or will have once its spool is delivered."""
    steps = {key: step for key, (step, _, _) in newest_points(stored).items()}
    for record, _ in spool.records.unsent():
        for key, _value, step, _timestamp in record.get("metrics", ()):
            steps[key] = max(steps.get(key, step), step)
    return steps
