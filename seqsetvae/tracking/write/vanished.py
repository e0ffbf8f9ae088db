"""What becomes of a run whose process has vanished: what it has left is delivered, and it is ended."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from seqsetvae import names
from seqsetvae.tracking.write.delivery import deliver, end_vanished
from seqsetvae.tracking.write.ownership import is_alive
from seqsetvae.tracking.write.spool import Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)


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
        end_vanished(client, run_id)
        _log.warning(
            "Run %s (%s): its process had vanished. Its records were delivered, its status set.",
            run.info.run_name,
            run_id,
        )
        mended.append(run_id)
    return mended
