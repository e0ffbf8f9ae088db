"""A run that is stopped and resumed must be the run that was never stopped: same losses, no step twice, one MLflow run."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import Any

import pytest
from mlflow import MlflowClient

from seqsetvae import names
from seqsetvae.config import ObjectiveConfig, PretrainConfig
from seqsetvae.errors import InputError
from seqsetvae.training.fit import pretrain
from seqsetvae.training.interrupt import Interrupted
from seqsetvae.training.module import PretrainModule
from tests.training.conftest import resuming

METRICS = (
    *(names.TRAIN_LOSS, names.TRAIN_KL, names.BETA, names.LEARNING_RATE, names.GRADIENT_NORM, names.VAL_LOSS),
    *(names.COLLAPSE_MUTUAL_INFORMATION, names.COLLAPSE_DECODER_USE, names.COLLAPSE_RECON_SLOPE, names.COLLAPSE_LEVEL),
)


def stop_in(monkeypatch, batch: int, how) -> None:
    """Let `how` happen inside the training step of the given batch, counted over epochs from 1."""
    original = PretrainModule.training_step
    seen = 0

    def training_step(self, *arguments):
        nonlocal seen
        seen += 1
        if seen == batch:
            how()
        return original(self, *arguments)

    monkeypatch.setattr(PretrainModule, "training_step", training_step)


def status(run_id: str) -> tuple[str, str]:
    run = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_run(run_id)
    return run.info.status, run.data.tags[names.TAG_ENDED_BY]


@pytest.fixture(scope="module")
def whole_runs() -> list[tuple[PretrainConfig, dict[str, list[tuple[int, float]]]]]:
    """What was recorded of runs that nothing stopped, with their settings."""
    return []


@pytest.fixture
def uninterrupted(tiny, history, whole_runs):
    def run(config):
        for known, recorded in whole_runs:
            if known == config:
                return recorded
        run_id = pretrain(config).run_id
        whole_runs.append((config, {key: history(run_id, key) for key in METRICS}))
        return whole_runs[-1][1]

    return run


def assert_same_history(run_id, expected, history):
    for key in METRICS:
        assert history(run_id, key) == expected[key], key


SETTINGS: dict[str, dict[str, Any]] = {
    "linear": {},
    "controller": {"objective": ObjectiveConfig(beta_schedule="controller", max_beta=0.5)},
    "accumulation": {"trainer": {"gradient_accumulation_steps": 4}},
    "validation within the epoch": {"trainer": {"val_check_interval": 3}},
    "workers": {"data": {"num_workers": 1}},
    "hidden values, learned prior": {
        "model": {"fill_in": True, "prior": "learned"},
        "objective": ObjectiveConfig(hide_variables=0.2),
    },
    "token budget": {"data": {"max_events_per_batch": 12000}},
}


def with_settings(config, setting):
    for group, changes in SETTINGS[setting].items():
        changed = changes if not isinstance(changes, dict) else replace(getattr(config, group), **changes)
        config = replace(config, **{group: changed})
    return config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "batch"),
    [  # in an epoch, at its end, in the second
        ("linear", 3),
        ("controller", 10),
        pytest.param("accumulation", 14, marks=pytest.mark.nightly),
        pytest.param("validation within the epoch", 3, marks=pytest.mark.nightly),
        ("workers", 10),
        pytest.param("hidden values, learned prior", 13, marks=pytest.mark.nightly),
        pytest.param("token budget", 14, marks=pytest.mark.nightly),
    ],
)
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(
    tiny, uninterrupted, history, monkeypatch, setting, batch
):
    config = with_settings(tiny, setting)
    expected = uninterrupted(config)
    with monkeypatch.context() as patch, pytest.raises(Interrupted) as stopped:
        stop_in(patch, batch, lambda: signal.raise_signal(signal.SIGTERM))
        pretrain(config)
    assert stopped.value.exit_code == 143
    run_id = stopped.value.checkpoint.parent.parent.parent.name
    assert status(run_id) == ("KILLED", "stopped by SIGTERM")
    resumed = pretrain(resuming(config, stopped.value.checkpoint))
    assert resumed.run_id == run_id
    assert status(run_id) == ("FINISHED", "finished")
    assert_same_history(run_id, expected, history)


@pytest.mark.slow
def test_last_ckpt_continues_from_the_end_of_an_epoch(tiny, uninterrupted, history, monkeypatch):
    """The run dies in the second epoch; `last.ckpt` is from the validation after the first."""
    expected = uninterrupted(tiny)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="the machine broke"):
        stop_in(patch, 14, _break)
        pretrain(tiny)
    resumed = pretrain(resuming(tiny, "last.ckpt"))
    assert_same_history(resumed.run_id, expected, history)


@pytest.mark.slow
def test_an_exception_leaves_a_checkpoint_that_continues_the_run(tiny, uninterrupted, history, monkeypatch):
    expected = uninterrupted(tiny)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="the machine broke"):
        stop_in(patch, 14, _break)
        pretrain(tiny)
    runs = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).search_runs(["1"], "attributes.status = 'FAILED'")
    (run,) = runs
    assert run.data.tags[names.TAG_ENDED_BY] == "RuntimeError"
    resumed = pretrain(resuming(tiny, f"mlruns/1/{run.info.run_id}/artifacts/checkpoints/error_0000013.ckpt"))
    assert resumed.run_id == run.info.run_id
    assert_same_history(resumed.run_id, expected, history)


@pytest.mark.slow
def test_last_ckpt_is_of_the_run_that_was_worked_on_last(tiny, monkeypatch):
    finished = pretrain(tiny)
    with monkeypatch.context() as patch, pytest.raises(Interrupted) as stopped:
        stop_in(patch, 3, lambda: signal.raise_signal(signal.SIGUSR1))
        pretrain(tiny)
    resumed = pretrain(resuming(tiny, "last.ckpt"))
    assert resumed.run_id != finished.run_id
    assert resumed.run_id == stopped.value.checkpoint.parent.parent.parent.name


@pytest.mark.slow
def test_a_run_may_be_lengthened_and_go_on_with_other_batches(tiny, history):
    """Its warm-ups, which nobody asked for, are those that it began with."""
    config = replace(tiny, objective=ObjectiveConfig())
    begun = pretrain(config)
    betas = history(begun.run_id, names.BETA)
    longer = replace(config, trainer=replace(config.trainer, max_epochs=3), data=replace(config.data, batch_size=64))
    resumed = pretrain(resuming(longer, f"runs:/{begun.run_id}"))
    assert resumed.run_id == begun.run_id
    now = history(begun.run_id, names.BETA)
    assert now[:20] == betas
    assert [step for step, _ in now] == list(range(1, 26))  # 20 steps of 32 patients, and an epoch of 64 each


def test_the_newest_run_without_a_checkpoint_is_named_with_the_one_that_has_some(tiny, monkeypatch):
    first = pretrain(replace(tiny, trainer=replace(tiny.trainer, max_steps=5)))
    with monkeypatch.context() as patch, pytest.raises(Interrupted) as stopped:
        patch.setattr(PretrainModule, "on_fit_start", lambda self: signal.raise_signal(signal.SIGTERM))
        pretrain(tiny)
    assert stopped.value.checkpoint is None
    newest = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).search_runs(["1"])[0]
    assert newest.info.status == "KILLED"
    with pytest.raises(InputError, match=rf"{newest.info.run_id}.*has no checkpoint.*runs:/{first.run_id}"):
        pretrain(resuming(tiny, "last.ckpt"))


def _break() -> None:
    raise RuntimeError("the machine broke")


def test_a_changed_model_is_not_a_continuation(tiny, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Interrupted) as stopped:
        stop_in(patch, 2, lambda: signal.raise_signal(signal.SIGINT))
        pretrain(tiny)
    assert stopped.value.exit_code == 130
    changed = replace(tiny, model=replace(tiny.model, latent_dim=5))
    with pytest.raises(InputError, match=r"--model.latent_dim 4 -> 5"):
        pretrain(resuming(changed, stopped.value.checkpoint))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"not a checkpoint", "cannot be read as a checkpoint"),
        (b"cos\nsystem\n(S'touch pwned'\ntR.", "cannot be read as a checkpoint"),
    ],
)
def test_what_is_not_a_checkpoint_is_refused(tiny, tmp_path, content, message):
    path = tmp_path / "some.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        pretrain(resuming(tiny, path))
    assert not (tmp_path / "pwned").exists()
