"""From the settings that a person gives to settled ones.

What was left open is decided here, once, from the machine and the length of the run.

What is settled already stays as it is, so that the settings recorded with a run can be given again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from seqsetvae.config.monitor import MonitorConfig
from seqsetvae.config.pretrain import DataConfig, ObjectiveConfig, OptimizerConfig, PretrainConfig, TrainerConfig
from seqsetvae.config.settled import (
    SettledConfig,
    SettledData,
    SettledMonitor,
    SettledObjective,
    SettledOptimizer,
    SettledTrainer,
)
from seqsetvae.errors import InputError

USUALLY_HIDDEN = 0.2
"""Chance that a variable of a set is hidden from the encoder, where a head learns to fill in."""
LEAST_BETA_WARMUP = 80
"""Optimizer steps of the beta warm-up, unless the run is shorter or the user says otherwise: a decoder needs so many to learn to listen,
and latents that are weighed down before that are never heard. In 120 steps of the demo 24 end in a collapse and 80 do not.
"""
BEARABLE_BETA = 0.1
"""Of which this holds. A higher one is warmed up to as slowly, as far as the run is long enough."""
TOO_HIGH_BETA = 0.15
"""Above that within so many steps no decoder learns to listen."""
SLOW_AT_FIRST = 3.0
"""Power of the course of beta where a run is too short for a steady rise. Three epochs of the demo with --max_beta 0.5 so end with
latents in use, and one epoch as well; with a steady rise the three collapse, whether it takes 80 steps or all 120.
"""
LEAST_LR_WARMUP = 20
"""Optimizer steps: with fewer, short runs learn to do without the latents before they have learned anything else."""
LEAST_GRACE = 100
"""Optimizer steps in which no network has learned enough to be judged."""
MOST_GRACE = 5000
"""Optimizer steps after which a posterior that never lived is called so, however long the run or its warm-up: while beta is low, nothing
keeps it from living.
"""
WORKERS_BESIDE_A_GPU = 2
"""Loader processes, so that the gather runs beside the GPU's work. On a CPU it is fastest in the training process."""
BATCH_SIZE = 8
"""Patients: the source project's own."""
LARGEST_BATCH_SIZE = 64
"""Patients that a GPU takes in little more time than 8."""
LEAST_BATCHES = 100
"""Batches of an epoch that a larger batch must leave: a model learns by steps."""
STANDARD = {"kl_threshold": 0.01, "var_threshold": 0.1, "active_units_threshold": 0.1, "early_stop_patience": 200}
PRESETS: dict[tuple[str, bool], dict[str, int | float]] = {
    ("standard", False): {"update_frequency": 50, "plot_frequency": 500, "window_size": 100},
    ("standard", True): {
        "update_frequency": 20,
        "plot_frequency": 200,
        "window_size": 50,
        "kl_threshold": 0.005,
        "var_threshold": 0.05,
        "active_units_threshold": 0.15,
        "early_stop_patience": 100,
    },
    ("optimized", False): {"update_frequency": 200, "plot_frequency": 2000, "window_size": 50},
    ("optimized", True): {"update_frequency": 100, "plot_frequency": 1000, "window_size": 50},
}
"""The guides' presets: (preset, fast_detection) -> what differs from the standard thresholds."""


@dataclass(frozen=True)
class Machine:
    """What the settings of a run depend on."""

    gpus: int = 0
    """That PyTorch can use."""
    bf16: bool = False
    """Whether they have it."""
    started: tuple[int, int] | None = None
    """Processes that something else, such as torchrun, has started on each machine, and machines."""


