"""Which process owns a run."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import psutil

from seqsetvae import names


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
