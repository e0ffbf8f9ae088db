"""`MlflowLogger`: Lightning's door to the spool. A thin shell without arithmetic; see :mod:`seqsetvae.tracking.write.spool_writer`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only


class MlflowLogger(Logger):
    """What `Trainer(logger=...)` gets: `run.logger`. It neither opens nor closes the run; `Run` does."""

    def __init__(
        self,
        *,
        experiment_name: str,
        run_id: str,
        folder: Path,
        log_metrics: Callable[[Mapping[str, Any], int], None],
        log_params: Callable[[Mapping[str, Any]], None],
    ) -> None:
        super().__init__()
        self._experiment_name, self._run_id, self._folder = experiment_name, run_id, folder
        self._log_metrics, self._log_params = log_metrics, log_params

    @property
    def name(self) -> str:
        return self._experiment_name

    @property
    def version(self) -> str:
        return self._run_id

    @property
    def save_dir(self) -> str:
        return str(self._folder)

    @property
    def log_dir(self) -> str:
        return str(self._folder)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self._log_metrics(metrics, step or 0)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        self._log_params(vars(params) if isinstance(params, Namespace) else params)

    def finalize(self, status: str) -> None:
        """Leave the run open: evaluation and the final status come after the trainer has finished."""
