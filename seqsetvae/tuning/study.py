"""Opening a study: a new one, or one that exists and fits."""

from __future__ import annotations

import secrets
import socket
import time
from dataclasses import asdict
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study

from seqsetvae import names
from seqsetvae.errors import InputError
from seqsetvae.tracking.params import flatten
from seqsetvae.tracking.write.ownership import is_alive, owner_tags
from seqsetvae.tuning import slots
from seqsetvae.tuning.job import Job
from seqsetvae.tuning.scoring import directions
from seqsetvae.tuning.storage import exclusive

# User attributes of a study.
SETTINGS = "settings"
PARENT_RUN = "parent_run_id"
N_TRIALS = "n_trials"
LEADER = "leader"
"""The process that leads, with the time of its last sign of life."""
LEADER_SECONDS = 120
"""A leader on another machine that was silent this long is gone."""


def new_name() -> str:
    """Of a study that was given none."""
    return f"tune-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def find_study(job: Job, storage: BaseStorage) -> Study | None:
    """The study of this name; None where there is none.

    Raises:
        InputError: it searches something else.
    """
    if job.study not in optuna.get_all_study_names(storage):
        return None
    study = optuna.load_study(study_name=job.study, storage=storage)
    if SETTINGS in study.user_attrs:
        check_same(job, study.user_attrs[SETTINGS])
    return study


def check_same(job: Job, recorded: dict[str, str]) -> None:
    """Trials of different search spaces, data or lengths cannot be compared."""
    wanted = settings_of(job)
    differing = [key for key in sorted(wanted.keys() | recorded.keys()) if wanted.get(key) != recorded.get(key)]
    if differing:
        told = "; ".join(f"{key} was {recorded.get(key)}, is {wanted.get(key)}" for key in differing[:4])
        raise InputError(
            f"Study {job.study!r} exists with another search space or other settings: {told}"
            f"{' ...' if len(differing) > 4 else ''}. Give it the settings it was started with, or choose another --tune.study."
        )


def settings_of(job: Job) -> dict[str, str]:
    """What the trials of a study have in common, flat: where they are recorded and how they are shown does not count."""
    base: dict[str, Any] = asdict(job.base)
    del base["tracking"]
    monitor = {key: value for key, value in base["monitor"].items() if key not in ("notify", "verbose", "log_dir")}
    trainer = {key: value for key, value in base["trainer"].items() if key != "progress_bar"}
    goal = {key: getattr(job.tune, key) for key in ("goal", "against", "prune_collapsed", "pruner")}
    return flatten(
        base
        | {"monitor": monitor, "trainer": trainer, "space": asdict(job.space), "tune": goal, "steps": job.total_steps}
    )


def check_leader(study: Study) -> None:
    """Refuse to lead a study that another process leads.

    Raises:
        InputError: says how to help instead.
    """
    leader = study.user_attrs.get(LEADER)
    if leader is None or leader.get("ended"):
        return
    owner = leader["owner"]
    same_host = owner[names.TAG_HOST] == socket.gethostname()
    alive = is_alive(owner) if same_host else time.time() - leader["time"] < LEADER_SECONDS
    if alive:
        raise InputError(
            f"Study {study.study_name!r} is led by process {owner[names.TAG_PID]} on {owner[names.TAG_HOST]}. Add workers to it with "
            "--tune.join true, or stop that process first."
        )


def sign_of_life(study: Study, ended: bool = False) -> None:
    """Tell the study that this process leads it."""
    study.set_user_attr(LEADER, {"owner": owner_tags(), "time": time.time(), "ended": ended})


def open_study(job: Job, storage: BaseStorage) -> Study:
    """Make the study, or take it up again, and give it the trials that it lacks; before any worker starts."""
    study = optuna.create_study(
        study_name=job.study, storage=storage, directions=directions(job.tune), load_if_exists=True
    )
    with exclusive(job.storage, job.study):
        if recorded_parent(study) not in (None, job.parent_run_id):
            raise InputError(
                f"Study {job.study!r} was made by another command in the same moment. Start this one again."
            )
        study.set_user_attr(SETTINGS, settings_of(job))
        study.set_user_attr(PARENT_RUN, job.parent_run_id)
        study.set_user_attr(N_TRIALS, max(job.tune.n_trials, study.user_attrs.get(N_TRIALS, 0)))
        slots.give_up_vanished(study, storage)
        slots.fill_slots(study, study.user_attrs[N_TRIALS], job.tune.max_retries)
    sign_of_life(study)
    return study


def recorded_parent(study: Study) -> str | None:
    """The MLflow run under which the trials of an existing study are."""
    return study.user_attrs.get(PARENT_RUN)
