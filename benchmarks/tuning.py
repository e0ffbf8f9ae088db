"""What a sweep costs besides training: drawing parameters, the MLflow run, its delivery, the study's storage."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from seqsetvae.certify.table import Table
from seqsetvae.config import (
    DataConfig,
    ModelConfig,
    MonitorConfig,
    PretrainConfig,
    SpaceConfig,
    TrackingConfig,
    TrainerConfig,
    TuneConfig,
)

SHORT = PretrainConfig(
    data=DataConfig(batch_size=16),
    model=ModelConfig(width=8, latent_dim=4, levels=1, heads=2, ff_dim=8, history_layers=1),
    trainer=TrainerConfig(max_epochs=1, accelerator="cpu", progress_bar=False),
    monitor=MonitorConfig(verbose=False),
    tracking=TrackingConfig(log_system_metrics=False),
)


def measure(quick: bool = False) -> list[Table]:
    """Time from trial to trial in one worker, less the time in the training loop."""
    trials = 4 if quick else 12
    rows: list[tuple[object, ...]] = []
    for kind in ("sqlite", "journal"):
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            overheads = per_trial(Path(folder), f"{kind}:///{folder}/study.{kind}", trials)
        rows.append((kind, f"{statistics.median(overheads):.2f}", f"{max(overheads):.2f}"))
    return [
        Table(
            "A sweep without its training",
            ("storage of the study", "median s per trial", "slowest"),
            rows,
            f"{trials - 1} trials of one worker after a first one, recorded in a local sqlite store: everything from the end of one "
            "trial to the end of the next except the training loop. The aim is less than 1 s.",
        )
    ]


def per_trial(folder: Path, storage: str, trials: int) -> list[float]:
    """Seconds per trial, each less what its training took; without the first, which also imports and warms up."""
    from seqsetvae.tracking.write.start import start_run
    from seqsetvae.tuning.job import Job
    from seqsetvae.tuning.storage import close_storage, open_storage
    from seqsetvae.tuning.study import open_study
    from seqsetvae.tuning.worker import work

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    tracking = TrackingConfig(tracking_uri=uri, work_dir=str(folder), log_system_metrics=False)
    base = PretrainConfig(SHORT.data, SHORT.model, trainer=SHORT.trainer, monitor=SHORT.monitor, tracking=tracking)
    ends: list[float] = []

    def listen(event: dict[str, Any]) -> None:
        if event.get("event") == "end":
            ends.append(time.perf_counter())

    with start_run(tracking, kind="tune", run_name=None, params={}, config_yaml="", tags={}) as run:
        tune = TuneConfig(study="bench", n_trials=trials, pruner="none", prune_collapsed=False)
        job = Job(base, SpaceConfig(max_beta_range=(0.01, 50.0)), tune, storage, "bench", run.run_id, total_steps=20)
        opened = open_storage(storage, tune.heartbeat_seconds)
        study = open_study(job, opened)
        with contextlib.redirect_stdout(None):
            work(job, listen)
        trained = [one.user_attrs["training_seconds"] for one in study.get_trials(deepcopy=False)]
        close_storage(opened)
    between = [later - earlier for earlier, later in itertools.pairwise(ends)]
    return [whole - training for whole, training in zip(between, trained[1:], strict=True)]
