"""`pretrain`: from settings to a finished MLflow run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import yaml
from lightning.pytorch.utilities import rank_zero_only

from seqsetvae import names
from seqsetvae.config import MonitorConfig, PretrainConfig
from seqsetvae.tracking.run import Run
from seqsetvae.tracking.runs import start_run
from seqsetvae.training.checkpoints import (
    AtomicCheckpointIO,
    Recipe,
    RecipeWriter,
    checkpoint_callbacks,
)
from seqsetvae.training.collapse_monitor import CollapseMonitor
from seqsetvae.training.collapse_outcome import CollapseOutcome
from seqsetvae.training.collapse_record import CollapseRecord
from seqsetvae.training.figure_thread import Draw
from seqsetvae.training.healthy_checkpoints import HealthyCheckpoints
from seqsetvae.training.interrupt import Interrupted, StopSafely
from seqsetvae.training.module import PretrainModule
from seqsetvae.training.notify import Notifier, notify_url
from seqsetvae.training.plan import Plan, make_plan
from seqsetvae.training.registration import register_at_end
from seqsetvae.training.rescue import beta_outlook, rescue_config
from seqsetvae.training.resume import check_resume, find_resume
from seqsetvae.training.step_logging import RunProgressBar, StepLogging


@dataclass(frozen=True)
class PretrainResult:
    """A run that came to its end, or that the collapse monitor ended. Of a rescued run: the last of its children."""

    run_id: str
    final_checkpoint: Path
    val_metrics: dict[str, float]
    collapse: CollapseOutcome | None
    """What the monitor saw; None if nothing was watched."""


def pretrain(
    config: PretrainConfig,
    *,
    draw: Draw | None = None,
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> PretrainResult:
    """Train SeqSetVAE and record the run in MLflow.

    Args:
        config: the settings; gaps are filled from the hardware, the data and the length of the run, and printed.
        draw: makes the collapse figures; None: no figures.
        parent_run_id: the run under which the UI shows this one.
        tags: more tags of the run.
        callbacks: more callbacks of the trainer.

    Raises:
        InputError: something the user gave cannot work; nothing was started.
        Interrupted: SIGINT or SIGTERM; `interrupted_*.ckpt` continues from there, and the run's status is KILLED.
        RunFailure: training cannot go on; `error_*.ckpt` has its state.
    """
    resume = find_resume(config)
    plan = make_plan(config)
    if resume:
        check_resume(plan, resume[1])
    say(f"SeqSetVAE pretraining\n{plan.describe()}")
    notifier = make_notifier(plan.config.monitor)
    name = config.tracking.run_name or default_name(plan.config)
    run = open_run(
        plan, name, tags or {}, resume_run_id=resume[1].run_id if resume else None, parent_run_id=parent_run_id
    )
    root, attempt, checkpoint = parent_run_id or run.run_id, 0, resume[0] if resume else None
    try:
        result = train(plan, run, checkpoint, draw, notifier, callbacks)
        while result.collapse and result.collapse.wants_rescue(plan.config.monitor):
            attempt += 1
            healthy = result.collapse.healthy
            milder = make_plan(rescue_config(plan.config, attempt, healthy.beta if healthy else None))
            checkpoint = healthy.path if healthy else None
            say(f"Rescue {attempt}, from {checkpoint or 'the start'}:\n{milder.describe()}")
            child_tags = {**(tags or {}), names.TAG_RESCUED_RUN: run.run_id}
            child = open_run(milder, f"{name} rescue {attempt}", child_tags, parent_run_id=root)
            run.set_tag(names.TAG_RESCUED_BY, child.run_id)
            close_run(run, plan, result, f"It goes on as run {child.run_id} with a milder objective.")
            plan, run = milder, child
            result = train(plan, run, checkpoint, draw, notifier, callbacks)
        close_run(run, plan, result)
        if plan.config.tracking.register_model and parent_run_id is None:
            register_at_end(run.run_id, plan.config.tracking)
        return result
    finally:
        if notifier is not None:
            notifier.close()


def open_run(
    plan: Plan,
    name: str,
    tags: Mapping[str, str],
    *,
    resume_run_id: str | None = None,
    parent_run_id: str | None = None,
) -> Run:
    """Open the MLflow run of a plan and record what is known beforehand."""
    recorded = without_secrets(plan.config)
    run = start_run(
        plan.config.tracking,
        kind="pretrain",
        run_name=name,
        params=asdict(recorded),
        config_yaml=as_yaml(recorded),
        tags={
            names.TAG_DATA_HASH: plan.data.store.content_hash,
            names.TAG_TOTAL_STEPS: str(plan.total_steps),
            **tags,
        },
        resume_run_id=resume_run_id,
        parent_run_id=parent_run_id,
    )
    log_provenance(run, plan)
    run.describe(as_markdown(plan.describe()))
    say(f"  {'run':<8}{run.run_id}\n  {'look':<8}{run.ui_link}")
    return run


def train(
    plan: Plan,
    run: Run,
    checkpoint: Path | None,
    draw: Draw | None,
    notifier: Notifier | None,
    callbacks: Sequence[pl.Callback],
) -> PretrainResult:
    """Run the training loop from a plan into an open run; a run that fails or is interrupted is closed here."""
    try:
        return fit(plan, run, checkpoint, draw, notifier, callbacks)
    except Interrupted as stop:
        upload_checkpoints(run)
        run.finish("KILLED", str(stop))
        say(f"Stopped. Continue with --resume_from_checkpoint {stop.checkpoint}")
        raise
    except BaseException as error:
        upload_checkpoints(run)
        run.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", type(error).__name__)
        raise


def close_run(run: Run, plan: Plan, result: PretrainResult, remark: str = "") -> None:
    """Upload, describe and end a run that was not interrupted."""
    upload_checkpoints(run)
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in result.val_metrics.items())
    outcome = result.collapse
    stopped = outcome is not None and outcome.stopped_at is not None
    lines = [f"Stopped by the collapse monitor: {metrics}" if stopped else f"Finished: {metrics}"]
    if outcome is not None:
        lines.append(outcome.verdict)
    lines += [remark] if remark else []
    run.describe("\n\n".join([*lines, as_markdown(plan.describe())]))
    if outcome is not None and outcome.stopped_at is not None:
        run.finish("KILLED", f"posterior collapse at step {outcome.first_red_step}")
    else:
        run.finish()
    say("\n".join(lines))
    say(f"Model: {result.final_checkpoint}")


def fit(
    plan: Plan,
    run: Run,
    checkpoint: Path | None,
    draw: Draw | None,
    notifier: Notifier | None,
    more: Sequence[pl.Callback],
) -> PretrainResult:
    """The training loop itself."""
    config = plan.config.trainer
    module = PretrainModule(plan.config, plan.build_model(), plan.total_steps)
    if config.compile_model:
        module.vae.compile(dynamic=plan.config.data.use_dynamic_padding)
    folder = run.checkpoint_dir
    recipe = Recipe.of(without_secrets(plan.config), plan.data.vocabulary, plan.total_steps, run.run_id)
    monitor = make_monitor(plan, run, draw, notifier)
    with warnings.catch_warnings():
        quiet_lightning()
        callbacks: list[pl.Callback] = [
            StepLogging(config.log_every_n_steps),
            *([monitor] if monitor else []),
            *more,
            RecipeWriter(recipe, run.persist),
            *checkpoint_callbacks(folder, plan.config),
            StopSafely(folder),
        ]
        if config.progress_bar:
            callbacks.append(RunProgressBar())
        trainer = make_trainer(plan, run, callbacks)
        trainer.fit(module, datamodule=plan.data, ckpt_path=checkpoint, weights_only=True)
        outcome = monitor.outcome if monitor else None
        ending = "final" if outcome is None or outcome.stopped_at is None else "collapsed"
        final = folder / f"{ending}_{trainer.global_step:07d}.ckpt"
        trainer.save_checkpoint(final)
    validated = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return PretrainResult(run.run_id, final, validated, outcome)


def make_monitor(plan: Plan, run: Run, draw: Draw | None, notifier: Notifier | None) -> CollapseMonitor | None:
    """The monitor of a run, or None where it is switched off."""
    config = plan.config.monitor
    if config.disable_metrics_monitoring:
        return None
    subject = default_name(plan.config)
    return CollapseMonitor(
        config,
        outlook=beta_outlook(plan.config.objective, plan.total_steps),
        record=CollapseRecord(run, config.log_dir, config.verbose, notifier, subject),
        draw=draw,
        healthy=HealthyCheckpoints(run.checkpoint_dir),
        title=subject,
    )


def make_notifier(config: MonitorConfig) -> Notifier | None:
    """Where alerts are sent, if anywhere."""
    url = notify_url(config)
    return Notifier(url) if url and not config.disable_metrics_monitoring else None


def make_trainer(plan: Plan, run: Run, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Lightning's trainer with everything off that this project does itself or does not want on the hot path."""
    config = plan.config.trainer
    assert config.precision != "auto", "a plan is settled"
    options: dict[str, Any] = {"strategy": "ddp"} if config.devices > 1 else {}
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        precision=config.precision,
        max_epochs=config.max_epochs,
        max_steps=config.max_steps or -1,
        accumulate_grad_batches=config.gradient_accumulation_steps,
        val_check_interval=config.val_check_interval,
        limit_val_batches=config.limit_val_batches,
        num_sanity_val_steps=0,
        logger=run.logger,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=config.progress_bar,
        enable_model_summary=False,
        log_every_n_steps=config.log_every_n_steps,
        use_distributed_sampler=False,
        default_root_dir=str(run.work_dir),
        **options,
    )


