"""`tune`: the command that makes a study, starts workers, shows how it goes, and records what was found in the study's parent run."""

from __future__ import annotations

import logging
import queue
import time
from dataclasses import asdict, dataclass, replace

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.study import Study

from seqsetvae import names
from seqsetvae.config import PretrainConfig, SpaceConfig, TuneConfig
from seqsetvae.config.settings_io import settings_yaml
from seqsetvae.config.told import TUNE, told_params
from seqsetvae.console import console
from seqsetvae.errors import InputError, RunFailure, StoppedBySignal
from seqsetvae.threads import sleep_soon
from seqsetvae.tracking.connection.address import recorded, without_password
from seqsetvae.tracking.write.start import start_run
from seqsetvae.training.beta_forecast import forecast_for
from seqsetvae.training.plan import groups_of, make_plan
from seqsetvae.training.signals import Signals, StoppedAtOnce
from seqsetvae.tuning import slots
from seqsetvae.tuning.job import Job
from seqsetvae.tuning.parent_run import ParentRun, settle_all
from seqsetvae.tuning.progress import StudyProgress
from seqsetvae.tuning.results import Results
from seqsetvae.tuning.space import check_base, settled
from seqsetvae.tuning.storage import close_storage, exclusive, open_storage, resolve_storage
from seqsetvae.tuning.study import (
    check_leader,
    find_study,
    new_name,
    open_study,
    recorded_parent,
    sign_of_life,
)
from seqsetvae.tuning.workers import Workers

_log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
LIFE_SECONDS = 20.0
HOPELESS = 3
"""A sweep whose first so many trials all fail is given up."""


@dataclass(frozen=True)
class TuneResult:
    """A study that came to its end."""

    study: str
    run_id: str
    """The parent run."""
    results: Results
    best_config: str
    """YAML for `--config` of `pretrain`."""

    def __repr__(self) -> str:
        return f"<TuneResult {self.study!r}, run {self.run_id}: {self.results}>"


@console()
def tune(base: PretrainConfig, space: SpaceConfig, config: TuneConfig) -> TuneResult | None:
    """Search the space with trials of `base`, each a child run of one parent run. None from a command that only helped (`join`).

    Raises:
        InputError: something the user gave cannot work; nothing was started.
        RunFailure: no trial keeps the constraints, or trials or workers keep failing.
        StoppedBySignal: on request. The same command with the study's name continues.
    """
    sleep_soon()
    check_base(base, space, config)
    plan = make_plan(base)
    space = settled(space, lambda: forecast_for(plan))
    job = Job(
        base=base,
        space=space,
        tune=config,
        storage=resolve_storage(config.storage),
        study=config.study or new_name(),
        parent_run_id="",
        total_steps=plan.total_steps,
    )
    storage = open_storage(job.storage, config.heartbeat_seconds)
    try:
        study = find_study(job, storage)
        with Signals() as signals:
            if config.join:
                help_out(job, study, signals)
                return None
            return lead(job, storage, study, signals)
    except StoppedAtOnce as stop:
        raise StoppedBySignal(stop.signum) from None
    finally:
        close_storage(storage)


def help_out(job: Job, study: Study | None, signals: Signals) -> None:
    """Run trials of a study that another command leads, until none is left."""
    parent = recorded_parent(study) if study else None
    if study is None or parent is None:
        raise InputError(f"--tune.join: there is no study {job.study!r} in {without_password(job.storage)} yet.")
    job = replace(job, parent_run_id=parent)
    workers = Workers(job, job.folder)
    progress = StudyProgress(study.user_attrs["n_trials"])
    signals.be_patient(True)
    try:
        workers.start()
        while workers.alive():
            signals.check()
            listen(workers, progress, POLL_SECONDS)
            workers.replace_dead()
    finally:
        workers.stop()


