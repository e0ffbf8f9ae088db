"""A process that runs trials until the study has none left: `python -m seqsetvae.tuning.worker EVENTS < job`.

What training says goes to standard output, which is the worker's log. The open descriptor EVENTS carries one event per line, as JSON,
to the process that leads.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import Trial

from seqsetvae.console import console
from seqsetvae.errors import InputError
from seqsetvae.training.interrupt import Interrupted
from seqsetvae.tuning import slots
from seqsetvae.tuning.child_runs import settle
from seqsetvae.tuning.job import Job
from seqsetvae.tuning.storage import exclusive, open_storage
from seqsetvae.tuning.trial import Emit, run_trial

_log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
STARTUP_TRIALS = 10
"""Drawn at random before the sampler learns from results."""
STARTUP_RESULTS = 4
"""Complete trials before the median pruner compares."""


def make_sampler(seed: int, number: int) -> BaseSampler:
    """For one trial: what it draws depends on its number and on the results so far, not on which worker draws."""
    return TPESampler(seed=(1_000_003 * seed + number) % 2**32, n_startup_trials=STARTUP_TRIALS)


def make_pruner(name: str, total_steps: int) -> BasePruner:
    """The ordinary one; that a trial is red is another matter."""
    if name == "median":
        return MedianPruner(n_startup_trials=STARTUP_RESULTS)
    if name == "hyperband":
        return HyperbandPruner(min_resource=max(1, total_steps // 9), max_resource=total_steps)
    return NopPruner()


def work(job: Job, emit: Emit) -> None:
    """Take one trial after the other. Waits while others run, since a trial whose process vanishes comes back."""
    storage = open_storage(job.storage, job.tune.heartbeat_seconds)
    study = optuna.load_study(
        study_name=job.study, storage=storage, pruner=make_pruner(job.tune.pruner, job.total_steps)
    )
    parent = os.getppid()
    while os.getppid() == parent:  # without the process that leads, nobody wants the next trial
        # Outside training; inside, StopSafely listens, and Lightning leaves a handler of its own behind.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        trial = take_next(study, storage, job)
        if trial is None:
            if not slots.unfinished(study):
                return
            time.sleep(IDLE_SECONDS)
            continue
        emit({"trial": trial.number, "event": "start"})
        with signs_of_life(storage, trial._trial_id, job.tune.heartbeat_seconds):
            run_trial(trial, study, job, partial(emit_of, emit, trial.number))
        try:
            settle(job.base.tracking, study, trial.number)
        except InputError as error:  # the process that leads does it once more in the end
            _log.warning(str(error))
        emit({"trial": trial.number, "event": "end"})


def emit_of(emit: Emit, number: int, event: dict[str, Any]) -> None:
    """An event of a trial."""
    emit({"trial": number, **event})


def take_next(study: optuna.Study, storage: BaseStorage, job: Job) -> Trial | None:
    """Under the study's lock: put back what others have lost, then take a waiting trial."""
    with exclusive(job.storage, job.study):
        if slots.give_up_vanished(study, storage):
            slots.fill_slots(study, study.user_attrs["n_trials"], job.tune.max_retries)
        return slots.take(study, storage, lambda number: make_sampler(job.tune.sampler_seed, number))


@contextmanager
def signs_of_life(storage: BaseStorage, trial_id: int, every_seconds: float) -> Iterator[None]:
    """Record heartbeats on a thread of its own while a trial runs, where the storage keeps them."""
    if not isinstance(storage, RDBStorage):
        yield
        return
    ended = threading.Event()

    def beat() -> None:
        while True:
            try:
                storage.record_heartbeat(trial_id)
            except Exception as error:  # the storage may be back for the next one
                _log.warning(f"No sign of life recorded: {error}")
            if ended.wait(every_seconds):
                return

    thread = threading.Thread(target=beat, daemon=True, name="signs of life")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def main() -> None:
    """Entry point of the process."""
    job = Job.from_json(sys.stdin.read())
    events = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")

    def emit(event: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # whoever led is gone; this trial is finished all the same
            events.write(f"{json.dumps(event)}\n")
            events.flush()

    try:
        with console(command_line=True):
            work(job, emit)
    except (Interrupted, KeyboardInterrupt):
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
