"""Which process owns a run, and what becomes of the run when that process has vanished."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from seqsetvae import names
from seqsetvae.tracking.write.delivery import deliver
from seqsetvae.tracking.write.spool import Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)


def owner_tags() -> dict[str, str]:
    """Tags that identify this process for :func:`is_alive`."""
    return {
        names.TAG_HOST: socket.gethostname(),
        names.TAG_PID: str(os.getpid()),
        names.TAG_PROCESS_START: f"{psutil.Process().create_time():.2f}",
    }


def is_alive(tags: Mapping[str, str]) -> bool:
    """Whether the process of this host that the tags name still runs. Tags that name none count as alive: never touch them."""
    try:
        pid, start = int(tags[names.TAG_PID]), float(tags[names.TAG_PROCESS_START])
    except (KeyError, ValueError):
        return True
    try:
        process = psutil.Process(pid)
        # The start is derived from the boot time, which moves when the clock is set.
        return abs(process.create_time() - start) < 2.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def mend_stale_runs(
    client: MlflowClient, experiment_id: str, work_dir: Path | str, given: str | None = None
) -> list[str]:
    """End the runs of this host that say RUNNING although their process is gone, after delivering what they left behind.

    `given` is the address of the store with its login. Their status becomes KILLED, unless their spool knows better. Returns their
    ids. Costs one search where there is none.
    """
    stale = client.search_runs(
        [experiment_id],
        f"attributes.status = 'RUNNING' AND tags.`{names.TAG_HOST}` = '{socket.gethostname()}'",
        max_results=1000,
    )
    mended = []
    for run in stale:
        if is_alive(run.data.tags):
            continue
        run_id = run.info.run_id
        spool = Spool(Path(work_dir).absolute() / "spool" / run_id)
        if (spool.folder / "header.json").exists():
            outcome = deliver(spool, given)
            if outcome.busy or spool.records.n_unsent():
                continue
        if client.get_run(run_id).info.status == "RUNNING":
            client.set_tag(run_id, names.TAG_ENDED_BY, "process vanished")
            client.set_terminated(run_id, "KILLED", int(time.time() * 1000))
        _log.warning(
            "Run %s (%s): its process had vanished. Its records were delivered, its status set.",
            run.info.run_name,
            run_id,
        )
        mended.append(run_id)
    return mended
