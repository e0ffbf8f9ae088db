"""Watches any VAE for posterior collapse, in a plain loop or a Lightning trainer; and tells before training at which beta it dies.

Names are found when they are first used: `CollapseMonitor` alone needs Lightning.
"""

from importlib import import_module
from importlib.metadata import version

__version__ = version("collapse-monitor")

HOMES = {
    "BetaOutlook": "collapse.detector",
    "CollapseMonitor": "training.monitor.collapse_monitor",
    "Diagnosis": "collapse.diagnosis",
    "DiagonalGaussian": "posterior",
    "Forecast": "collapse.forecast",
    "InputError": "errors",
    "Level": "collapse.diagnosis",
    "LoopMonitor": "training.monitor.plain_loop",
    "MonitorConfig": "config.monitor",
    "forecast": "collapse.forecast",
}
__all__ = list(HOMES)


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
