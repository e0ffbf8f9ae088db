"""The training loop of one run, and Lightning's trainer as this project wants it."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

from seqsetvae.atomic import sweep
from seqsetvae.tracking.write.run import Run
from seqsetvae.training.checkpoint_writing import AtomicCheckpointIO, RecipeWriter, checkpoint_callbacks
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.finite_validation import FiniteValidation
from seqsetvae.training.graphs import StepGraphs
from seqsetvae.training.interrupt import StopSafely
from seqsetvae.training.module import PretrainModule
from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor
from seqsetvae.training.monitor.figure_thread import Draw
from seqsetvae.training.monitor.healthy_checkpoints import HealthyCheckpoints
from seqsetvae.training.monitor.notify import Notifier
from seqsetvae.training.monitor.run_outlets import RunOutlets
from seqsetvae.training.place import PlaceKeeper, ResumableFitLoop
from seqsetvae.training.plan import Plan
from seqsetvae.training.recording import PretrainResult, run_name, without_secrets
from seqsetvae.training.signals import Signals
from seqsetvae.training.step_logging import RunProgressBar, StepLogging

PAUSES_FOR_THE_LAST = (1.0, 4.0, 10.0)
"""Seconds between attempts to write the last checkpoint to a full disk."""


def fit(
    plan: Plan,
    run: Run,
    checkpoint: Path | None,
    draw: Draw | None,
    notifier: Notifier | None,
    more: Sequence[pl.Callback],
    signals: Signals | None = None,
) -> PretrainResult:
    """The training loop itself."""
    config = plan.config.trainer
    module = PretrainModule(plan.config, plan.build_model(), plan.total_steps)
    if config.compile_model:
        module.vae.compile(dynamic=plan.config.data.use_dynamic_padding)
    folder = run.checkpoint_dir
    sweep(folder)
    recipe = Recipe.of(without_secrets(plan.config), plan.data.vocabulary, plan.total_steps, run.run_id)
    keeper = PlaceKeeper(plan.batches_per_epoch)
    steps = StepLogging(config.log_every_n_steps)
    monitor = make_monitor(plan, run, draw, notifier)
    with warnings.catch_warnings():
        quiet_lightning()
        callbacks: list[pl.Callback] = [
            keeper,  # first, as it says why
            steps,
            FiniteValidation(plan.data.store, plan.config.data.max_sequence_length),
            *([monitor] if monitor else []),
            *more,
            *([StepGraphs()] if plan.by_graphs else []),
            RecipeWriter(recipe, run.persist),
            *checkpoint_callbacks(folder, plan.config, run.run_id, lambda: monitor is not None and monitor.is_red),
            StopSafely(folder, signals),
        ]
        if config.progress_bar:
            callbacks.append(RunProgressBar())
        files = AtomicCheckpointIO(signals)
        trainer = make_trainer(plan, run, callbacks, files)
        trainer.fit_loop = ResumableFitLoop(trainer, keeper)
        try:
            trainer.fit(module, datamodule=plan.data, ckpt_path=checkpoint, weights_only=True)
            ending = "final" if monitor is None or monitor.stopped_at is None else "collapsed"
            final = folder / f"{ending}_{trainer.global_step:07d}.ckpt"
            save_at_last(trainer, final)
        finally:
            for name, reason in files.failed.items():
                run.not_written(f"{folder / name} ({reason})")
    return PretrainResult(run.run_id, final, steps.validated, monitor.outcome if monitor else None)


def make_monitor(plan: Plan, run: Run, draw: Draw | None, notifier: Notifier | None) -> CollapseMonitor | None:
    """The monitor of a run, or None where it is switched off."""
    config = plan.config.monitor
    if config.disable_metrics_monitoring:
        return None
    subject = run_name(plan)
    return CollapseMonitor(
        config,
        outlets=RunOutlets(run, config.log_dir, config.verbose, notifier, subject),
        draw=draw,
        healthy=HealthyCheckpoints(run.checkpoint_dir, run_id=run.run_id),
        title=subject,
    )


def save_at_last(trainer: pl.Trainer, path: Path) -> None:
    """Write what the whole run was for; a disk that is full is asked again for a while."""
    for pause in (*PAUSES_FOR_THE_LAST, 0.0):
        trainer.save_checkpoint(path)
        if path.is_file() or not trainer.is_global_zero:
            return
        time.sleep(pause)


def make_trainer(plan: Plan, run: Run, callbacks: list[pl.Callback], files: AtomicCheckpointIO) -> pl.Trainer:
    """Lightning's trainer with everything off that this project does itself or does not want on the hot path."""
    config = plan.config.trainer
    several = config.devices * config.num_nodes > 1
    # The buffers are constants, or the same everywhere: not to be sent at every step.
    options: dict[str, Any] = (
        {"strategy": DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)} if several else {}
    )
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        precision=config.precision,
        max_epochs=config.max_epochs,
        max_steps=config.max_steps or -1,
        accumulate_grad_batches=config.gradient_accumulation_steps,
        val_check_interval=plan.validate_every,
        limit_val_batches=config.limit_val_batches,
        num_sanity_val_steps=0,
        logger=run.logger,
        callbacks=callbacks,
        plugins=[files, *([TorchElasticEnvironment()] if several else [])],
        enable_progress_bar=config.progress_bar,
        enable_model_summary=False,
        log_every_n_steps=config.log_every_n_steps,
        use_distributed_sampler=False,
        default_root_dir=str(run.work_dir),
        **options,
    )


def train_unrecorded(plan: Plan, callbacks: list[pl.Callback]) -> None:
    """Train a plan on the CPU for its steps with nothing around it: no run, checkpoint, validation or progress bar."""
    with warnings.catch_warnings():
        quiet_lightning()
        pl.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=-1,
            max_steps=plan.total_steps,
            limit_val_batches=0,
            logger=False,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        ).fit(PretrainModule(plan.config, plan.build_model(), plan.total_steps), datamodule=plan.data)


def quiet_lightning() -> None:
    """Silence the advice that does not hold here, and only that."""
    for message in (
        ".*does not have many workers.*",  # a batch is one memory-mapped gather: workers would only add copies
        ".*smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run continues in its own folder
        ".*callbacks used to create the checkpoint need to be provided.*",  # one of an earlier release had others
        ".*lr_scheduler.step.* before .*optimizer.step.*",  # the first steps with a loss scale, which are left out where it overflows
        ".*isinstance.treespec, LeafSpec.*",  # Lightning walks batches with what PyTorch 2.13 deprecates
    ):
        warnings.filterwarnings("ignore", message=message)
    for noisy in ("lightning.pytorch", "lightning.fabric"):  # what they report stands in the plan already
        logging.getLogger(noisy).setLevel(logging.WARNING)
