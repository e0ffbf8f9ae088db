"""No trial lost, none twice: with both storages of one machine, and with processes that vanish."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from seqsetvae import names
from seqsetvae.tuning import slots
from seqsetvae.tuning.storage import close_storage, open_storage
from seqsetvae.tuning.worker import signs_of_life
from tests.support.commands import CONTEXT, fork
from tests.tuning.takers import take, take_all

NOBODY = {names.TAG_HOST: socket.gethostname(), names.TAG_PID: "999999999", names.TAG_PROCESS_START: "1.00"}


@pytest.fixture(params=["sqlite", "journal", pytest.param("postgres", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("database")("slots")
    return f"{request.param}:///{tmp_path / 'study'}"


@pytest.fixture
def storage(url: str) -> Iterator[BaseStorage]:
    opened = open_storage(url, 30)
    yield opened
    close_storage(opened)


@pytest.fixture
def study(storage: BaseStorage) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=storage)


def test_slots_are_filled_once(study):
    assert slots.fill_slots(study, 3, max_retries=1) == 3
    assert slots.fill_slots(study, 3, max_retries=1) == 0
    assert slots.fill_slots(study, 5, max_retries=1) == 2
    assert slots.unfinished(study) == 5


def test_a_trial_whose_process_has_vanished_comes_back_with_its_parameters(study, storage):
    slots.fill_slots(study, 1, max_retries=2)
    for attempt in range(3):
        trial = take(study, storage)
        value = trial.suggest_float("x", 0.0, 1.0)
        assert slots.give_up_vanished(study, storage) == []
        trial.set_user_attr(slots.OWNER, json.dumps(NOBODY))
        assert slots.give_up_vanished(study, storage) == [attempt]
        assert slots.fill_slots(study, 1, max_retries=2) == (attempt < 2)
    assert [one.params for one in study.trials] == [{"x": value}] * 3
    assert study.trials[2].user_attrs[slots.RETRY_OF] == 0


def test_a_failure_with_a_reason_is_not_tried_again(study, storage):
    slots.fill_slots(study, 1, max_retries=2)
    trial = take(study, storage)
    trial.set_user_attr(slots.FAILURE, "NaN")
    study.tell(trial, state=TrialState.FAIL)
    assert slots.fill_slots(study, 1, max_retries=2) == 0


def test_an_interruption_is_no_retry(study, storage):
    slots.fill_slots(study, 1, max_retries=0)
    for _ in range(3):
        trial = take(study, storage)
        trial.set_user_attr(slots.INTERRUPTED, True)
        study.tell(trial, state=TrialState.FAIL)
        assert slots.give_up_vanished(study, storage) == []
        assert slots.fill_slots(study, 1, max_retries=0) == 1


@pytest.mark.parametrize("url", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True)
def test_on_another_machine_a_missing_heartbeat_tells(url, monkeypatch):
    storage = open_storage(url, 1)
    study = optuna.create_study(study_name="s", storage=storage)
    slots.fill_slots(study, 1, max_retries=2)
    trial = take(study, storage)
    trial.set_user_attr(slots.OWNER, json.dumps(NOBODY | {names.TAG_HOST: "elsewhere"}))
    with signs_of_life(storage, trial._trial_id, 0.5):
        time.sleep(3)
        assert slots.give_up_vanished(study, storage) == []
    time.sleep(4)
    assert slots.give_up_vanished(study, storage) == [0]
    close_storage(storage)


def test_what_is_drawn_depends_on_the_number_alone(tmp_path):
    drawn = []
    for name in ("a", "b"):
        storage = open_storage(f"sqlite:///{tmp_path / name}", 30)
        study = optuna.create_study(study_name="s", storage=storage)
        slots.fill_slots(study, 4, max_retries=0)
        drawn.append([take(study, storage).suggest_float("x", 0.0, 1.0) for _ in range(4)])
        close_storage(storage)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "url", ["sqlite", *(pytest.param(one, marks=pytest.mark.nightly) for one in ("journal", "postgres"))], indirect=True
)
def test_four_processes_take_each_trial_once(url, study):
    slots.fill_slots(study, 40, max_retries=0)
    together = CONTEXT.Barrier(4)
    processes = [fork(take_all, url, together) for _ in range(4)]
    for process in processes:
        process.join(120)
    found = study.get_trials()
    assert Counter(one.state for one in found) == {TrialState.COMPLETE: 40}
    assert len({one.user_attrs[slots.OWNER] for one in found}) > 1
