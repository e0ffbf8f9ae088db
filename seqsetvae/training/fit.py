"""`pretrain`: from settings to a finished MLflow run, rescues included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl

from seqsetvae import names
from seqsetvae.config import MonitorConfig, PretrainConfig
from seqsetvae.console import console
from seqsetvae.errors import RunFailure
from seqsetvae.tracking.write.run import Run
from seqsetvae.training.dangers import dangers
from seqsetvae.training.interrupt import Interrupted
from seqsetvae.training.loop import fit
from seqsetvae.training.monitor.figure_thread import Draw
from seqsetvae.training.monitor.notify import Notifier, notify_url
from seqsetvae.training.monitor.rescue import rescue_config
from seqsetvae.training.plan import Plan, make_plan
from seqsetvae.training.processes import together
from seqsetvae.training.recording import PretrainResult, break_off, close_run, link, open_run, run_name
from seqsetvae.training.resume import Resume, as_before, check_resume, find_resume
from seqsetvae.training.signals import Signals, StoppedAtOnce
from seqsetvae.training.voice import say, warn


@console()
def pretrain(
    config: PretrainConfig,
    *,
    draw: Draw | None = None,
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> PretrainResult:
    """Train SeqSetVAE and record the run in MLflow: :func:`seqsetvae.app.composition.pretrain`, which hands in what draws."""
    with Signals() as signals:
        try:
            return pretrain_listening(config, draw, parent_run_id, tags or {}, callbacks, signals)
        except StoppedAtOnce as stop:
            raise Interrupted(stop.signum, None) from None


def pretrain_listening(
    config: PretrainConfig,
    draw: Draw | None,
    parent_run_id: str | None,
    tags: Mapping[str, str],
    callbacks: Sequence[pl.Callback],
    signals: Signals,
) -> PretrainResult:
    """:func:`pretrain`, while the signals are listened to."""
    resume = find_resume(config)
    if resume:
        plan = make_plan(as_before(config, resume.recipe), resume.progress)
        check_resume(plan, resume)
    else:
        plan = make_plan(config)
    with together(plan.config.trainer):
        return pretrain_plan(plan, resume, draw, parent_run_id, tags, callbacks, signals)


def pretrain_plan(
    plan: Plan,
    resume: Resume | None,
    draw: Draw | None,
    parent_run_id: str | None,
    tags: Mapping[str, str],
    callbacks: Sequence[pl.Callback],
    signals: Signals,
) -> PretrainResult:
    """The run itself and its rescues, in every process of the run."""
    say(f"SeqSetVAE pretraining\n{plan.describe()}")
    if resume is None:
        for danger in dangers(plan):
            warn(danger)
    if resume:
        say(f"  {'from':<8}{resume.path}, step {resume.steps}")
    notifier = make_notifier(plan.config.monitor)
    signals.hold()  # a run that is half open could not be closed; `train` answers what comes meanwhile
    run = open_run(plan, run_name(plan), tags, resumed=resume.recipe if resume else None, parent_run_id=parent_run_id)
    root, attempt, checkpoint, remark = parent_run_id or run.run_id, 0, resume.path if resume else None, ""
    try:
        result = train(plan, run, checkpoint, draw, notifier, callbacks, signals)
        while result.collapse and result.collapse.wants_rescue(plan.config.monitor):
            attempt += 1
            healthy = result.collapse.healthy
            milder = make_plan(rescue_config(plan.config, attempt, healthy.beta if healthy else None))
            checkpoint = healthy.path if healthy else None
            say(f"Rescue {attempt}, from {checkpoint or 'the start'}:\n{milder.describe()}")
            child_tags = {**tags, names.TAG_RESCUED_RUN: run.run_id}
            with signals.patience():
                child = open_run(milder, f"rescue {attempt}: {run_name(milder)}", child_tags, parent_run_id=root)
                run.set_tag(names.TAG_RESCUED_BY, child.run_id)
                remark = f"It goes on, with a milder objective, as {link(child)}."
                before = close_run(run, plan, result, remark, drawn=draw is not None)
                remark = f"Rescue {attempt} of {link(run)}, which collapsed."
                plan, run = milder, child
            result = train(plan, run, checkpoint, draw, notifier, callbacks, signals)
            result = replace(result, not_written=before.not_written)
        registers = plan.config.tracking.register_model and parent_run_id is None
        return close_run(run, plan, result, remark, drawn=draw is not None, register=registers)
    except StoppedAtOnce as stop:  # between two trainings, or behind the last one
        signals.end()
        break_off(run, plan, "KILLED", str(stop), "")
        raise
    finally:
        if notifier is not None:
            notifier.close()


def train(
    plan: Plan,
    run: Run,
    checkpoint: Path | None,
    draw: Draw | None,
    notifier: Notifier | None,
    callbacks: Sequence[pl.Callback],
    signals: Signals,
) -> PretrainResult:
    """Run the training loop from a plan into an open run; a run that fails or is interrupted is closed here."""
    try:
        signals.release()
        return fit(plan, run, checkpoint, draw, notifier, callbacks, signals)
    except Interrupted as stop:
        signals.end()
        how = f"--resume_from_checkpoint {stop.checkpoint}"
        break_off(run, plan, "KILLED", str(stop), f"Continue with `{how}`.")
        say(f"Stopped. Continue with {how}")
        raise
    except StoppedAtOnce as stop:
        signals.end()
        break_off(run, plan, "KILLED", str(stop), f"Continue with `--resume_from_checkpoint runs:/{run.run_id}`.")
        raise Interrupted(stop.signum, None) from None
    except BaseException as error:
        signals.end()
        # What another exception says may quote the data.
        break_off(run, plan, "FAILED", type(error).__name__, str(error) if isinstance(error, RunFailure) else "")
        raise


def make_notifier(config: MonitorConfig) -> Notifier | None:
    """Where alerts are sent, if anywhere."""
    url = notify_url(config)
    return Notifier(url) if url and not config.disable_metrics_monitoring else None