def quiet_lightning() -> None:
    """Silence the advice that does not hold here, and only that."""
    for message in (
        ".*does not have many workers.*",  # a batch is one memory-mapped gather: workers would only add copies
        ".*smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run continues in its own folder
        "The dirpath has changed.*",  # a rescue continues in a folder of its own
        ".*isinstance.treespec, LeafSpec.*",  # Lightning walks batches with what PyTorch 2.13 deprecates
    ):
        warnings.filterwarnings("ignore", message=message)
    for noisy in ("lightning.pytorch", "lightning.fabric"):  # what they report stands in the plan already
        logging.getLogger(noisy).setLevel(logging.WARNING)


@rank_zero_only
def say(message: str) -> None:
    """Print, once: with several devices every process comes by here."""
    print(message, flush=True)


def without_secrets(config: PretrainConfig) -> PretrainConfig:
    """The settings as they may be recorded: the address that alerts go to often holds a password or a token."""
    return replace(config, monitor=replace(config.monitor, notify=None))


def as_yaml(config: PretrainConfig) -> str:
    """The settings as `--config` takes them back, to start a like run: where this one was resumed from is left out."""
    started = replace(config, trainer=replace(config.trainer, resume_from_checkpoint=None))
    return str(yaml.safe_dump(asdict(started), sort_keys=False))


