"""Pretrained models that benchmarks share: made where they are missing, and kept in the working directory for the next benchmark."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from seqsetvae.config import DataConfig, FinetuneConfig, ModelConfig, PretrainConfig, TrackingConfig, TrainerConfig
from seqsetvae.data.auxiliary import table_of_tasks
from seqsetvae.data.demo_store import open_store

FOLDER = Path("benchmark_models")
"""Where checkpoints and finetuned models are kept: a benchmark that was stopped goes on with what is missing."""
TRACKING = TrackingConfig(experiment="benchmark models", log_system_metrics=False, register_model=False)
PLAIN = PretrainConfig(
    data=DataConfig(batch_size=16),
    model=ModelConfig(width=128, latent_dim=64, levels=1, heads=4, ff_dim=256, history_layers=2),
    trainer=TrainerConfig(max_epochs=4),
    tracking=TRACKING,
)
REMEMBERING = replace(PLAIN, model=replace(PLAIN.model, remember=True, foresee_hours=[1.0, 6.0, 24.0]))
READING = replace(REMEMBERING, model=replace(REMEMBERING.model, reads=6))
LONGER = replace(READING, trainer=replace(READING.trainer, max_epochs=10))
FILLING = replace(
    REMEMBERING, model=replace(REMEMBERING.model, fill_in=True), trainer=replace(PLAIN.trainer, max_epochs=1)
)
QUICK = ModelConfig(width=32, latent_dim=16, levels=1, heads=2, ff_dim=32, history_layers=1)
"""Sizes of a benchmark that is only to be seen running; one epoch does for it."""
ASKED = ("remember", "foresee_hours", "fill_in", "reads")
"""What a quick model keeps of the settings."""


def pretrained(config: PretrainConfig, store: str, quick: bool) -> Path:
    """The checkpoint of a pretraining, made where it is missing; another one for each of the settings and data."""
    from seqsetvae.training.fit import pretrain

    if quick:
        asked = {name: getattr(config.model, name) for name in ASKED}
        config = replace(config, model=replace(QUICK, **asked), trainer=replace(config.trainer, max_epochs=1))
    kept = FOLDER / f"pretrained_{digest(config, open_store(store).content_hash)}.json"
    if not kept.is_file():
        checkpoint = pretrain(replace(config, data=replace(config.data, store=store))).final_checkpoint
        FOLDER.mkdir(exist_ok=True)
        kept.write_text(json.dumps({"checkpoint": str(checkpoint)}), encoding="utf-8")
    return Path(json.loads(kept.read_text(encoding="utf-8"))["checkpoint"])


def finetuned(name: str, config: FinetuneConfig, quick: bool) -> Path:
    """The folder of a finetuned model, made where it is missing; another one for each of the settings, backbones and data."""
    from seqsetvae.training.finetuning.finetune import finetune
    from seqsetvae.training.finetuning.mortality import export_risk_model

    config = replace(config, progress_bar=False)
    config = replace(config, max_epochs=1, n_seeds=1) if quick else config
    place = name.replace("%", "percent").replace(",", "").replace(" ", "_")
    store = open_store(config.store)
    outcomes = table_of_tasks(config.labels, store).read_bytes() if config.labels or config.auxiliary else b""
    folder = FOLDER / f"{place}_{digest(config, store.content_hash, outcomes)}"
    if not folder.is_dir():
        print(f"\n{name}", flush=True)
        result = finetune(config, replace(TRACKING, run_name=name))
        FOLDER.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:  # whole or not at all
            export_risk_model(result.model, Path(scratch) / "model", result.val_metrics)
            (Path(scratch) / "model").rename(folder)
    return folder


def digest(*of: object) -> str:
    """Short name of some settings: frozen dataclasses and plain values.

    >>> digest(PLAIN) == digest(replace(PLAIN)), digest(PLAIN) == digest(READING)
    (True, False)
    """
    return hashlib.sha256(repr(of).encode()).hexdigest()[:10]
