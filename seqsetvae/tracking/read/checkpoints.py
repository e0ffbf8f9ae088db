"""The checkpoints that runs have left: listed, and brought onto this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from seqsetvae import names
from seqsetvae.config import TrackingConfig
from seqsetvae.tracking.connection.address import local_folder, resolve_uri, sqlite_path
from seqsetvae.tracking.connection.lookup import get_run, resolve_experiment
from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.tracking.connection.trouble import readable_errors

if TYPE_CHECKING:
    from mlflow.entities import Run as StoredRun


@dataclass(frozen=True)
class RunCheckpoints:
    """What there is of one run."""

    run_id: str
    run_name: str
    names: frozenset[str]
    """Of the files, here or in a remote artifact store."""
    folder: Path
    """Where they lie on this machine, or would lie."""

    def __str__(self) -> str:
        return f"{self.run_name} ({self.run_id})"


def checkpoints_of_run(config: TrackingConfig, run_id: str) -> RunCheckpoints:
    """Of a run that was named.

    Raises:
        InputError: the store cannot be used, or has no such run.
    """
    uri = resolve_uri(config)
    client = open_client(uri)
    with readable_errors(uri):
        return _of(config, get_run(client, uri, run_id))


def checkpoints_of_pretrainings(config: TrackingConfig) -> list[RunCheckpoints]:
    """Of all pretraining runs of the experiment that are no trials of a study, the one that was worked on last first."""
    uri = resolve_uri(config)
    client = open_client(uri)
    with readable_errors(uri):
        experiment = resolve_experiment(client, config)
        found = client.search_runs([experiment], f"tags.`{names.TAG_KIND}` = 'pretrain'", max_results=1000)
        ours = [run for run in found if names.TAG_STUDY not in run.data.tags]
        return [_of(config, run) for run in sorted(ours, key=_last_begun, reverse=True)]


def find_checkpoint(config: TrackingConfig, name: str = "last.ckpt") -> tuple[Path, str] | None:
    """The checkpoint of this name of the newest run in the experiment that has one, with the run's id; None where there is none.

    Looks where :attr:`seqsetvae.tracking.write.run.Run.checkpoint_dir` has put it: in local artifacts or in the work folder.
    """
    uri = resolve_uri(config)
    if (file := sqlite_path(uri)) is not None and not file.exists():
        return None
    client = open_client(uri)
    with readable_errors(uri):
        runs = client.search_runs(
            [resolve_experiment(client, config)], order_by=["attributes.start_time DESC"], max_results=1000
        )
    for run in runs:
        for folder in (local_folder(run.info.artifact_uri), Path(config.work_dir).absolute() / run.info.run_id):
            if folder is not None and (path := folder / names.ARTIFACT_CHECKPOINTS / name).is_file():
                return path, run.info.run_id
    return None


def fetch(config: TrackingConfig, run: RunCheckpoints, name: str) -> Path:
    """One of the files, downloaded to where the run would have written it if it is not on this machine."""
    path = run.folder / name
    if not path.is_file():
        uri = resolve_uri(config)
        run.folder.mkdir(parents=True, exist_ok=True)
        # Beside its place and then there at once: half a download would be taken for the file.
        with readable_errors(uri), TemporaryDirectory(dir=run.folder.parent) as scratch:
            found = open_client(uri).download_artifacts(run.run_id, f"{names.ARTIFACT_CHECKPOINTS}/{name}", scratch)
            Path(found).replace(path)
    return path


def _last_begun(run: StoredRun) -> float:
    """Milliseconds since the epoch; a run that was continued has a process younger than itself."""
    return max(float(run.info.start_time), 1000.0 * float(run.data.tags.get(names.TAG_PROCESS_START, 0.0)))


def _of(config: TrackingConfig, run: StoredRun) -> RunCheckpoints:
    local = local_folder(run.info.artifact_uri)
    folder = (local or Path(config.work_dir).absolute() / run.info.run_id) / names.ARTIFACT_CHECKPOINTS
    found = {path.name for path in folder.glob("*.ckpt")}
    if local is None:
        found |= _listed(run.info.artifact_uri)
    return RunCheckpoints(run.info.run_id, run.info.run_name or "", frozenset(found), folder)


def _listed(artifact_uri: str) -> set[str]:
    from mlflow.artifacts import list_artifacts

    listed = list_artifacts(artifact_uri=f"{artifact_uri.rstrip('/')}/{names.ARTIFACT_CHECKPOINTS}") or []
    return {Path(one.path).name for one in listed if one.path.endswith(".ckpt")}
