"""The monitor by the names that it has in the source project's guides, with their folders: `log_dir` gets log, figures and backup."""

from __future__ import annotations

from typing import Any

from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor


class PosteriorCollapseDetector(CollapseMonitor):
    """:class:`CollapseMonitor`, as the detector guide has it. Its rules are ours; the guide's are `rules="source"`."""

    def __init__(self, *, log_dir: str | None = "./collapse_logs", **settings: Any) -> None:
        super().__init__(log_dir=log_dir, **settings)


class PosteriorMetricsMonitor(CollapseMonitor):
    """:class:`CollapseMonitor`, as the training guide has it: what it measures is also judged."""

    def __init__(self, *, log_dir: str | None = "./posterior_metrics", **settings: Any) -> None:
        super().__init__(log_dir=log_dir, **settings)
