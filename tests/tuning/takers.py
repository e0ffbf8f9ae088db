"""Processes that take trials."""

from __future__ import annotations

import time
from multiprocessing.synchronize import Barrier

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage

from seqsetvae.tuning import slots
from seqsetvae.tuning.storage import exclusive, open_storage


def take(study: optuna.Study, storage: BaseStorage) -> optuna.Trial | None:
    """The next waiting trial, if there is one."""
    return slots.take(study, storage, lambda number: RandomSampler(seed=number))


def take_all(url: str, together: Barrier) -> None:
    storage = open_storage(url, 30)
    study = optuna.load_study(study_name="s", storage=storage)
    together.wait(100)
    while True:
        with exclusive(url, "s"):
            trial = take(study, storage)
        if trial is None:
            return
        study.tell(trial, 1.0)
        time.sleep(0.1)  # as training does: whoever lets go of a file lock and asks again at once gets it