def lead(job: Job, storage: BaseStorage, study: Study | None, signals: Signals) -> TuneResult:
    """Open the parent run and the study, have it worked on, record what was found."""
    if study is not None:
        check_leader(study)
    signals.be_patient(True)  # from here on something would be left half open
    signals.hold()
    run = start_run(
        job.base.tracking,
        kind="tune",
        run_name=job.base.tracking.run_name or job.study,
        params=recorded_params(job),
        config_yaml=settings_yaml(recorded_settings(job)),
        tags={names.TAG_STUDY: job.study},
        resume_run_id=recorded_parent(study) if study else None,
    )
    job = replace(job, parent_run_id=run.run_id)
    parent = ParentRun(run, job)
    try:
        signals.release()
        study = open_study(job, storage)
        _log.info(parent.heading())
        try:
            supervise(job, storage, study, parent, signals)
        finally:
            sign_of_life(study, ended=True)
            settle_all(job, run.experiment_id, study)
            results = parent.final(study)
        signals.end()
        if results.best is None:
            raise RunFailure(
                f"None of the {len(results.rows)} trials of study {job.study} came to an end with its latents in use. Lower "
                "--space.max_beta_range, or give trials more steps (--trainer.max_epochs)."
            )
    except StorageInternalError as error:
        signals.end()
        run.finish("FAILED", "the study's storage was lost")
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunFailure(
            f"The storage {without_password(job.storage)} was lost: {first_line} Once it is back, continue with --tune.study {job.study}"
        ) from error
    except StoppedAtOnce as stop:
        signals.end()
        run.finish("KILLED", str(stop))
        _log.info(f"Stopped. Continue with --tune.study {job.study}")
        raise
    except BaseException as error:
        signals.end()
        run.finish("FAILED", type(error).__name__)
        raise
    run.finish()
    return TuneResult(job.study, run.run_id, results, parent.best_config(results))


def supervise(job: Job, storage: BaseStorage, study: Study, parent: ParentRun, signals: Signals) -> None:
    """Keep workers at work until no trial of the study is open, on whatever machine, or a signal asks for the end."""
    workers = Workers(job, job.folder)
    progress = StudyProgress(study.user_attrs["n_trials"])
    seen, lively = parent.seen(study), time.monotonic()
    try:
        workers.start()
        while put_back(job, storage, study, progress):
            signals.check()
            workers.replace_dead()
            listen(workers, progress, POLL_SECONDS)
            if ended := parent.news(study, seen):
                for line in ended:
                    progress.say(line)
                progress.finished, progress.best = parent.standing(study)
                check_hope(study, seen)
            if time.monotonic() - lively > LIFE_SECONDS:
                sign_of_life(study)
                lively = time.monotonic()
            progress.draw()
        for line in parent.news(study, seen):
            progress.say(line)
        workers.wait()
    finally:
        workers.stop()


def put_back(job: Job, storage: BaseStorage, study: Study, progress: StudyProgress) -> int:
    """Give the slots of lost trials another one, also where a worker was asked to end and nobody else. Returns how many trials are open."""
    with exclusive(job.storage, job.study):
        for number in slots.give_up_vanished(study, storage):
            progress.forget(number)
        slots.fill_slots(study, study.user_attrs["n_trials"], job.tune.max_retries)
    return slots.unfinished(study)


def check_hope(study: Study, seen: set[int]) -> None:
    """Give up when everything fails.

    Raises:
        RunFailure: quotes the first reason.
    """
    reasons = [study.get_trials(deepcopy=False)[number].user_attrs.get(slots.FAILURE) for number in sorted(seen)]
    if len(reasons) >= HOPELESS and all(reasons):
        raise RunFailure(f"The first {len(reasons)} trials have all failed: {reasons[0]}")


def listen(workers: Workers, progress: StudyProgress, seconds: float) -> None:
    """Take the workers' events for a while."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:
            progress.take(workers.events.get(timeout=left))
        except queue.Empty:
            return


def recorded_settings(job: Job) -> dict[str, object]:
    """Of the parent run: what is searched and how, and what all trials share."""
    base = asdict(replace(job.base, tracking=recorded(job.base.tracking)))
    base["monitor"]["notify"] = None
    return {**base, "space": asdict(job.space), "tune": asdict(settled_tune(job))}


def recorded_params(job: Job) -> dict[str, object]:
    """What of it a person looks for first, and what is not as usual."""
    groups = {**groups_of(job.base), "space": job.space, "tune": settled_tune(job)}
    usual = {**groups_of(PretrainConfig()), "space": SpaceConfig(), "tune": TuneConfig()}
    return told_params(groups, usual, TUNE)


def settled_tune(job: Job) -> TuneConfig:
    """With the study's name and storage."""
    return replace(job.tune, storage=without_password(job.storage), study=job.study)
