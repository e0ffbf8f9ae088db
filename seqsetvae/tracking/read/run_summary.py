"""What a run that has ended left in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seqsetvae import names
from seqsetvae.config import TrackingConfig
from seqsetvae.tracking.connection.address import local_folder, resolve_uri
from seqsetvae.tracking.connection.lookup import get_run
from seqsetvae.tracking.connection.opening import check_there, open_client
from seqsetvae.tracking.connection.trouble import readable_errors


@dataclass(frozen=True)
class RunSummary:
    """A run as its tracking store has it."""

    run_id: str
    status: str
    name: str
    tags: Mapping[str, str]
    metrics: Mapping[str, list[tuple[int, float]]]
    """(step, value) of the wanted metrics, ascending; none where the run has none."""
    checkpoints: list[str]
    """Names of the files."""
    folder: Path
    """Where they lie on this machine; empty of them where the store is remote and they are not in the work folder."""

    def value_at(self, key: str, step: int) -> float | None:
        """The last value of a metric up to a step."""
        before = [value for at, value in self.metrics.get(key, []) if at <= step]
        return before[-1] if before else None


def read_run(config: TrackingConfig, run_id: str, metrics: tuple[str, ...] = ()) -> RunSummary:
    """Read a run. Checkpoints in a remote store are listed, and fetched by :func:`fetch_checkpoint`.

    Raises:
        InputError: the store cannot be used, or has no such run.
    """
    uri = resolve_uri(config)
    check_there(uri)
    client = open_client(uri)
    with readable_errors(uri):
        run = get_run(client, uri, run_id)
        points = {
            key: sorted((point.step, point.value) for point in client.get_metric_history(run_id, key))
            for key in metrics
            if key in run.data.metrics
        }
        listed = [Path(one.path).name for one in client.list_artifacts(run_id, names.ARTIFACT_CHECKPOINTS)]
    base = local_folder(run.info.artifact_uri) or Path(config.work_dir).absolute() / run_id
    return RunSummary(
        run_id=run_id,
        status=run.info.status,
        name=run.info.run_name or run_id,
        tags=dict(run.data.tags),
        metrics=points,
        checkpoints=sorted(name for name in listed if name.endswith(".ckpt")),
        folder=base / names.ARTIFACT_CHECKPOINTS,
    )


def fetch_checkpoint(config: TrackingConfig, summary: RunSummary, name: str) -> Path:
    """A checkpoint of a run as a file of this machine, downloaded if it lies in a remote store only."""
    if (path := summary.folder / name).is_file():
        return path
    uri = resolve_uri(config)
    with readable_errors(uri):
        client = open_client(uri)
        return Path(client.download_artifacts(summary.run_id, f"{names.ARTIFACT_CHECKPOINTS}/{name}"))
