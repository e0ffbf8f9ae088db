"""CPU, memory, disk, network and GPU use, under the names MLflow's own monitor gives them."""

from __future__ import annotations

import logging
import time
from typing import Any

from seqsetvae.tracking.compat.system_monitors import make_monitors

SAMPLE_SECONDS = 10.0

_log = logging.getLogger(__name__)


class SystemMetrics:
    """Calling it returns points when `SAMPLE_SECONDS` have passed since the last ones. For one thread only."""

    def __init__(self, first_step: int = 0) -> None:
        """`first_step`: 0, or one more than the last step of the run that is continued."""
        self._step = first_step
        self._due = 0.0
        self._monitors: list[Any] | None = None

    def __call__(self) -> tuple[int, int, dict[str, float]] | None:
        if time.monotonic() < self._due:
            return None
        self._due = time.monotonic() + SAMPLE_SECONDS
        try:
            return self._step, int(time.time() * 1000), self._collect()
        except Exception as error:
            _log.warning("System metrics are not recorded any more: %s", error)
            self._due = float("inf")
            return None

    def _collect(self) -> dict[str, float]:
        if self._monitors is None:
            self._monitors = make_monitors()
        values: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            values |= {f"system/{key}": float(value) for key, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        self._step += 1
        return values
