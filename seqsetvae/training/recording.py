"""A pretraining run as MLflow gets to see it: name, settings without secrets, description, checkpoints, outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from lightning.pytorch.utilities import rank_zero_only

from seqsetvae import names
from seqsetvae.config import PretrainConfig
from seqsetvae.config.settings_io import settings_yaml
from seqsetvae.config.told import PRETRAIN, told_name, told_params
from seqsetvae.data.report import PAGE
from seqsetvae.tracking.compat.experiment_page import run_page
from seqsetvae.tracking.connection.address import recorded
from seqsetvae.tracking.write.run import Run
from seqsetvae.tracking.write.start import start_run
from seqsetvae.training.checkpoint_names import step_of
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.description import describe_end, settings
from seqsetvae.training.monitor.collapse_outcome import CollapseOutcome
from seqsetvae.training.plan import Plan, groups_of
from seqsetvae.training.pretrained.loading import lowest_nll
from seqsetvae.training.pretrained.registration import register_at_end
from seqsetvae.training.processes import from_first
from seqsetvae.training.voice import say


@dataclass(frozen=True)
class PretrainResult:
    """A run that came to its end, or that the collapse monitor ended. Of a rescued run: the last of its children."""

    run_id: str
    final_checkpoint: Path
    val_metrics: dict[str, float]
    collapse: CollapseOutcome | None
    """What the monitor saw; None if nothing was watched."""
    not_written: tuple[str, ...] = ()
    """What neither a disk nor the store has taken, in words: files, points."""

    def __repr__(self) -> str:
        metrics = "".join(f", {name} {value:.4g}" for name, value in self.val_metrics.items())
        level = "not watched" if self.collapse is None else self.collapse.level.word
        return f"<PretrainResult {self.run_id}{metrics}, collapse: {level}, {self.final_checkpoint.name}>"

    @property
    def ended_by_collapse(self) -> bool:
        """Whether the monitor ended the run before its time."""
        return self.collapse is not None and self.collapse.stopped_at is not None


def open_run(
    plan: Plan,
    name: str,
    tags: Mapping[str, str],
    *,
    resumed: Recipe | None = None,
    parent_run_id: str | None = None,
) -> Run:
    """Open the MLflow run of a plan and record what is known beforehand. A run that is continued (`resumed`) keeps its name."""
    shown = without_secrets(plan.config)
    run = start_run(
        plan.config.tracking,
        kind="pretrain",
        run_name=plan.config.tracking.run_name if resumed else name,
        params=told_params(groups_of(shown), groups_of(plan.usual), PRETRAIN),
        config_yaml=as_yaml(shown),
        tags={
            names.TAG_DATA: Path(plan.config.data.store).name,
            names.TAG_DATA_HASH: plan.data.store.content_hash,
            names.TAG_TOTAL_STEPS: str(plan.total_steps),
            **tags,
        },
        resume_run_id=resumed.run_id if resumed else None,
        parent_run_id=parent_run_id,
    )
    run.run_id, run.local_artifact_dir = from_first((run.run_id, run.local_artifact_dir))  # one run for all processes
    log_provenance(run, plan)
    run.describe(settings(plan.words()))
    say(f"  {'run':<8}{run.run_id}\n{run.where_to_look}")
    return run


def close_run(
    run: Run, plan: Plan, result: PretrainResult, remark: str = "", *, drawn: bool = False, register: bool = False
) -> PretrainResult:
    """Upload, describe and end a run that was not interrupted, and register its model if that is wanted; without the store, `sync` does.

    `drawn`: whether it has collapse figures. Returns the result, with what could not be written.
    """
    run.upload_checkpoints()
    run.describe(describe_end(run, plan, result.collapse, result.val_metrics, remark, drawn))
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in result.val_metrics.items())
    lines = [f"Stopped by the collapse monitor: {metrics}" if result.ended_by_collapse else f"Finished: {metrics}"]
    if result.collapse is not None:
        lines.append(result.collapse.verdict)
    if register:
        run.register_when_delivered()
    if result.collapse is not None and result.ended_by_collapse:
        delivered = run.finish("KILLED", f"posterior collapse at step {result.collapse.first_red_step}")
    else:
        delivered = run.finish()
    say("\n".join(lines))
    if result.final_checkpoint.is_file():
        say(f"Model: {result.final_checkpoint}")
    if best := lowest_nll(path.name for path in result.final_checkpoint.parent.glob("best_*.ckpt")):
        say(f"Best:  {best[0]}, of step {step_of(best[0])}, by its validation NLL of {best[1]:.4g} nats per set")
    say_losses(run)
    if register and delivered:
        rank_zero_only(register_now)(run, plan)
    elif register:
        say("`seqsetvae sync` registers the model once it has delivered the rest.")
    return replace(result, not_written=(*result.not_written, *run.losses))


def register_now(run: Run, plan: Plan) -> None:
    """Register the model of a run that has arrived in the store as a whole."""
    if register_at_end(run.run_id, replace(plan.config.tracking, tracking_uri=run.tracking_uri)):
        run.registered()
    else:
        say("`seqsetvae sync` tries again.")


def break_off(run: Run, plan: Plan, status: Literal["FAILED", "KILLED"], reason: str, advice: str) -> None:
    """Upload, describe and end a run that was interrupted or cannot go on."""
    run.upload_checkpoints()
    run.describe(f"⏹️ **Broken off: {reason}.** {advice}".strip() + f"\n\n{settings(plan.words())}")
    run.finish(status, reason)
    say_losses(run)


def say_losses(run: Run) -> None:
    """The last word of a run to which a disk was full."""
    if run.losses:
        say(f"NOT WRITTEN: {'; '.join(run.losses)}.")


def link(run: Run) -> str:
    """Markdown that leads to another run."""
    return f"[run {run.run_id[:8]}](#{run_page(run.experiment_id, run.run_id)})"


def log_provenance(run: Run, plan: Plan) -> None:
    """What the run has read, as an MLflow dataset input, and the report of those who prepared it (stores of before have none)."""
    store = plan.data.store
    profile = {split: {"patients": store.n_subjects(split), "events": store.n_events(split)} for split in store.splits}
    run.log_dataset(plan.config.data.store, store.content_hash, str(store.path), profile=profile)
    if (report := store.path / PAGE).is_file():
        run.log_file(report, names.ARTIFACT_DATA_REPORT)


def run_name(plan: Plan) -> str:
    """As given, else short and telling in a list of runs, which shows the first 22 letters: what runs differ in comes first."""
    config = plan.config
    objective = config.objective
    held = objective.beta_schedule == "controller"
    goal = f"KL {objective.kl_target:g}" if held else f"beta {objective.max_beta:g}"
    main = f"{goal} {objective.beta_schedule}, z {config.model.latent_dim}, {Path(config.data.store).name}"
    said = ("max_beta", "beta_schedule", "beta_warmup_power", "latent_dim", "store", "kl_target")
    return config.tracking.run_name or told_name(main, plan.changed, said)


def without_secrets(config: PretrainConfig) -> PretrainConfig:
    """The settings as they may be recorded: the address that alerts go to often holds a password or a token, that of a store may."""
    return replace(config, monitor=replace(config.monitor, notify=None), tracking=recorded(config.tracking))


def as_yaml(config: PretrainConfig) -> str:
    """The settings as `--config` takes them back, to start a like run: where this one was resumed from is left out."""
    started = replace(config, trainer=replace(config.trainer, resume_from_checkpoint=None))
    return settings_yaml(asdict(started))
