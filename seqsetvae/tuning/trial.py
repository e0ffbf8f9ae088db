"""One trial: a pretraining run, watched, and ended early where it is lost."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import Trial, TrialState

from seqsetvae import names
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.config import PretrainConfig
from seqsetvae.config.settling import first_height, settle_monitor, settle_objective
from seqsetvae.errors import RunFailure
from seqsetvae.figures.collapse import draw_collapse
from seqsetvae.training.fit import pretrain
from seqsetvae.training.interrupt import Interrupted
from seqsetvae.training.monitor.watching import WatcherCallback
from seqsetvae.training.recording import PretrainResult
from seqsetvae.tuning import slots
from seqsetvae.tuning.job import Job
from seqsetvae.tuning.scoring import TrialHealth, constraints, history_missed, values
from seqsetvae.tuning.space import suggest, trial_config

_log = logging.getLogger(__name__)

# User attributes of a trial, besides those of slots.py and of scoring.Evidence.
RUN_ID = "run_id"
REASON = "reason"
STEPS = "steps"
PLANNED = "planned_steps"
SECONDS = "training_seconds"
VAL_RECON = "val_recon"
"""The last validation NLL, also of a trial that was pruned."""
HISTORY_MISSED = "history_missed"
"""What the heads on the history missed at that validation."""

Emit = Callable[[dict[str, Any]], None]
"""Takes an event: plain values by name."""


class TrialWatcher:
    """Passes on how a trial goes, and asks the ordinary pruner, but never before the trial's beta has warmed up.

    Args:
        trial: of Optuna.
        warmup_steps: optimizer steps until beta is at its height for the first time.
        may_prune: whether there is an ordinary pruner.
        total_steps: optimizer steps of the whole trial.
        emit: takes the events.
    """

    def __init__(self, trial: Trial, warmup_steps: int, may_prune: bool, total_steps: int, emit: Emit) -> None:
        self.trial = trial
        self.warmup_steps = warmup_steps
        self.may_prune = may_prune
        self.total_steps = total_steps
        self.emit = emit
        self.best = math.inf
        self.pruned_at: int | None = None

    def started(self, run_id: str) -> None:
        self.trial.set_user_attr(RUN_ID, run_id)
        self.stepped(0, Level.GREEN)

    def stepped(self, step: int, level: Level) -> None:
        best = self.best if math.isfinite(self.best) else None
        self.emit({"step": step, "total": self.total_steps, "level": level.word, "best": best})

    def validated(self, step: int, metrics: Mapping[str, float]) -> bool:
        nll = metrics[names.VAL_RECON]
        if not math.isfinite(nll):
            return False
        self.best = min(self.best, nll)
        if not self.may_prune or step < self.warmup_steps or step >= self.total_steps:
            return False
        self.trial.report(nll, step)
        if self.trial.should_prune():
            self.pruned_at = step
        return self.pruned_at is not None


def run_trial(trial: Trial, study: Study, job: Job, emit: Emit) -> None:
    """Train with the trial's parameters, and tell the study and the trial's MLflow run what came of it.

    Raises:
        Interrupted, KeyboardInterrupt: on request; the trial is left to be tried again.
    """
    params = suggest(trial, job.space, job.base)
    config = trial_config(job.base, params, job.total_steps, prune=job.tune.prune_collapsed)
    config = replace(config, tracking=replace(config.tracking, run_name=run_name(trial.number, params)))
    if config.monitor.log_dir is not None:
        own_folder = f"{config.monitor.log_dir}/trial_{trial.number}"
        config = replace(config, monitor=replace(config.monitor, log_dir=own_folder))
    warmup_steps = first_height(settle_objective(config.objective, job.total_steps), job.total_steps)
    may_prune = job.tune.goal == "constrained" and job.tune.pruner != "none"
    watcher = TrialWatcher(trial, warmup_steps, may_prune, job.total_steps, emit)
    watched = WatcherCallback(watcher)
    tags = {
        names.TAG_STUDY: job.study,
        names.TAG_TRIAL: str(trial.number),
        names.TAG_TRIAL_STATE: "running",
        names.TAG_THREADS: str(torch.get_num_threads()),
    }
    try:
        result = pretrain(config, draw=draw_collapse, parent_run_id=job.parent_run_id, tags=tags, callbacks=[watched])
    except (Interrupted, KeyboardInterrupt):
        trial.set_user_attr(slots.INTERRUPTED, True)
        tell(study, trial, TrialState.FAIL)
        raise
    except Exception as error:
        _log.info(traceback.format_exc())
        first_line = (str(error).splitlines() or [""])[0]
        record_failure(
            study, trial, first_line if isinstance(error, RunFailure) else f"{type(error).__name__}: {first_line}"
        )
        return
    trial.set_user_attr(STEPS, watched.last_step)
    trial.set_user_attr(PLANNED, job.total_steps)
    trial.set_user_attr(SECONDS, watched.seconds)
    conclude(study, trial, job, config, result, watcher.pruned_at)


def conclude(
    study: Study, trial: Trial, job: Job, config: PretrainConfig, result: PretrainResult, pruned_at: int | None
) -> None:
    """Judge a run that has ended by itself, or was ended by the monitor or by the pruner."""
    outcome = result.collapse
    nll = result.val_metrics.get(names.VAL_RECON, math.nan)
    if math.isfinite(nll):
        trial.set_user_attr(VAL_RECON, nll)
        trial.set_user_attr(HISTORY_MISSED, history_missed(result.val_metrics))
    if outcome is None or outcome.last is None:
        record_failure(study, trial, "the run was too short to measure whether the latents are in use")
        return
    evidence = TrialHealth.of(outcome.last, outcome.worst)
    for key, value in evidence.attributes().items():
        trial.set_user_attr(key, value)
    for key, missed in constraints(evidence, settle_monitor(config.monitor, job.total_steps)).items():
        trial.set_constraint(key, missed)
    if outcome.stopped_at is not None:
        trial.set_user_attr(REASON, f"posterior collapse, red since step {outcome.first_red_step}")
        tell(study, trial, TrialState.PRUNED)
    elif pruned_at is not None:
        trial.set_user_attr(
            REASON, f"{job.tune.pruner} pruner: validation NLL {nll:.4g} at step {pruned_at} falls behind"
        )
        tell(study, trial, TrialState.PRUNED)
    elif not math.isfinite(nll):
        record_failure(study, trial, f"the validation NLL is {nll}")
    else:
        tell(study, trial, TrialState.COMPLETE, values(result.val_metrics, evidence, job.tune))


def record_failure(study: Study, trial: Trial, reason: str) -> None:
    """A failure that would come again: the slot gets no other trial."""
    trial.set_user_attr(slots.FAILURE, reason)
    trial.set_user_attr(REASON, reason)
    tell(study, trial, TrialState.FAIL)


def tell(study: Study, trial: Trial, state: TrialState, found: list[float] | None = None) -> None:
    """End a trial. One that was taken for vanished meanwhile, because its signs of life did not get through, stays as it is."""
    with suppress(UpdateFinishedTrialError):
        study.tell(trial, found, state, skip_if_finished=True)


def run_name(number: int, params: Mapping[str, Any]) -> str:
    """Short and telling in a list of runs.

    >>> run_name(7, {"max_beta": 0.51234, "beta_schedule": "linear"})
    'trial 7: max_beta=0.512 beta_schedule=linear'
    """
    shown = (f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items())
    return f"trial {number}: {' '.join(shown)}"
