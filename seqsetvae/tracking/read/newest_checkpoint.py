"""Reading the store: what training needs to continue a run."""

from __future__ import annotations

from pathlib import Path

from seqsetvae import names
from seqsetvae.config import TrackingConfig
from seqsetvae.tracking.connection.address import resolve_uri
from seqsetvae.tracking.connection.opening import open_store, readable_errors, resolve_experiment


def find_checkpoint(config: TrackingConfig, name: str = "last.ckpt") -> tuple[Path, str] | None:
    """The checkpoint of this name of the newest run in the experiment that has one, with the run's id; None where there is none.

    Looks where :attr:`seqsetvae.tracking.write.run.Run.checkpoint_dir` has put it: in local artifacts or in the work folder.
    """
    from seqsetvae.tracking.write.run import local_folder

    uri = resolve_uri(config)
    client = open_store(uri)
    with readable_errors(uri):
        runs = client.search_runs(
            [resolve_experiment(client, config)], order_by=["attributes.start_time DESC"], max_results=1000
        )
    for run in runs:
        for folder in (local_folder(run.info.artifact_uri), Path(config.work_dir).absolute() / run.info.run_id):
            if folder is not None and (path := folder / names.ARTIFACT_CHECKPOINTS / name).is_file():
                return path, run.info.run_id
    return None