def settle(config: PretrainConfig, total_steps: int, machine: Machine, patients: int) -> SettledConfig:
    """Settle all settings of a run of `total_steps` optimizer steps on so many patients.

    Raises:
        InputError: something cannot be on this machine, or in a run of this length; the message names the flag.
    """
    trainer = settle_trainer(config.trainer, machine)
    objective = settle_objective(config.objective, total_steps, fills_in=config.model.fill_in)
    settled = {
        "data": settle_data(config.data, on_gpu=trainer.accelerator == "gpu", patients=patients),
        "objective": objective,
        "optimizer": settle_optimizer(config.optimizer, total_steps),
        "trainer": trainer,
        "monitor": settle_monitor(config.monitor, total_steps, steps_to_live(config.objective, objective, total_steps)),
    }
    return SettledConfig(**_given(config) | settled)


def settle_data(config: DataConfig, *, on_gpu: bool, patients: int) -> SettledData:
    """Settle batch size, loader processes and page-locked memory for the device that is trained on, and so many patients.

    >>> [settle_data(DataConfig(), on_gpu=True, patients=patients).batch_size for patients in (400, 3000, 40_000)]
    [8, 30, 64]
    """
    largest = LARGEST_BATCH_SIZE if on_gpu else BATCH_SIZE
    workers = WORKERS_BESIDE_A_GPU if on_gpu else 0
    settled = {
        "batch_size": config.batch_size or max(BATCH_SIZE, min(largest, patients // LEAST_BATCHES)),
        "num_workers": workers if config.num_workers is None else config.num_workers,
        "pin_memory": on_gpu if config.pin_memory is None else config.pin_memory,
    }
    return SettledData(**_given(config) | settled)


def settle_objective(config: ObjectiveConfig, total_steps: int, fills_in: bool = False) -> SettledObjective:
    """Settle the course of beta in a run of `total_steps` optimizer steps: the result says what will really happen.

    Args:
        config: the settings with gaps.
        total_steps: optimizer steps of the run.
        fills_in: whether the model has a head that learns from hidden values.

    Raises:
        InputError: the warm-up would not end before the run does; nothing is hidden from which a head must learn.

    >>> [settle_objective(ObjectiveConfig(), total_steps=steps).beta_warmup_steps for steps in (50, 120, 500)]
    [50, 80, 100]
    >>> high = [settle_objective(ObjectiveConfig(max_beta=0.5), total_steps=steps) for steps in (120, 1000)]
    >>> [(one.beta_warmup_steps, one.beta_warmup_power) for one in high]
    [(120, 3.0), (400, 1.0)]
    >>> constant = settle_objective(ObjectiveConfig(beta=0.5), total_steps=500)
    >>> constant.beta_schedule, constant.max_beta
    ('constant', 0.5)
    """
    schedule, max_beta, warmup = config.beta_schedule, config.max_beta, config.beta_warmup_steps
    power = 1.0
    if config.beta is not None:
        schedule, max_beta = "constant", config.beta
    elif schedule == "linear" and False in (config.warmup_beta, config.kl_annealing):
        schedule = "constant"
    if schedule != "linear":
        warmup = warmup or 0
    elif warmup is None:
        warmup, power = warmup_for(max_beta, total_steps)
    elif warmup > total_steps:
        raise InputError(
            f"--objective.beta_warmup_steps is {warmup}, but the whole run has only {total_steps} optimizer "
            "steps: beta would never reach max_beta. Lower the warm-up or raise --trainer.max_epochs."
        )
    hidden = config.hide_values
    if hidden is None:
        hidden = USUALLY_HIDDEN if fills_in else 0.0
    if fills_in and not (hidden or config.hide_variables):
        raise InputError(
            "--model.fill_in learns from hidden values, but --objective.hide_values is 0. Leave it out, or give a chance such as "
            f"{USUALLY_HIDDEN:g}."
        )
    settled = {"beta": None, "beta_schedule": schedule, "max_beta": max_beta, "beta_warmup_steps": warmup}
    settled["beta_warmup_power"] = power if config.beta_warmup_power is None else config.beta_warmup_power
    settled["hide_values"] = hidden
    settled |= {name: getattr(config, name) is not False for name in ("warmup_beta", "kl_annealing")}
    return SettledObjective(**_given(config) | settled)


def usual_warmup(total_steps: int) -> int:
    """Optimizer steps of the warm-up to a beta that is borne."""
    return max(total_steps // 5, LEAST_BETA_WARMUP)


def warmup_for(max_beta: float, total_steps: int) -> tuple[int, float]:
    """Optimizer steps of the warm-up that a run gets by itself, and the power of its course.

    A steady rise where there is time for it, one that is slow at first where that helps; else nothing does, and the usual one shows it
    soonest.

    >>> [warmup_for(0.1, steps) for steps in (40, 120, 1000)]
    [(40, 3.0), (80, 1.0), (200, 1.0)]
    >>> [warmup_for(0.5, steps) for steps in (80, 120, 400)], warmup_for(50.0, 400)
    ([(80, 1.0), (120, 3.0), (400, 1.0)], (80, 1.0))
    """
    usual, gentle = min(total_steps, usual_warmup(total_steps)), gentle_warmup(max_beta)
    if gentle <= total_steps:
        return max(usual, gentle), 1.0
    early = max_beta * min(1.0, LEAST_BETA_WARMUP / total_steps) ** SLOW_AT_FIRST
    return (total_steps, SLOW_AT_FIRST) if early <= TOO_HIGH_BETA else (usual, 1.0)


def gentle_warmup(max_beta: float) -> int:
    """Optimizer steps in which beta rises no faster than is borne at the start.

    >>> gentle_warmup(0.1), gentle_warmup(0.5)
    (80, 400)
    """
    return round(LEAST_BETA_WARMUP * max_beta / BEARABLE_BETA)


def steps_to_live(given: ObjectiveConfig, settled: SettledObjective, total_steps: int) -> int:
    """Optimizer steps in which a posterior may come to life: until beta is at its height, or would be in the usual warm-up."""
    height = first_height(settled, total_steps)
    gentle = settled.beta_schedule == "linear" and given.beta_warmup_steps is None
    return min(height, usual_warmup(total_steps)) if gentle else height


def first_height(objective: SettledObjective, total_steps: int) -> int:
    """Optimizer steps until beta is at its height for the first time; 0 where nobody knows, as with a controller.

    >>> first_height(settle_objective(ObjectiveConfig(beta_schedule="cyclical"), 400), 400)
    50
    """
    if objective.beta_schedule == "cyclical":
        return round(total_steps / objective.beta_cycles * objective.beta_ramp)
    return objective.beta_warmup_steps if objective.beta_schedule == "linear" else 0


def settle_optimizer(config: OptimizerConfig, total_steps: int) -> SettledOptimizer:
    """Settle the learning-rate warm-up.

    Raises:
        InputError: the warm-up would not end before the run does.
    """
    warmup = config.lr_warmup_steps
    if warmup is None:
        warmup = min(1000, max(total_steps // 20, LEAST_LR_WARMUP), total_steps)
    if warmup > total_steps:
        raise InputError(
            f"--optimizer.lr_warmup_steps is {warmup}, but the whole run has only {total_steps} optimizer steps. "
            "Lower the warm-up or raise --trainer.max_epochs."
        )
    return SettledOptimizer(**_given(config) | {"lr_warmup_steps": warmup})


def settle_trainer(config: TrainerConfig, machine: Machine) -> SettledTrainer:
    """Settle `auto`: a GPU where there is one, and the fastest precision that is safe on it.

    Raises:
        InputError: a device or a precision that this machine does not have.

    >>> settle_trainer(TrainerConfig(), Machine(gpus=1, bf16=True)).precision
    'bf16-mixed'
    """
    accelerator = config.accelerator if config.accelerator != "auto" else "gpu" if machine.gpus else "cpu"
    devices, nodes = settle_processes(config, machine)
    if accelerator == "gpu" and machine.gpus < devices:
        asked = f"devices is {devices}" if machine.gpus or devices > 1 else "accelerator is gpu"
        has = f"{machine.gpus} GPUs" if machine.gpus else "no GPU"
        raise InputError(f"--trainer.{asked}, but this machine has {has} that PyTorch can use.")
    precision = config.precision
    if precision == "auto":
        precision = "32" if accelerator == "cpu" else "bf16-mixed" if machine.bf16 else "16-mixed"
    if precision == "16-mixed" and accelerator == "cpu":
        raise InputError("--trainer.precision 16-mixed needs a GPU. On a CPU use 32 or bf16-mixed.")
    settled = {"accelerator": accelerator, "precision": precision, "devices": devices, "num_nodes": nodes}
    return SettledTrainer(**_given(config) | settled)


def settle_processes(config: TrainerConfig, machine: Machine) -> tuple[int, int]:
    """Processes on each machine, and machines. Where torchrun has started them, there are as many as it says.

    Raises:
        InputError: others were asked for, or several machines, and nothing that lets them find each other.
    """
    if machine.started is None:
        if config.num_nodes > 1:
            raise InputError(
                f"--trainer.num_nodes is {config.num_nodes}, but nothing tells this process where the others are. Start the command on "
                f"each machine with `torchrun --nnodes {config.num_nodes} --nproc-per-node {config.devices} --rdzv-backend c10d "
                "--rdzv-endpoint HOST:PORT -m seqsetvae pretrain ...`, HOST being one of them."
            )
        return config.devices, 1
    for flag, asked, there in zip(
        ("devices", "num_nodes"), (config.devices, config.num_nodes), machine.started, strict=True
    ):
        if asked not in (1, there):
            raise InputError(
                f"--trainer.{flag} is {asked}, but torchrun has started {machine.started[0]} processes on each of "
                f"{machine.started[1]} machines. Leave the flag out: torchrun's --nproc-per-node and --nnodes say it."
            )
    return machine.started


def settle_monitor(config: MonitorConfig, total_steps: int, warmup_steps: int = 0) -> SettledMonitor:
    """Settle thresholds and frequencies by the preset and the length of the run: a short run is looked at about 40 times.

    Args:
        config: the settings with gaps.
        total_steps: optimizer steps of the run.
        warmup_steps: optimizer steps until beta is at its height for the first time.

    Raises:
        InputError: a frequency that the run is too short for.

    >>> settled = settle_monitor(MonitorConfig(fast_detection=True), total_steps=400, warmup_steps=80)
    >>> settled.update_frequency, settled.kl_threshold, settled.early_stop_patience, settled.grace_steps
    (10, 0.005, 2, 100)
    """
    for name in ("update_frequency", "check_frequency", "plot_frequency"):
        value = getattr(config, name)
        if value is not None and value > total_steps:
            raise InputError(
                f"--monitor.{name} is {value}, but the whole run has only {total_steps} optimizer steps: nothing would ever be seen. "
                "Lower it, or leave it out."
            )
    preset: dict[str, Any] = STANDARD | PRESETS[config.preset, config.fast_detection]
    settled = preset | {key: getattr(config, key) for key in preset if getattr(config, key) is not None}
    if config.update_frequency is None:
        settled["update_frequency"] = max(1, min(settled["update_frequency"], total_steps // 40))
    if config.plot_frequency is None:
        settled["plot_frequency"] = max(1, min(settled["plot_frequency"], total_steps // 4))
    settled["check_frequency"] = config.check_frequency or settled["update_frequency"]
    if config.early_stop_patience is None:
        checks = total_steps // settled["check_frequency"]
        settled["early_stop_patience"] = max(1, min(settled["early_stop_patience"], checks // 20))
    if config.grace_steps is None:
        settled["grace_steps"] = min(max(warmup_steps, total_steps // 10, LEAST_GRACE), MOST_GRACE)
    return SettledMonitor(**_given(config) | settled)


def _given(config: Any) -> dict[str, Any]:
    """The fields of a settings class by name, as they are."""
    return {one.name: getattr(config, one.name) for one in fields(config)}
