"""From settings with gaps to a plan without: decided from the hardware found, the data and the length of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from seqsetvae.collapse.presets import resolve_monitor
from seqsetvae.config import DataConfig, ModelConfig, MonitorConfig, OptimizerConfig, PretrainConfig, TrainerConfig
from seqsetvae.data.module import EventDataModule
from seqsetvae.data.store import Store
from seqsetvae.errors import InputError
from seqsetvae.model.attention import LONGEST_PERIOD
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.objective import resolve_objective
from seqsetvae.training.monitor.rescue import beta_outlook
from seqsetvae.training.place import Place

LEAST_LR_WARMUP = 20
"""Optimizer steps: with fewer, short runs learn to do without the latents before they have learned anything else."""


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start: every setting is settled, and the data is open."""

    config: PretrainConfig
    data: EventDataModule
    batches_per_epoch: int
    total_steps: int
    validate_every: int
    """Batches between two validations, on this process."""

    def build_model(self) -> SeqSetVAE:
        """A fresh model with the weights of the plan's seed."""
        torch.manual_seed(self.config.trainer.seed)
        embedding = self.data.vocabulary.embedding if self.config.model.variable_embedding == "cached" else None
        frozen_VE = None if embedding is None else torch.from_numpy(embedding.copy())
        return SeqSetVAE(self.config.model, len(self.data.vocabulary), frozen_VE)

    def describe(self) -> str:
        """The plan in words, with everything that was decided for the user."""
        data, trainer, objective = self.config.data, self.config.trainer, self.config.objective
        store = self.data.store
        counts = ", ".join(f"{split} {store.n_subjects(split)}" for split in store.splits)
        batch = f"{data.max_events_per_batch} events" if data.max_events_per_batch else f"{data.batch_size} patients"
        schedule = {
            "constant": f"constant {objective.max_beta:g}",
            "linear": f"0 to {objective.max_beta:g} over {objective.beta_warmup_steps} steps",
            "cyclical": f"0 to {objective.max_beta:g} in {objective.beta_cycles} cycles",
            "controller": f"held so that KL is {objective.kl_target:g} nats per set, at most {objective.max_beta:g}",
        }[objective.beta_schedule]
        lines = {
            "data": f"{data.store}: {counts} patients, {len(self.data.vocabulary)} variables",
            "device": f"{trainer.devices} x {trainer.accelerator}, precision {trainer.precision}, "
            f"{data.num_workers} loader processes",
            "length": f"{trainer.max_epochs} epochs, {self.total_steps} steps of {batch}"
            + (f" x {trainer.gradient_accumulation_steps}" if trainer.gradient_accumulation_steps > 1 else ""),
            "beta": f"{schedule}; free bits {objective.free_bits:g} nats per dimension",
            "lr": f"{self.config.optimizer.lr:g}, {self.config.optimizer.lr_schedule} after "
            f"{self.config.optimizer.lr_warmup_steps} steps of warm-up",
            "monitor": describe_monitor(self.config.monitor),
        }
        return "\n".join(f"  {name:<8}{text}" for name, text in lines.items())


@dataclass(frozen=True)
class Progress:
    """What of a run is behind it."""

    steps: int
    """Optimizer steps."""
    place: Place


def make_plan(config: PretrainConfig, done: Progress | None = None) -> Plan:
    """Open the data and settle every setting.

    Args:
        config: the settings with gaps.
        done: of a run that is continued, whose epochs may have had another number of batches so far.

    Raises:
        InputError: settings that cannot work together, or with this data or this machine.
    """
    trainer = resolve_hardware(config.trainer)
    data_config = replace(config.data, num_workers=config.data.num_workers or 0)
    if trainer.accelerator == "gpu" and config.data.num_workers is None:
        data_config = replace(data_config, num_workers=2)  # so that the gather runs beside the GPU's work
    data_config = replace(
        data_config,
        pin_memory=trainer.accelerator == "gpu" if data_config.pin_memory is None else data_config.pin_memory,
    )
    data = EventDataModule(data_config, trainer.seed)
    embedding = config.model.variable_embedding
    if embedding == "cached" and data.vocabulary.embedding is None:
        raise InputError(
            f"--model.variable_embedding is 'cached', but the store {data_config.store} has no embeddings. Prepare it with a "
            "cached.csv, or use 'learned'."
        )
    if embedding == "auto":
        embedding = "learned" if data.vocabulary.embedding is None else "cached"
    batches = data.batches_per_epoch(trainer.devices)
    total = optimizer_steps(trainer, batches) if done is None else steps_to_the_end(trainer, batches, done)
    objective = resolve_objective(config.objective, total)
    if config.monitor.on_collapse == "rescue" and trainer.devices > 1:
        raise InputError(
            "--monitor.on_collapse rescue starts a second run in the same process, which several devices do not allow. Use stop, and "
            "continue from the run's healthy_*.ckpt, or --trainer.devices 1."
        )
    resolved = replace(
        config,
        data=data_config,
        model=replace(
            config.model, variable_embedding=embedding, longest_period=longest_period(config.model, data.store)
        ),
        objective=objective,
        monitor=resolve_monitor(config.monitor, total, beta_outlook(objective, total).warmup_steps),
        optimizer=resolve_optimizer(config.optimizer, total),
        trainer=trainer,
    )
    check_validation(trainer, data_config, batches)
    return Plan(resolved, data, batches, total, validation_interval(trainer, batches))


