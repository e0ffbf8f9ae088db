"""Settled settings: made from given ones once, without a gap, and never mistaken for them."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import pytest

from seqsetvae.collapse.detector import Detector
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.watch import Watch
from seqsetvae.config import (
    DataConfig,
    MonitorConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PretrainConfig,
    TrainerConfig,
)
from seqsetvae.config.settled import SettledMonitor
from seqsetvae.config.settling import (
    Machine,
    first_height,
    settle,
    settle_data,
    settle_objective,
    settle_optimizer,
    settle_trainer,
)
from seqsetvae.errors import InputError
from seqsetvae.objective import scheduled_beta
from seqsetvae.training.module import learning_rate_factor

GPU = Machine(gpus=1, bf16=True)


def test_a_settled_run_has_the_names_of_the_given_one_and_no_gap():
    given = PretrainConfig()
    settled = settle(given, 400, GPU, 500)
    assert {group: list(values) for group, values in asdict(settled).items()} == {
        group: list(values) for group, values in asdict(given).items()
    }
    nowhere = {"monitor.notify", "monitor.log_dir"}
    for group in ("objective", "optimizer", "monitor"):
        for one in fields(getattr(settled, group)):
            empty = getattr(getattr(settled, group), one.name) is None
            assert not empty or f"{group}.{one.name}" in {*nowhere, "objective.beta"}
    assert (settled.data.num_workers, settled.data.pin_memory) == (2, True)
    assert (settled.trainer.accelerator, settled.trainer.precision) == ("gpu", "bf16-mixed")
    assert (settled.objective.beta_warmup_steps, settled.optimizer.lr_warmup_steps) == (80, 20)
    assert settled.monitor.update_frequency == 10


def test_what_is_settled_stays_as_it_is():
    settled = settle(PretrainConfig(objective=ObjectiveConfig(beta=5.0)), 400, GPU, 500)
    assert settle(settled, 400, GPU, 500) == settled
    assert settle(PretrainConfig(**vars(settled)), 400, Machine(gpus=1), 500) == settled, (
        "given again, on another machine"
    )


@pytest.mark.parametrize(
    ("given", "schedule", "max_beta", "warmup", "height"),
    [
        (ObjectiveConfig(beta=5.0), "constant", 5.0, 0, 0),
        (ObjectiveConfig(max_beta=0.3), "linear", 0.3, 240, 240),
        (ObjectiveConfig(max_beta=0.3, beta_warmup_steps=7), "linear", 0.3, 7, 7),
        (ObjectiveConfig(max_beta=0.3, warmup_beta=False), "constant", 0.3, 0, 0),
        (ObjectiveConfig(beta_schedule="cyclical", beta_cycles=5, beta_ramp=0.25), "cyclical", 0.1, 0, 50),
        (ObjectiveConfig(beta_schedule="controller"), "controller", 0.1, 0, 0),
    ],
)
def test_what_happens_to_beta_in_a_thousand_steps(given, schedule, max_beta, warmup, height):
    settled = settle_objective(given, 1000)
    assert (settled.beta, settled.beta_schedule, settled.max_beta) == (None, schedule, max_beta)
    assert (settled.beta_warmup_steps, first_height(settled, 1000)) == (warmup, height)


@pytest.mark.parametrize(
    ("given", "machine", "accelerator", "precision"),
    [
        (TrainerConfig(), Machine(), "cpu", "32"),
        (TrainerConfig(), GPU, "gpu", "bf16-mixed"),
        (TrainerConfig(), Machine(gpus=2), "gpu", "16-mixed"),
        (TrainerConfig(accelerator="cpu"), GPU, "cpu", "32"),
        (TrainerConfig(precision="32"), GPU, "gpu", "32"),
    ],
)
def test_device_and_precision_are_those_of_the_machine(given, machine, accelerator, precision):
    settled = settle_trainer(given, machine)
    assert (settled.accelerator, settled.precision) == (accelerator, precision)


@pytest.mark.parametrize(
    ("given", "on_gpu", "expected"),
    [
        (DataConfig(), False, (0, False, 8)),
        (DataConfig(), True, (2, True, 64)),
        (DataConfig(num_workers=0, pin_memory=False), True, (0, False, 64)),
        (DataConfig(num_workers=4, pin_memory=True, batch_size=3), False, (4, True, 3)),
    ],
)
def test_workers_page_locked_memory_and_batches_are_for_the_device(given, on_gpu, expected):
    settled = settle_data(given, on_gpu=on_gpu, patients=40_000)
    assert (settled.num_workers, settled.pin_memory, settled.batch_size) == expected


@pytest.mark.parametrize(
    ("group", "value", "flag"),
    [
        ("objective", ObjectiveConfig(beta_warmup_steps=401), "--objective.beta_warmup_steps is 401"),
        ("optimizer", OptimizerConfig(lr_warmup_steps=401), "--optimizer.lr_warmup_steps is 401"),
        ("monitor", MonitorConfig(plot_frequency=401), "--monitor.plot_frequency is 401"),
        ("trainer", TrainerConfig(devices=3, accelerator="gpu"), "--trainer.devices is 3"),
    ],
)
def test_what_a_run_cannot_have_is_refused_by_its_flag(group, value, flag):
    with pytest.raises(InputError, match=flag):
        settle(replace(PretrainConfig(), **{group: value}), 400, GPU, 500)


def test_settings_with_gaps_are_refused_where_settled_ones_are_needed():
    """The comments hold the type checker to the same: each wrong call is an error to it."""
    outlook = BetaOutlook(400)
    with pytest.raises(TypeError, match=r"SettledMonitor is needed: make it with .*settling\.settle_monitor"):
        Detector(MonitorConfig(), outlook)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="MonitorConfig may leave things to be decided"):
        Watch(MonitorConfig(kl_threshold=0.1), outlook)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="SettledObjective is needed"):
        scheduled_beta(ObjectiveConfig(beta=5.0), 0, 400)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="SettledOptimizer is needed"):
        learning_rate_factor(OptimizerConfig(), 0, 400)  # type: ignore[arg-type]


def test_a_gap_cannot_be_put_into_what_is_settled():
    settled = settle(PretrainConfig(), 400, Machine(), 500)
    with pytest.raises(TypeError, match=r"SettledMonitor\.grace_steps is None"):
        replace(settled.monitor, grace_steps=None)
    with pytest.raises(TypeError, match=r"SettledTrainer\.precision is 'auto'"):
        replace(settled.trainer, precision="auto")
    with pytest.raises(TypeError, match="required keyword-only arguments"):
        SettledMonitor()  # type: ignore[call-arg]


def test_the_learning_rate_rises_and_falls_as_settled():
    settled = settle_optimizer(OptimizerConfig(lr_schedule="linear"), 400)
    assert settled.lr_warmup_steps == 20
    assert [round(learning_rate_factor(settled, step, 400), 3) for step in (0, 19, 20, 210, 400)] == [
        *(0.05, 1.0, 1.0),
        *(0.55, 0.1),
    ]
