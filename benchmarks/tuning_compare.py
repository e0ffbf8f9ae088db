"""What pruning saves, and whether the winner of a sweep is healthy: one sweep, its trials once more without pruning, the winner longer."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from seqsetvae.certify.table import Table
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.config import (
    DataConfig,
    ModelConfig,
    MonitorConfig,
    OptimizerConfig,
    PretrainConfig,
    SpaceConfig,
    TrackingConfig,
    TrainerConfig,
    TuneConfig,
)
from seqsetvae.figures.study_rows import TrialRow

if TYPE_CHECKING:
    from seqsetvae.training.monitor.collapse_outcome import CollapseOutcome

EARLY = 0.4
"""Share of its steps before which a trial that would collapse should be ended."""
SPACE = SpaceConfig(max_beta_range=(0.01, 50.0))
TRIALS = PretrainConfig(
    data=DataConfig(batch_size=16),  # 20 steps an epoch
    model=ModelConfig(width=32, latent_dim=16, levels=1, heads=2, ff_dim=32, history_layers=1),
    optimizer=OptimizerConfig(lr=3e-3),
    trainer=TrainerConfig(max_epochs=20, accelerator="cpu", progress_bar=False, save_top_k=0, val_check_interval=1.0),
    monitor=MonitorConfig(verbose=False),
    tracking=TrackingConfig(log_system_metrics=False, register_model=False),
)
LONGER, OTHER_SEED = 2, 1


@dataclass(frozen=True)
class Comparison:
    """The same parameters with and without pruning, trial by trial."""

    pruned: list[TrialRow]
    whole: list[TrialRow]

    @property
    def collapsing(self) -> list[TrialRow]:
        """The pruned sweep's trials that would collapse: red at any time where nothing ended them."""
        return [one for one, other in zip(self.pruned, self.whole, strict=True) if other.level == Level.RED.word]

    @property
    def ended_early(self) -> list[TrialRow]:
        return [row for row in self.collapsing if row.state == "pruned" and row.steps < EARLY * row.planned_steps]

    @property
    def saved(self) -> float:
        """Share of the optimizer steps."""
        return 1.0 - sum(row.steps for row in self.pruned) / sum(row.steps for row in self.whole)

    @property
    def seconds_saved(self) -> float:
        """Share of the time in the training loops."""
        return 1.0 - sum(row.training_seconds for row in self.pruned) / sum(row.training_seconds for row in self.whole)


def measure(quick: bool = False) -> list[Table]:
    """Run both sweeps and the winner, in a folder of their own."""
    base = replace(TRIALS, trainer=replace(TRIALS.trainer, max_epochs=8)) if quick else TRIALS
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        tracking = replace(base.tracking, tracking_uri=f"sqlite:///{folder}/mlflow.db", work_dir=folder)
        base = replace(base, tracking=tracking)
        storage = f"sqlite:///{Path(folder, 'study.db')}"
        config = TuneConfig(study="pruned", storage=storage, n_trials=6 if quick else 24, n_workers=2)
        comparison, best = both_sweeps(base, config)
        outcome = train_winner(base, best)
    total = len(comparison.collapsing)
    rows: list[tuple[object, ...]] = [
        ("trials", len(comparison.pruned), ""),
        ("would collapse", total, ""),
        (
            f"of these ended before {100 * EARLY:.0f} % of their steps",
            len(comparison.ended_early),
            f"at least {(total + 1) // 2}",
        ),
        ("optimizer steps saved by pruning", f"{100 * comparison.saved:.0f} %", "at least 30 %"),
        ("time in training saved by pruning", f"{100 * comparison.seconds_saved:.0f} %", ""),
        ("winner, longer and with another seed", outcome.verdict, "never red"),
        ("its worst level", outcome.worst.word, ""),
    ]
    steps = comparison.whole[0].planned_steps
    note = (
        f"max_beta {SPACE.max_beta_range} on the logarithm, free bits {SPACE.free_bits_range}, warm-up {SPACE.warmup_range} of the steps; "
        f"demo data, width {base.model.width}, latent {base.model.latent_dim}, {steps} steps. The second sweep has the parameters of the "
        f"first and ends nothing early. The winner trains {LONGER} times as long."
    )
    return [Table("A sweep with and without pruning", ("", "measured", "aim"), rows, note)]


def both_sweeps(base: PretrainConfig, config: TuneConfig) -> tuple[Comparison, str]:
    """The sweep, and its trials once more without pruning; the winner's settings as YAML."""
    from seqsetvae.tuning.lead import tune
    from seqsetvae.tuning.replay import copy_trials

    first = tune(base, SPACE, config)
    assert first is not None
    unpruned = replace(config, study="whole", prune_collapsed=False, pruner="none")
    assert config.storage is not None
    copy_trials(config.storage, "pruned", "whole")
    second = tune(base, SPACE, unpruned)
    assert second is not None
    return Comparison(in_order(first.results.rows), in_order(second.results.rows)), first.best_config


def in_order(rows: list[TrialRow]) -> list[TrialRow]:
    """By parameters, so that the same trial of two sweeps has the same place."""
    return sorted((row for row in rows if row.state != "failed"), key=lambda row: sorted(row.params.items()))


def train_winner(base: PretrainConfig, best: str) -> CollapseOutcome:
    """The winner's settings in a longer run with another seed, watched but not ended."""
    from seqsetvae.training.fit import pretrain
    from seqsetvae.tuning.job import pretrain_config

    winner = pretrain_config(yaml.safe_load(best))
    trainer = replace(winner.trainer, max_epochs=LONGER * base.trainer.max_epochs, seed=base.trainer.seed + OTHER_SEED)
    result = pretrain(replace(winner, trainer=trainer, monitor=replace(winner.monitor, on_collapse="warn")))
    assert result.collapse is not None
    return result.collapse