def longest_period(model: ModelConfig, store: Store) -> float | None:
    """The slowest turn of the history's encoding of time; None where the stays are shorter than the usual one."""
    if model.longest_period is not None or store.longest_minutes() <= LONGEST_PERIOD:
        return model.longest_period
    return float(math.ceil(store.longest_minutes()))


def describe_monitor(monitor: MonitorConfig) -> str:
    """What is watched, and what a collapse leads to, in words."""
    if monitor.disable_metrics_monitoring:
        return "off: a collapse would not be noticed"
    every = "100, 50, then 20" if monitor.adaptive else f"{monitor.check_frequency}"
    action = {
        "warn": "a warning",
        "stop": f"an end of the run after {monitor.early_stop_patience} red checks",
        "rescue": f"a rescue ({monitor.rescue_by}) after {monitor.early_stop_patience} red checks",
    }[monitor.on_collapse]
    return (
        f"collapse checks every {every} steps by the {monitor.rules} rules, grace until step {monitor.grace_steps}; "
        f"red leads to {action}"
    )


def optimizer_steps(trainer: TrainerConfig, batches_per_epoch: int) -> int:
    """Optimizer steps of the whole run; the last step of an epoch may have fewer batches.

    >>> optimizer_steps(TrainerConfig(max_epochs=3, gradient_accumulation_steps=4), batches_per_epoch=10)
    9
    """
    total = trainer.max_epochs * math.ceil(batches_per_epoch / trainer.gradient_accumulation_steps)
    return min(total, trainer.max_steps or total)


def steps_to_the_end(trainer: TrainerConfig, batches_per_epoch: int, done: Progress) -> int:
    """Optimizer steps of a run of which a part is done.

    >>> done = Progress(steps=10, place=Place(epoch=1, batches=0, batches_per_epoch=10, validation_due=False))
    >>> steps_to_the_end(TrainerConfig(max_epochs=3), batches_per_epoch=5, done=done)
    20
    """
    accumulated = trainer.gradient_accumulation_steps
    place = done.place.within(batches_per_epoch, accumulated)
    total = done.steps + place.steps_left(trainer.max_epochs, accumulated)
    return max(done.steps, min(total, trainer.max_steps or total))


def resolve_hardware(trainer: TrainerConfig) -> TrainerConfig:
    """Settle `auto`: a GPU where there is one, and the fastest precision that is safe on it.

    Raises:
        InputError: a device or a precision that this machine does not have.
    """
    gpus = torch.cuda.device_count()
    accelerator = trainer.accelerator if trainer.accelerator != "auto" else ("gpu" if gpus else "cpu")
    if accelerator == "gpu" and gpus < trainer.devices:
        raise InputError(
            f"--trainer.devices is {trainer.devices}, but this machine has {gpus} GPUs that PyTorch can use."
        )
    precision = trainer.precision
    if precision == "auto":
        half = "bf16-mixed" if accelerator == "gpu" and torch.cuda.is_bf16_supported() else "16-mixed"
        precision = half if accelerator == "gpu" else "32"  # type: ignore[assignment]
    if precision == "16-mixed" and accelerator == "cpu":
        raise InputError("--trainer.precision 16-mixed needs a GPU. On a CPU use 32 or bf16-mixed.")
    return replace(trainer, accelerator=accelerator, precision=precision)


def resolve_optimizer(config: OptimizerConfig, total_steps: int) -> OptimizerConfig:
    """Settle the learning-rate warm-up.

    Raises:
        InputError: the warm-up would not end before the run does.
    """
    if config.lr_warmup_steps is None:
        return replace(config, lr_warmup_steps=min(1000, max(total_steps // 20, LEAST_LR_WARMUP), total_steps))
    if config.lr_warmup_steps > total_steps:
        raise InputError(
            f"--optimizer.lr_warmup_steps is {config.lr_warmup_steps}, but the whole run has only {total_steps} optimizer steps. "
            "Lower the warm-up or raise --trainer.max_epochs."
        )
    return config


def validation_interval(trainer: TrainerConfig, batches_per_epoch: int) -> int:
    """Batches between two validations: at an optimizer step, since between two of them the model does not change.

    >>> validation_interval(TrainerConfig(val_check_interval=0.25, gradient_accumulation_steps=4), batches_per_epoch=10)
    4
    """
    every = trainer.val_check_interval
    batches = every if isinstance(every, int) else max(1, int(batches_per_epoch * every))
    accumulated = trainer.gradient_accumulation_steps
    return min(-(-batches // accumulated) * accumulated, batches_per_epoch)


def check_validation(trainer: TrainerConfig, data: DataConfig, batches_per_epoch: int) -> None:
    """Refuse a validation interval in batches that is longer than an epoch: the run would never validate."""
    if isinstance(trainer.val_check_interval, int) and trainer.val_check_interval > batches_per_epoch:
        raise InputError(
            f"--trainer.val_check_interval is {trainer.val_check_interval} batches, but an epoch of {data.store} has only "
            f"{batches_per_epoch}. Use a share such as 0.25, or at most {batches_per_epoch}."
        )