def as_markdown(plan: str) -> str:
    """The lines of a plan as a list, for the description of the run.

    >>> as_markdown("  data    demo: train 320")
    '- **data** demo: train 320'
    """
    return "\n".join("- **{}** {}".format(*line.split(maxsplit=1)) for line in plan.splitlines())


def log_provenance(run: Run, plan: Plan) -> None:
    """What the run has read, as an MLflow dataset input."""
    store = plan.data.store
    profile = {split: {"patients": store.n_subjects(split), "events": store.n_events(split)} for split in store.splits}
    run.log_dataset(plan.config.data.store, store.content_hash, str(store.path), profile=profile)


def upload_checkpoints(run: Run) -> None:
    """Send the checkpoints to a remote store; in a local one they lie among the artifacts already."""
    if run.checkpoint_dir.is_dir():
        for path in sorted(run.checkpoint_dir.glob("*.ckpt")):
            run.log_file(path, f"{names.ARTIFACT_CHECKPOINTS}/{path.name}", copy=False)


def default_name(config: PretrainConfig) -> str:
    """Short and telling in a list of runs.

    >>> default_name(PretrainConfig())
    'pretrain demo beta=0.1 linear z=256'
    """
    objective = config.objective
    return (
        f"pretrain {Path(config.data.store).name} beta={objective.max_beta:g} {objective.beta_schedule} "
        f"z={config.model.latent_dim}"
    )
