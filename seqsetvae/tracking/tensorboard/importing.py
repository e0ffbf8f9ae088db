"""`import-tensorboard`: the event files of older trainings into the MLflow store, so that old runs stand beside new ones."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from seqsetvae.config import TrackingConfig
from seqsetvae.errors import InputError
from seqsetvae.extras import require
from seqsetvae.progress import ProgressBar
from seqsetvae.tracking.connection.address import resolve_uri, without_password
from seqsetvae.tracking.connection.lookup import resolve_experiment
from seqsetvae.tracking.connection.opening import open_client
from seqsetvae.tracking.connection.trouble import readable_errors
from seqsetvae.tracking.tensorboard.event_files import MARK, find_event_files
from seqsetvae.tracking.tensorboard.old_run import OldRun, read_old_run
from seqsetvae.tracking.tensorboard.old_run_writer import Imported, write_old_run

_log = logging.getLogger(__name__)

OnError = Literal["stop", "salvage"]
NAMED = 6
"""Broken files that a message names."""


def import_logs(
    tracking: TrackingConfig, log_dir: Path, on_error: OnError = "stop", progress: bool = True
) -> list[Imported]:
    """Import every folder of event files as a run, once: what was imported before is left as it is, or completed if it has grown.

    Args:
        tracking: The store to write to.
        log_dir: A folder with event files, at any depth, such as lightning_logs. Each folder that has some becomes a run.
        on_error: `stop` at an event file that is cut off or damaged, before anything is written; `salvage` imports what stands
            before that place.
        progress: Show progress bars.

    Raises:
        InputError: no such folder, no event files, a broken one, or a store that cannot be used.
    """
    require("tensorboard", "import-tensorboard")
    old_runs = read_logs(Path(log_dir), on_error, progress)
    uri = resolve_uri(tracking)
    client = open_client(uri)
    with readable_errors(uri):
        experiment_id = resolve_experiment(client, tracking)
    outcomes = []
    points = sum(one.points for one in old_runs)
    with ProgressBar(total=points, desc="import", unit="point", unit_scale=True, disable=not progress) as bar:
        for old in old_runs:
            outcomes.append(write_old_run(client, uri, experiment_id, old, bar.update))
            bar.write(f"{old.name}: {outcomes[-1].said}.")
    new = sum(one.points > 0 for one in outcomes)
    _log.info(f"{new} of {len(outcomes)} runs are new or have grown in {without_password(uri)}.")
    return outcomes


def read_logs(log_dir: Path, on_error: OnError = "stop", progress: bool = True) -> list[OldRun]:
    """All folders of event files as runs, the oldest first, without those that hold no scalar.

    Raises :class:`InputError` where there is none, and, with `stop`, where an event file is broken.
    """
    if not log_dir.is_dir():
        what = "is a file" if log_dir.exists() else "does not exist"
        raise InputError(f"--import.log_dir is {str(log_dir)!r}, which {what}. Give the folder of a training's logs.")
    folders = find_event_files(log_dir)
    if not folders:
        raise InputError(
            f"There are no event files in {log_dir} or below it: no file has {MARK!r} in its name, as in events.out.tfevents.1700000000. "
            "Give the folder that TensorBoard would be given as --logdir, such as lightning_logs."
        )
    size = sum(path.stat().st_size for files in folders.values() for path in files)
    with ProgressBar(total=size, desc="read", unit="B", unit_scale=True, disable=not progress) as bar:
        found = [read_old_run(folder, files, _name(folder, log_dir), bar.update) for folder, files in folders.items()]
    if on_error == "stop":
        _refuse_broken(found, log_dir)
    kept = [one for one in found if one.scalars]
    if not kept:
        raise InputError(
            f"The event files in {log_dir} hold no scalars, so there is nothing to compare: nothing was imported."
        )
    for one in found:
        if not one.scalars:
            _log.info(f"{one.name}: no scalars, passed over.")
    return sorted(kept, key=lambda one: one.start_time)


def _name(folder: Path, log_dir: Path) -> str:
    """Never a whole path, which may name a person: the folder below the one that was given, or else that one's own name.

    >>> _name(Path("/home/li/logs/vae/version_3"), Path("/home/li/logs"))
    'vae/version_3'
    """
    return folder.relative_to(log_dir).as_posix() if folder != log_dir else log_dir.resolve().name


def _refuse_broken(found: list[OldRun], log_dir: Path) -> None:
    broken = [error for one in found for error in one.broken]
    if not broken:
        return
    lines = [f"  {error.path.relative_to(log_dir)}: {error}" for error in broken[:NAMED]]
    more = [f"  and {len(broken) - NAMED} more"] if len(broken) > NAMED else []
    raise InputError(
        "\n".join(
            [
                f"Not all event files in {log_dir} can be read to their end, so nothing was imported:",
                *lines,
                *more,
                "A training that was killed, or still writes, leaves such files. --import.on_error salvage imports what stands before that "
                "place.",
            ]
        )
    )
