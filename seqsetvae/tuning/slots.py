"""Which trials are still to be run: none lost, none twice.

A study of n trials has n slots. A trial of a slot waits, runs, or has come to a result; if its process vanished, the slot gets another
one with the same parameters. Slots are filled and trials are taken by one process at a time
(:func:`seqsetvae.tuning.storage.exclusive`), because Optuna on sqlite may give a waiting trial to two.
"""

from __future__ import annotations

import json
import socket
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, fail_stale_trials
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from seqsetvae import names
from seqsetvae.tracking.write.ownership import is_alive, owner_tags

# User attributes of a trial.
SLOT = "slot"
OWNER = "owner"
"""Host, process and its start."""
FAILURE = "failure"
"""Why it failed, where trying again would be no use."""
INTERRUPTED = "interrupted"
"""It was stopped on request: trying again is no retry."""
RETRY_OF = "retry_of"

OPEN = (TrialState.WAITING, TrialState.RUNNING)
SETTLED = (TrialState.COMPLETE, TrialState.PRUNED)
NAMELESS_SECONDS = 120
"""After this long a running trial without an owner was taken by a process that died in the same moment."""


def fill_slots(study: Study, n_trials: int, max_retries: int) -> int:
    """Add a waiting trial to every slot that has neither an open trial nor a result. Only under the study's lock.

    Returns how many were added.
    """
    tries: dict[int, list[FrozenTrial]] = {slot: [] for slot in range(n_trials)}
    for trial in study.get_trials(deepcopy=False):
        tries.setdefault(trial.user_attrs.get(SLOT, -1), []).append(trial)
    added = 0
    for slot in range(n_trials):
        earlier = tries[slot]
        lost = [one for one in earlier if INTERRUPTED not in one.user_attrs]
        if any(map(occupies, earlier)) or len(lost) > max_retries:
            continue
        attributes: dict[str, Any] = {SLOT: slot}
        if earlier:
            attributes[RETRY_OF] = earlier[0].number
        study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                params=earlier[-1].params if earlier else None,
                distributions=earlier[-1].distributions if earlier else None,
                user_attrs=attributes,
            )
        )
        added += 1
    return added


def occupies(trial: FrozenTrial) -> bool:
    """Whether its slot needs no other trial."""
    return trial.state in (*OPEN, *SETTLED) or FAILURE in trial.user_attrs


def unfinished(study: Study) -> int:
    """Trials that wait or run, on whatever machine."""
    return len(study.get_trials(deepcopy=False, states=OPEN))


def take(study: Study, storage: BaseStorage, sampler_of: Callable[[int], BaseSampler]) -> Trial | None:
    """The next waiting trial, now owned by this process; None where none waits.

    Its sampler is made for its number. Only under the study's lock.
    """
    study_id = storage.get_study_id_from_name(study.study_name)
    waiting = storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.WAITING,))
    for trial in sorted(waiting, key=lambda one: one.number):
        if storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
            storage.set_trial_user_attr(trial._trial_id, OWNER, json.dumps(owner_tags()))
            study.sampler = sampler_of(trial.number)
            return Trial(study, trial._trial_id)
    return None


def give_up_vanished(study: Study, storage: BaseStorage) -> list[int]:
    """Fail the running trials whose process has vanished: at once on this host, by their heartbeat on others. Only under the lock.

    Returns their numbers.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        before = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        fail_stale_trials(study)
    for trial in before:
        if has_vanished(trial):
            fail(storage, trial._trial_id)
    after = study.get_trials(deepcopy=False)
    return [one.number for one in before if vanished(after[one.number])]


def vanished(trial: FrozenTrial) -> bool:
    """Whether a trial was given up because its process was gone, and not by that process."""
    return trial.state == TrialState.FAIL and not {FAILURE, INTERRUPTED} & trial.user_attrs.keys()


def has_vanished(trial: FrozenTrial) -> bool:
    """Whether the process that took a running trial is known to be gone."""
    if OWNER not in trial.user_attrs:
        started = trial.datetime_start or datetime.now()
        return datetime.now() - started > timedelta(seconds=NAMELESS_SECONDS)
    owner = json.loads(trial.user_attrs[OWNER])
    return owner[names.TAG_HOST] == socket.gethostname() and not is_alive(owner)


def fail(storage: BaseStorage, trial_id: int) -> None:
    """Set a trial to failed unless somebody was faster."""
    with suppress(UpdateFinishedTrialError):
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
