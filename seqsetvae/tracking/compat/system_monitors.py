"""MLflow's own monitors of CPU, memory, disk, network and GPU, without the thread that it runs them in."""

from __future__ import annotations

import logging
from typing import Any

_log = logging.getLogger(__name__)


def make_monitors() -> list[Any]:
    """One for each kind, with `collect_metrics`, `aggregate_metrics` and `clear_metrics`; of a GPU where there is one."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        monitors.append(GPUMonitor())
    except (ImportError, RuntimeError) as reason:  # nvidia-ml-py is not installed, or there is no NVIDIA GPU
        _log.debug("No GPU metrics: %s", reason)
    return monitors
