"""Latency and throughput of a model that `mlflow models serve` serves over HTTP, beside the same model in this process."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from seqsetvae import names
from seqsetvae.certify.table import Table
from seqsetvae.config import (
    DataConfig,
    FinetuneConfig,
    ModelConfig,
    MonitorConfig,
    PretrainConfig,
    TrackingConfig,
    TrainerConfig,
)
from seqsetvae.data.sources.demo import DEMO_FILE
from seqsetvae.tracking.registry.versions import find_version, model_folder
from seqsetvae.training.finetuning.finetune import finetune
from seqsetvae.training.finetuning.mortality import read_risk_model
from seqsetvae.training.fit import pretrain
from tests.support.model_server import as_json, serve

MANY = 100
"""Patients in one request."""
WARM_UP = 5


def measure(quick: bool = False) -> list[Table]:
    """Milliseconds per request and patients per second, over HTTP and in process by turns."""
    model = (
        ModelConfig(width=16, latent_dim=8, levels=1, heads=2, ff_dim=16, history_layers=1) if quick else ModelConfig()
    )
    stays = demo_stays(MANY)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        uri = f"sqlite:///{folder}/mlflow.db"
        with contextlib.redirect_stdout(None):
            version = make_model(model, uri)
        risk_model = read_risk_model(model_folder(uri, find_version(uri, version)))
        started = time.perf_counter()
        with serve(version, uri, Path(folder)) as server:
            start_seconds = time.perf_counter() - started
            requests = {1: stays, MANY: [pd.concat(stays)]}
            rows: list[tuple[object, ...]] = []
            for patients, tables in requests.items():
                repeats = (20 if quick else 200) if patients == 1 else (3 if quick else 10)
                timed = by_turns(
                    [lambda table: server.ask(as_json(table)).table, risk_model.risk],
                    [tables[number % len(tables)] for number in range(repeats + WARM_UP)],
                )
                rows += rows_of(patients, *timed)
    note = (
        f"Stays of the demo data, {sum(map(len, stays)) / MANY:.0f} events each, width {model.width}, {torch.get_num_threads()} threads; "
        "requests one after the other, a connection each, a JSON table written and read by the client included. The server "
        f"answered {start_seconds:.1f} s after its start."
    )
    columns = ("patients per request", "where", "median ms", "95 % within ms", "patients/s", "time")
    return [Table("Serving a finetuned model", columns, rows, note)]


def demo_stays(wanted: int) -> list[pd.DataFrame]:
    """Tables of events of that many stays."""
    events = pd.read_parquet(DEMO_FILE).rename(columns={"subject_id": "subject"})
    events = events[list(names.EVENT_COLUMNS)].astype({"subject": str, "minute": float, "value": float})
    return [stay for _, stay in events.groupby("subject", sort=False)][:wanted]


def make_model(config: ModelConfig, uri: str) -> str:
    """Address of a risk model that was pretrained and finetuned here, very shortly: what it has learned does not change its speed."""
    tracking = TrackingConfig(tracking_uri=uri, log_system_metrics=False)
    trainer = TrainerConfig(max_epochs=1, max_steps=5, limit_val_batches=1, accelerator="cpu", progress_bar=False)
    pretrained = pretrain(
        PretrainConfig(
            data=DataConfig(batch_size=16),
            model=config,
            trainer=trainer,
            monitor=MonitorConfig(disable_metrics_monitoring=True),
            tracking=TrackingConfig(tracking_uri=uri, log_system_metrics=False, register_model=False),
        )
    )
    version = finetune(FinetuneConfig(model=str(pretrained.final_checkpoint), max_epochs=2), tracking).version
    assert version is not None
    return version.uri


def by_turns(ways: list[Callable[[pd.DataFrame], pd.DataFrame]], tables: list[pd.DataFrame]) -> list[list[float]]:
    """Seconds that each way takes with each table, in turn, so that a busy moment of the machine hits all; without the first ones.

    Raises:
        AssertionError: the ways do not agree.
    """
    seconds: list[list[float]] = [[] for _ in ways]
    for table in tables:
        answers = []
        for way, spent in zip(ways, seconds, strict=True):
            begun = time.perf_counter()
            answers.append(way(table))
            spent.append(time.perf_counter() - begun)
        for answer in answers[1:]:
            np.testing.assert_allclose(
                answer["risk"].astype(float), answers[0]["risk"].astype(float), rtol=0, atol=1e-6
            )
    return [spent[WARM_UP:] for spent in seconds]


def rows_of(patients: int, served: list[float], in_process: list[float]) -> list[tuple[object, ...]]:
    """Two rows of the table."""
    floor = float(np.median(in_process))
    rows: list[tuple[object, ...]] = []
    for where, seconds in (("served over HTTP", served), ("in process", in_process)):
        median, slow = np.quantile(seconds, (0.5, 0.95))
        times = (f"{median * 1e3:.1f}", f"{slow * 1e3:.1f}", f"{patients / median:,.0f}", f"{median / floor:.2f}x")
        rows.append((patients, where, *times))
    return rows
